"""The page of everything: whole, offline, escaped, reachable by keyboard."""

import re
from html.parser import HTMLParser

import pytest
from test_tables import BASE, S3, Balanced, results_of

from sweeps import report, tables
from sweeps.ablations import ABLATIONS, cells
from sweeps.claims import counts, findings


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    built = {}
    for name in ("lambda_hard", "lambda_anc", "clusters"):
        table = ABLATIONS[name]
        results = results_of(table) if name != "clusters" else {}
        built[name] = tables.build(table, cells(table, BASE, (0, 1, 2)), results)
    paths = report.report(built, ["lambda_hard", "lambda_anc"], folder)
    return built, paths, (folder / "index.html").read_text()


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.tags, self.regions = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [v for k, v in attributes if k in ("href", "src", "xlink:href")]
        if found.get("class") == "scroll" or tag == "figure":
            self.regions.append(found)


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
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"@import|url\((?!#)|<script|\bon\w+=", text)
    assert "default-src 'none'" in text and 'name="viewport"' in text
    assert "color-scheme: light dark" in text


def test_every_link_leads_somewhere_and_ids_are_unique(written):
    text = written[2]
    page = Page(text)
    assert len(set(page.ids)) == len(page.ids)
    used = {link[1:] for link in page.links} | set(re.findall(r"url\(#([^)]+)\)", text))
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
    assert counts(findings(built)) in text
    assert "a processor" in text and "abc123" in text  # provenance


def test_an_evil_caption_is_text(written):
    from dataclasses import replace

    table = written[0]["lambda_hard"]
    evil = "</style><script>alert(1)</script>\x1b[2J"
    table = replace(table, ablation=replace(S3, title=evil), provenance={evil: [{evil: evil}]})
    text = report.index({"lambda_hard": table}, {"lambda_hard": "<svg></svg>"},
                        findings(written[0]), evil)
    assert "<script" not in text and "\x1b" not in text
