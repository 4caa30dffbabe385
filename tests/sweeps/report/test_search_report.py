"""The search's page and its command: killed, resumed, rendered again."""

import csv
import io

from programs import command, executed

from sweeps.options import base_of, options_of
from sweeps.report import search_report
from sweeps.search import METHODS

SMALL = ["--prompts", "4"]


def test_the_page_holds_both_methods_and_what_they_chose(searched):
    files = {path.suffix: path.read_text() for path in (searched / "reports/tiny").glob("search.*")}
    assert set(files) == {".md", ".tex", ".csv", ".svg"}
    rows = list(csv.DictReader(io.StringIO(files[".csv"])))
    for name in METHODS:
        own = [row for row in rows if row["method"] == name]
        assert [int(row["try"]) for row in own] == list(range(1, 10))
        final = own if name.startswith("TPE") else own[6:]
        top = max(final, key=lambda row: float(row["AVG"]))
        assert [row["try"] for row in own if row["chosen"] == "True"] == [top["try"]]
    assert "4 validation prompts" in files[".md"] and "evaluation prompt" in files[".md"]
    assert "minus greedy" in files[".md"]


def test_a_second_run_trains_nothing_and_a_lost_result_alone_is_made_again(searched):
    pages = [searched / "reports/tiny" / name for name in ("search.csv", "search.svg")]
    before = [page.read_bytes() for page in pages]  # the others name the commit
    assert command(searched, "search").returncode == 0 and len(executed(searched)) == 18
    lost = executed(searched)[7]
    (searched / "runs/tiny" / lost / "result.json").unlink()
    again = command(searched, "search")
    assert again.returncode == 0, again.stdout + again.stderr
    assert executed(searched)[18:] == [lost]
    assert [page.read_bytes() for page in pages] == before


def test_the_report_renders_a_search_again_and_leaves_alone_what_it_has_no_results_of(searched):
    pages = searched / "reports/tiny"
    before = {path.name: path.read_bytes() for path in pages.iterdir()}
    options = options_of(["report", *"--out", str(searched)])
    (section,) = search_report.again(base_of(options), options, searched)
    assert section.name == "search" and [len(block.rows) for block in section.blocks] == [9, 2]
    assert {path.name: path.read_bytes() for path in pages.iterdir()} == before
    other = options_of(["report", *"--seeds", "5", "--out", str(searched)])
    assert search_report.again(base_of(other), other, searched) == []
    assert {path.name: path.read_bytes() for path in pages.iterdir()} == before
    assert search_report.again(base_of(options), options, searched / "elsewhere") == []


def test_a_failed_cell_ends_the_search_and_says_so(tmp_path):
    done = command(tmp_path, "search", FAKE_FAIL="0.01")
    assert done.returncode == 1 and "made to fail" in done.stdout
    assert "Incomplete" in (tmp_path / "reports/tiny/search.md").read_text()
    assert len(executed(tmp_path)) == 12, "the third round is not begun"


def test_the_search_is_a_report_of_its_own_and_a_dry_run_writes_nothing(tmp_path):
    done = command(tmp_path, "search", "--dry-run")
    assert done.returncode == 0 and "3 rounds" in done.stdout and "6 of 6 cells" in done.stdout
    assert not list(tmp_path.iterdir())
