"""The search's page and its command: killed, resumed, rendered again."""

import csv
import io
import shutil

import pytest
from programs import command, executed

from direct.profiles import profile
from direct.settings import override
from sweeps import search
from sweeps.options import base_of, options_of
from sweeps.report import search_report
from sweeps.search import METHODS, Outcome

SMALL = ["--prompts", "4"]


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_second_run_trains_nothing_and_a_lost_result_alone_is_made_again(searched, tmp_path):
    own = shutil.copytree(searched, tmp_path / "own")  # other tests read what `searched` holds
    pages = [own / "reports/tiny" / name for name in ("search.csv", "search.svg")]
    before = [page.read_bytes() for page in pages]  # the others name the commit
    assert command(own, "search").returncode == 0 and len(executed(own)) == 18
    lost = executed(own)[7]
    (own / "runs/tiny" / lost / "result.json").unlink()
    again = command(own, "search")
    assert again.returncode == 0, again.stdout + again.stderr
    assert executed(own)[18:] == [lost]
    assert [page.read_bytes() for page in pages] == before


@pytest.mark.slow
def test_the_report_renders_a_search_again_and_leaves_alone_what_it_has_no_results_of(searched):
    pages = searched / "reports/tiny"
    before = {path.name: path.read_bytes() for path in pages.iterdir()}
    options = options_of(["report", *SMALL, "--out", str(searched)])
    (section,) = search_report.again(base_of(options), options, searched)
    assert section.name == "search" and [len(block.rows) for block in section.blocks] == [9, 2]
    assert {path.name: path.read_bytes() for path in pages.iterdir()} == before
    other = options_of(["report", *SMALL, "--seeds", "5", "--out", str(searched)])
    assert search_report.again(base_of(other), other, searched) == []
    assert {path.name: path.read_bytes() for path in pages.iterdir()} == before
    assert search_report.again(base_of(options), options, searched / "elsewhere") == []


@pytest.mark.slow
def test_a_failed_cell_ends_the_search_and_says_so(tmp_path):
    done = command(tmp_path, "search", FAKE_FAIL="0.01")
    assert done.returncode == 1 and "made to fail" in done.stdout
    assert "Incomplete" in (tmp_path / "reports/tiny/search.md").read_text()
    assert len(executed(tmp_path)) == 12, "the third round is not begun"


@pytest.mark.slow
def test_the_search_is_a_report_of_its_own_and_a_dry_run_writes_nothing(tmp_path):
    done = command(tmp_path, "search", "--dry-run")
    assert done.returncode == 0 and "3 rounds" in done.stdout and "6 of 6 cells" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def outcomes():
    """Both searches, replayed on scores that fall with every weight; of two seeds."""
    base = override(profile("tiny"), "evaluate.prompts=4")
    results = {}

    def made(table, planned):
        for cell in planned:
            loss = cell.config.loss
            level = 0.9 - 0.1 * loss.lambda_anc - loss.lambda_rand - loss.lambda_hard
            scores = {"SA": [level] * 4, "PC": [level - 0.2] * 4, "AVG": [level - 0.1] * 4}
            known = {"status": "done", "scores": scores, "provenance": {"commit": "abc"}}
            results.setdefault(cell.id, known)
        return results

    return search.replay(base, (0, 1), made), base, (0, 1), results


def test_a_search_of_known_scores_is_written_in_full(outcomes, tmp_path):
    found, *_ = outcomes
    paths = search_report.write(*outcomes, tmp_path)
    assert [path.name for path in paths] == [f"search.{x}" for x in ("md", "csv", "svg", "tex")]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "search.csv").read_text())))
    for row in rows:
        weights = [float(row[f"lambda_{name}"]) for name in ("anc", "rand", "hard")]
        level = 0.9 - 0.1 * weights[0] - weights[1] - weights[2]
        assert float(row["AVG"]) == pytest.approx(level - 0.1)
        assert float(row["SA"]) == pytest.approx(level)
    greedy = found["greedy (App. C)"].chosen
    assert (greedy.anc, greedy.rand, greedy.hard) == (0.1, 0.001, 0.005), "the least of each grid"
    text = (tmp_path / "search.md").read_text()
    assert "training seeds 0, 1" in text and "Commit abc." in text and "Incomplete" not in text


def test_a_section_of_the_page_says_the_same(outcomes):
    found, base, seeds, results = outcomes
    made = search_report.section(found, base, seeds, results, "<svg></svg>")
    tried, chosen = made.blocks
    assert len(tried.rows) == 9 and tried.rules == [3, 6]
    assert {len(row) for row in tried.rows} == {len(tried.columns)}
    assert [row[1].text for row in chosen.rows] == [str(x.chosen) for x in found.values()]
    bold = [i for i, row in enumerate(tried.rows) if row[1].bold]
    assert bold and tried.rows[bold[0]][1].text == f"{found['greedy (App. C)'].chosen.anc:g}"


def test_a_search_that_has_not_ended_says_which_method_lacks_results(outcomes):
    found, base, seeds, results = outcomes
    part = {name: Outcome(x.trials[:3], None) for name, x in found.items()}
    made = search_report.section(part, base, seeds, results, "")
    assert f"Incomplete: {', '.join(part)} lacks results." in made.text
    assert len(made.blocks[0].rows) == 3 and len(made.notes) == 1
