"""The searches on known functions, and as cells end to end on stand-in stages."""

import itertools

import pytest
from programs import executed

from direct.common.errors import UserError
from direct.profiles import profile
from direct.settings import override
from sweeps import search
from sweeps.search import GRIDS, METHODS, RANGES, Outcome, Weights, best, greedy, side_by_side, tpe


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


@pytest.mark.slow
def test_every_cell_is_on_validation_prompts_and_run_once(searched):
    from sweeps.cell import read_config

    ids = executed(searched)
    assert len(ids) == len(set(ids)) == 18
    configs = [read_config(searched / "runs/tiny" / name) for name in ids]
    assert {config.evaluate.split for config in configs} == {"validation"}
    assert {config.evaluate.prompts for config in configs} == {4}
