"""A cell on several ranks is one result."""

import fake

from sweeps.cell import read_result
from sweeps.queue import workers as workers_module


def test_a_cell_on_two_ranks_is_one_result(cell, tmp_path):
    folder, token = cell
    assert workers_module.on_several(2, fake.STAGES.rank, tmp_path, folder, token) is False
    assert read_result(folder)["status"] == "done"
    assert (tmp_path / "executed.log").read_text() == f"{folder.name}\n"
    assert (tmp_path / "ranks.log").read_text() == f"{folder.name} 1 of 2\n"
