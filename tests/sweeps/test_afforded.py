"""The plan may not import the tables: here its numbers of their cells are held to them."""

from __future__ import annotations

from direct.measure import afford
from direct.profiles import profile
from sweeps.ablations import ABLATIONS
from sweeps.schema import cells


def test_the_plan_knows_how_many_cells_each_table_adds():
    base, known = profile("wan2.1-t2v-1.3b"), {}
    for table, sweep, trained, untrained in afford.TABLES:
        assert ABLATIONS[sweep].table == table
        new = {
            cell.id: cell.config.train.steps
            for cell in cells(ABLATIONS[sweep], base, (0,))
            if cell.id not in known
        }
        assert (sum(map(bool, new.values())), [*new.values()].count(0)) == (trained, untrained)
        known |= new
