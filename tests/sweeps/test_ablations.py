"""Every table by its name."""

from sweeps.ablations import ABLATIONS
from sweeps.mechanism_ablations import MECHANISM
from sweeps.negatives_ablations import NEGATIVES
from sweeps.paper_ablations import PAPER


def test_every_table_has_its_own_name_and_file():
    tables = [*PAPER, *MECHANISM, *NEGATIVES]
    assert list(ABLATIONS.values()) == tables
    assert len({table.file for table in tables}) == len(tables) == len(ABLATIONS)
    assert {table.name for table in tables if table.ours} == {
        "beyond",
        "control",
        "guidance",
        "sampling_unguided",
        "gain",
        "map",
        "cheap_negatives",
        "gain_again",
        "own_negatives",
        "own_negatives_drawn",
    }
