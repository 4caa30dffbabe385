"""The page of everything: whole, offline, reachable by keyboard."""

import base64
import hashlib
import re

import pytest
from made_up import line
from markupsafe import escape

from sweeps.report import page
from sweeps.report.layout import blocks
from sweeps.report.summary import summary
from sweeps.report.words import caption, notes

from .parsers import Balanced, Page


def test_html_is_whole_and_asks_nothing_of_the_network(drawn):
    text = page.html(*drawn)
    parser = Balanced()
    parser.feed(text)
    assert parser.open == [] and all(link.startswith(("#", "data:")) for link in parser.links)
    assert "@import" not in text and "url(http" not in text


@pytest.mark.slow
def test_the_page_is_whole_and_asks_nothing_of_the_network(written):
    text = written[2]
    parser, page = Balanced(), Page(text)
    parser.feed(text)
    assert parser.open == []
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"@import|url\((?!#)|\bon\w+=", text)
    assert "default-src 'none'" in text and 'name="viewport"' in text
    assert "color-scheme: light dark" in text


@pytest.mark.slow
def test_every_link_leads_somewhere_and_ids_are_unique(written):
    text = written[2]
    page = Page(text)
    assert len(set(page.ids)) == len(page.ids)
    used = {link[1:] for link in page.links if link[0] == "#"}
    used |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert used and used <= set(page.ids)


@pytest.mark.slow
def test_what_scrolls_is_reachable_by_keyboard(written):
    page = Page(written[2])
    assert len(page.regions) >= 7
    assert all(region.get("tabindex") == "0" for region in page.regions)
    assert page.tags.count("h1") == 1


@pytest.mark.slow
def test_the_policy_admits_what_the_page_holds_and_nothing_else(written):
    text = written[2]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    sha = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    script = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{sha}'" in policy and f"script-src 'sha256-{own}'" in policy
    assert text.count("<script") == 1
    assert text.count("<style") == 1, "the plots' own sheets are gone"
    assert set(re.findall(r"https?://[^\"' ]*", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }, "names, not addresses"


def test_a_section_is_the_table_in_plain_words(table_s3):
    found = page.section_of(table_s3, "<svg></svg>")
    assert (found.name, found.drawing) == ("table-lambda_hard", "<svg></svg>")
    assert found.title == f"Table S3: {table_s3.ablation.title}"
    assert found.text == caption(table_s3) and list(found.notes) == notes(table_s3)
    assert list(found.blocks) == blocks(table_s3)


def test_a_tables_own_page_holds_its_numbers_and_no_script(drawn):
    table, svg = drawn
    text = page.html(table, svg)
    value = line(table, "0.1").values["PC"]
    number = f"{100 * value.mean.mean:.2f}</strong> <small>± {100 * value.mean.half:.2f}</small>"
    assert number.replace("</strong>", "") in text.replace("</strong>", "")
    assert "<script" not in text and text.count('class="plot"') == 1


def test_a_tables_own_page_opens_with_its_summary(table_s3):
    text = page.html(table_s3, "<svg/>")
    found = summary(table_s3)
    assert escape(found.sentence) in text
    assert text.index(escape(found.sentence)) < text.index("<h2")
    assert text.count('class="interval"') == sum(len(bars) for _, bars in found.rows)
