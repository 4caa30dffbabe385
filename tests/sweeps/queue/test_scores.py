"""Scores while a sweep runs."""

from made_up import BASE, S3

from sweeps.queue.scores import Scores
from sweeps.schema import cells

CELLS = {cell.id: cell for cell in cells(S3, BASE, (0, 1))}


def test_finished_rows_stand_against_their_partner_by_seed():
    found = Scores(S3, CELLS)
    assert found.lines() == ()
    by_place = {(cell.row, cell.config.seed): name for name, cell in CELLS.items()}
    found.add(by_place["0.1", 0], {"SA": [0.5, 0.7], "PC": [0.2, 0.2]})
    found.add(by_place["0.1", 1], {"SA": [0.5, 0.5], "PC": [0.1, 0.1]})
    assert found.lines() == (), "their partner is not done"
    found.add(by_place["0.02", 0], {"SA": [0.5, 0.5], "PC": [0.3, 0.3]})
    assert found.lines() == ("0.1 minus 0.02, 1 seed: SA +10.00, PC -10.00",)
    found.add(by_place["0.02", 1], {"SA": [0.5, 0.5], "PC": [0.3, 0.3]})
    assert found.lines() == ("0.1 minus 0.02, 2 seeds: SA +5.00, PC -15.00",)


def test_what_has_no_such_scores_is_left_out():
    found = Scores(S3, CELLS)
    found.add(next(iter(CELLS)), {"seconds_per_iteration": [1.0]})
    assert found.means == {}
