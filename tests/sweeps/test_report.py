"""The page of everything: whole, offline, escaped, reachable by keyboard."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from test_gallery import found  # noqa: F401
from test_tables import BASE, S3, Balanced, results_of

from sweeps import tables
from sweeps.ablations import ABLATIONS
from sweeps.claims import counts, verdicts
from sweeps.report import drawing, gallery, page, plots, write
from sweeps.schema import cells


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    built = {}
    for name in ("lambda_hard", "lambda_anc", "clusters"):
        table = ABLATIONS[name]
        results = results_of(table) if name != "clusters" else {}
        built[name] = tables.build(table, cells(table, BASE, (0, 1, 2)), results)
    paths = write.report(built, ["lambda_hard", "lambda_anc"], folder)
    return built, paths, (folder / "index.html").read_text()


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.tags, self.regions = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        self.tags.append(tag)
        self.ids += [own["id"]] if "id" in own else []
        self.links += [v for k, v in attributes if k in ("href", "src", "xlink:href")]
        if own.get("class") in ("scroll", "plot"):
            self.regions.append(own)


def test_the_report_has_tables_claims_and_page(written):
    _, paths, text = written
    names = {path.name for path in paths}
    assert {"table_s3.md", "table_s1.html", "claims.md", "index.html"} <= names
    assert not any("s5" in name for name in names), "nothing has run there"
    assert "Table S3" in text and "Table S1" in text and 'id="table-clusters"' not in text
    assert text.count("<svg") == 2


def test_the_page_is_whole_and_asks_nothing_of_the_network(written):
    text = written[2]
    parser, page = Balanced(), Page(text)
    parser.feed(text)
    assert parser.open == []
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"@import|url\((?!#)|<script|\bon\w+=", text)
    assert "default-src 'none'" in text and 'name="viewport"' in text
    assert "color-scheme: light dark" in text


def test_every_link_leads_somewhere_and_ids_are_unique(written):
    text = written[2]
    page = Page(text)
    assert len(set(page.ids)) == len(page.ids)
    used = {link[1:] for link in page.links if link[0] == "#"}
    used |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert used and used <= set(page.ids)


def test_what_scrolls_is_reachable_by_keyboard(written):
    page = Page(written[2])
    assert len(page.regions) >= 8
    assert all(region.get("tabindex") == "0" for region in page.regions)
    assert page.tags.count("h1") == 1


def test_the_numbers_on_the_page_are_the_tables(written):
    built, _, text = written
    value = next(x for x in built["lambda_hard"].lines if x.row.label == "0.1").values["PC"]
    assert f"{100 * value.mean.mean:.2f} ± {100 * value.mean.half:.2f}" in text
    assert counts(verdicts(built)) in text
    assert "a processor" in text and "abc123" in text  # provenance


def test_an_evil_caption_is_text(written):
    from dataclasses import replace

    table = written[0]["lambda_hard"]
    evil = "</style><script>alert(1)</script>\x1b[2J"
    table = replace(table, ablation=replace(S3, title=evil), provenance={evil: [{evil: evil}]})
    text = write.index([table], [page.section_of(table, "<svg></svg>")], verdicts(written[0]), evil)
    assert "<script" not in text and "\x1b" not in text


def test_clips_of_other_cells_are_left_out(written, found, tmp_path):  # noqa: F811
    built = written[0]
    gallery.write(found, tmp_path)
    write.report(built, ["lambda_hard"], tmp_path)
    assert 'id="clips"' not in (tmp_path / "index.html").read_text()
    table = ABLATIONS["sampling"]
    own = tables.build(table, cells(table, BASE, (0, 1)), {})
    write.report(built | {"sampling": own}, ["lambda_hard"], tmp_path)
    text = (tmp_path / "index.html").read_text()
    assert 'id="clips"' in text and text.count("<script>") == 1
    assert all(clip.picture in text for x in found.examples for clip in x.clips)
    assert len(text) < 3_000_000
    balanced = Balanced()
    balanced.feed(text)
    assert balanced.open == []


def test_the_policy_admits_what_the_page_holds_and_nothing_else(written):
    text = written[2]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    sha = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{sha}'" in policy and "script-src" not in policy
    assert text.count("<style") == 1, "the plots' own sheets are gone"
    assert set(re.findall(r"https?://[^\"' ]*", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }, "names, not addresses"


def test_a_plot_on_the_page_keeps_its_words(written):
    """Coordinates are shortened, what a reader sees is not; colours follow the scheme."""
    built = written[0]
    svg = plots.svg(built["lambda_hard"])
    drawn = drawing.inline(svg, "x")
    words = [re.findall(r">([^<>]+)</text>", s) for s in (svg, drawn)]
    assert words[0] == words[1] and "0.005" in words[1]
    assert len(drawn) < 0.85 * len(svg)
    assert not re.search("#000000|#ffffff|#0072b2", drawn) and "var(--ours)" in drawn
