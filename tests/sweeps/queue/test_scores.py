"""Scores while a sweep runs."""

from dataclasses import replace

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


def test_a_table_of_other_metrics_shows_its_own():
    found = Scores(replace(S3, metrics=("Total", "Frame", "Mass")), CELLS)
    by_place = {(cell.row, cell.config.seed): name for name, cell in CELLS.items()}
    for row, total in (("0.02", 2.0), ("0.1", 2.5)):
        found.add(by_place[row, 0], {"Total": [total], "Frame": [1.0], "Mass": [0.0]})
    assert found.lines() == ("0.1 minus 0.02, 1 seed: Total +0.50, Frame +0.00",)
