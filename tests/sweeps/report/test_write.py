"""What a report writes: tables, claims, clips, and the page of all of them."""

import json
from dataclasses import replace

import pytest
from made_up import BASE, S3, build, results_of

from sweeps import tables
from sweeps.ablations import ABLATIONS
from sweeps.claims import counts, verdicts
from sweeps.control import Control
from sweeps.report import gallery_files, page, write
from sweeps.schema import cells

from .parsers import Balanced


@pytest.mark.slow
def test_the_report_has_tables_claims_and_page(written):
    _, paths, text = written
    names = {path.name for path in paths}
    assert {"table_s3.md", "table_s1.html", "claims.md", "index.html"} <= names
    assert not any("s5" in name for name in names), "nothing has run there"
    assert "Table S3" in text and "Table S1" in text and 'id="table-clusters"' not in text
    assert text.count('<div class="plot"') == 2
    order = [text.index(f'id="{name}"') for name in ("tables", "table-lambda_hard", "claims")]
    assert order == sorted(order)


@pytest.mark.slow
def test_the_numbers_on_the_page_are_the_tables(written):
    built, _, text = written
    value = next(x for x in built["lambda_hard"].lines if x.row.label == "0.1").values["PC"]
    assert f"{100 * value.mean.mean:.2f} <small>± {100 * value.mean.half:.2f}</small>" in text
    assert counts(verdicts(built).paper) in text and counts(verdicts(built).mechanism) in text
    assert "a processor" in text and "abc123" in text  # provenance


@pytest.mark.slow
def test_an_evil_caption_is_text(written):
    table = written[0]["lambda_hard"]
    evil = "</style><script>alert(1)</script>\x1b[2J"
    table = replace(table, ablation=replace(S3, title=evil), provenance={evil: [{evil: evil}]})
    sections = [page.section_of(table, "<svg></svg>")]
    text = write.index([table], sections, verdicts(written[0]), evil, Control(evil, evil))
    assert "<script>alert" not in text and "\x1b" not in text


@pytest.mark.slow
def test_clips_of_other_cells_are_left_out(written, found, tmp_path):
    built = written[0]
    gallery_files.write(found, tmp_path)
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


@pytest.mark.slow
def test_one_table_is_files_named_by_its_place(tmp_path):
    table = tables.build(S3, cells(S3, BASE, (0,)), results_of(S3, (0,)))
    paths = write.write_table(table, tmp_path)
    assert [path.name for path in paths] == [
        *(f"table_s3.{suffix}" for suffix in ("md", "tex", "csv", "svg", "html", "json")),
        *(f"table_s3_{width}.{kind}" for width in ("page", "column") for kind in ("pdf", "svg")),
    ]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert json.loads((tmp_path / "table_s3.json").read_text())["table"] == "S3"


@pytest.mark.slow
def test_a_report_that_is_not_whole_leaves_claims_and_page_alone(tmp_path):
    table = tables.build(S3, cells(S3, BASE, (0,)), results_of(S3, (0,)))
    (tmp_path / "claims.md").write_text("of another machine")
    paths = write.report({"lambda_hard": table}, ["lambda_hard"], tmp_path, whole=False)
    assert len(paths) == 10 and not (tmp_path / "index.html").exists()
    assert (tmp_path / "claims.md").read_text() == "of another machine"


def test_a_table_of_dashes_is_not_written(tmp_path):
    table = tables.build(S3, cells(S3, BASE, (0,)), {})
    assert write.write_table(table, tmp_path) == [] == list(tmp_path.iterdir())
    assert write.report({"lambda_hard": table}, ["lambda_hard"], tmp_path, whole=False) == []


def test_provenance_says_every_text_once():
    table = tables.build(S3, cells(S3, BASE, (0,)), {})
    made = [
        replace(table, provenance={"device": ["a"], "packages": [{"b": "2", "a": "1"}]}),
        replace(table, provenance={"device": ["b", "a"], "commit": ["c"]}),
    ]
    assert write._provenance(made) == [
        ("commit", ["c"]),
        ("device", ["a", "b"]),
        ("packages", ["a 1, b 2"]),
    ]


def test_tables_beyond_the_paper_are_folded_unless_there_are_no_others():
    def page_of(*names):
        built = [build(ABLATIONS[name]) for name in names]
        sections = [page.section_of(table, "") for table in built]
        controls, judge = Control("", ""), built[0].judge
        return write.index(built, sections, verdicts({}), judge, controls)

    both = page_of("lambda_hard", "beyond", "map")
    assert "Beyond the paper: 2 more tables" in both
    places = [
        both.index(x) for x in ('id="table-lambda_hard"', "Beyond the paper: 2", 'id="table-map"')
    ]
    assert places == sorted(places)
    alone = page_of("map")
    assert "Beyond the paper:" not in alone and 'id="table-map"' in alone
