"""The searches on known functions, as cells end to end on stand-in stages, killed and resumed."""

import csv
import io
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from direct.common.errors import UserError
from direct.profiles import profile
from direct.settings import override
from sweeps import search
from sweeps.options import base_of, options_of
from sweeps.report import search_report
from sweeps.search import GRIDS, METHODS, RANGES, Outcome, Weights, best, greedy, side_by_side, tpe

ROOT = Path(__file__).resolve().parents[2]
FAKE = [sys.executable, str(Path(__file__).with_name("fake.py"))]
SMALL = ["--prompts", "4"]


def hill(weights):
    """Highest at (0.3, 0.001, 0.02) on the grids; no weight's best depends on the others."""
    return (
        1 - abs(weights.anc - 0.29) - 3 * abs(weights.rand - 0.0012) - 2 * abs(weights.hard - 0.021)
    )


def run(method, function):
    """What it tried, round by round, and what it chose."""
    rounds, tried = [], next(method)
    try:
        while True:
            rounds.append(tried)
            tried = method.send([function(weights) for weights in tried])
    except StopIteration as stop:
        return rounds, stop.value


def test_greedy_finds_the_best_of_the_whole_grid_where_weights_do_not_interact():
    (anchors, rands, hards), chosen = run(greedy(), hill)
    assert chosen == Weights(
        *max(itertools.product(*GRIDS.values()), key=lambda values: hill(Weights(*values)))
    )
    assert [(w.anc, w.rand, w.hard) for w in anchors] == [(x, 0, 0) for x in (0.1, 0.2, 0.3)]
    assert {(w.anc, w.hard) for w in rands} == {(0.3, 0.01)}, "Table S2 was run at 0.01"
    assert {(w.anc, w.rand) for w in hards} == {(0.3, 0.001)}


def test_greedy_follows_the_papers_own_numbers_to_the_papers_weights():
    from sweeps import paper

    def published(w):
        table, value = (
            ("S1", w.anc) if not w.hard else ("S2", w.rand) if w.hard == 0.01 else ("S3", w.hard)
        )
        return paper.TABLES[table][f"{value:g}"]["AVG"]

    assert run(greedy(), published)[1] == Weights(0.2, 0.005, 0.02)


def test_tpe_is_a_function_of_the_scores_and_has_greedys_budget():
    rounds, chosen = run(tpe(), hill)
    assert (rounds, chosen) == run(tpe(), hill)
    tried = [weights for tries in rounds for weights in tries]
    assert len(tried) == len(set(tried)) == sum(len(grid) for grid in GRIDS.values())
    for weights in tried:
        for name, (low, high) in RANGES.items():
            value = getattr(weights, name)
            assert low <= value <= high and value == float(f"{value:.3g}")
    other, _ = run(tpe(), lambda weights: -hill(weights))
    assert other[0] == rounds[0] and other[1:] != rounds[1:]
    assert hill(chosen) == max(map(hill, tried))


def test_what_diverged_is_never_chosen():
    assert best([(Weights(1), None), (Weights(2), -5.0), (Weights(3), -5.0)])[0] == Weights(2)
    _, chosen = run(greedy(), lambda w: None if w.anc == 0.3 else hill(w))
    assert chosen.anc == 0.2
    _, chosen = run(tpe(), lambda w: None if w.hard > 0.01 else hill(w))
    assert chosen.hard <= 0.01
    with pytest.raises(UserError, match=r"anc 0.1, rand 0, hard 0, .*diverged"):
        run(greedy(), lambda w: None)


def test_methods_share_rounds_and_stop_where_results_are_missing():
    calls = []

    def score(tried):
        calls.append(len(tried))
        return [hill(weights) for weights in tried] if len(calls) < 3 else None

    def whole(tried):
        return [hill(weights) for weights in tried]

    part = side_by_side({name: make() for name, make in METHODS.items()}, score)
    found = side_by_side({name: make() for name, make in METHODS.items()}, whole)
    assert calls == [6, 6, 6]
    for name, make in METHODS.items():
        rounds, chosen = run(make(), hill)
        trials = tuple((w, hill(w)) for tries in rounds for w in tries)
        assert found[name] == Outcome(trials, chosen)
        assert part[name] == Outcome(trials[:6], None)


# On cells -----------------------------------------------------------------------------------------


def command(out, *arguments, **more):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more
    return subprocess.run(
        [*FAKE, *arguments, *SMALL, "--out", str(out)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
        check=False,
    )


def executed(out):
    return (out / "cache/tiny/executed.log").read_text().split()


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    out = tmp_path_factory.mktemp("search")
    done = command(out, "search")
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_cell_is_on_validation_prompts_and_run_once(searched):
    from sweeps.cell import read_config

    ids = executed(searched)
    assert len(ids) == len(set(ids)) == 18
    configs = [read_config(searched / "runs/tiny" / name) for name in ids]
    assert {config.evaluate.split for config in configs} == {"validation"}
    assert {config.evaluate.prompts for config in configs} == {4}


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
    options = options_of(["report", *SMALL, "--out", str(searched)])
    (section,) = search_report.again(base_of(options), options, searched)
    assert section.name == "search" and [len(block.rows) for block in section.blocks] == [9, 2]
    assert {path.name: path.read_bytes() for path in pages.iterdir()} == before
    other = options_of(["report", *SMALL, "--seeds", "5", "--out", str(searched)])
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


def test_weights_are_rows_of_a_table():
    base = override(profile("tiny"), "evaluate.prompts=4")
    tried = [Weights(0.2), Weights(0.2, 0.005, 0.0123), Weights(0.2)]
    table, planned = search.table_of(tried, base, (0, 1))
    assert len(table.rows) == 2 and len(planned) == 4
    results = {
        cell.id: {"status": "done", "scores": {"AVG": [0.1 * i, 0.3]}}
        for i, cell in enumerate(planned)
    }
    scores = search.scores_of(tried, planned, results)
    by_row = {
        row.label: [results[c.id]["scores"]["AVG"] for c in planned if c.row == row.label]
        for row in table.rows
    }
    assert scores == [pytest.approx(sum(map(sum, by_row[str(w)])) / 4) for w in tried]
    results.pop(planned[0].id)
    assert search.scores_of(tried, planned, results) is None
