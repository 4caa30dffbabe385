"""What the person who watches sees of what workers report."""

from queued import CELLS, STAGES, TABLE

from direct.common.files import write_json
from sweeps.queue.display import Job
from sweeps.queue.estimate import Estimator, words
from sweeps.queue.sweep import EACH, Sweep, Workers
from sweeps.queue.watch import Watch


class Shown:
    """A display that keeps what it is given."""

    def __init__(self):
        self.boards, self.lines = [], []
        self.show, self.say = self.boards.append, self.lines.append


def watch_of(tmp_path, cells=CELLS[:2], count=2):
    sweep = Sweep(TABLE, list(cells), tmp_path, tmp_path, Workers(count), STAGES)
    estimator = Estimator(tmp_path, {cell.id: cell.config for cell in cells})
    return Watch(sweep, Shown(), estimator)


def test_the_board_has_a_line_for_each_cell_at_work_and_the_time_left(tmp_path):
    own, (first, second) = watch_of(tmp_path), CELLS[:2]
    own.heard({"event": "start", "cell": first.id, "first": True})
    own.heard({"event": "progress", "cell": first.id, "stage": "train", "done": 1, "total": 2})
    own.heard({"event": "start", "cell": second.id, "first": False})
    own.show([first, second], [first.id, second.id])
    (board,) = own.display.boards
    assert (board.done, board.total) == (0, 2)
    assert board.jobs == (Job(f"{first.row}, seed {first.config.seed}", "train", 1, 2),)
    assert own.estimator.born == {first.id}, "the time of the worker's start is in that cell"
    own.heard({"event": "stopped", "cell": first.id})
    assert own.estimator.ended == {first.id} and own.display.lines == []


def test_where_there_is_a_worker_for_each_cell_those_at_work_count(tmp_path):
    own, cells = watch_of(tmp_path, CELLS[:4], EACH), CELLS[:4]
    expected = own.estimator.remaining([cell.id for cell in cells], 2)
    own.show(cells, [cell.id for cell in cells[:2]])
    assert own.display.boards[0].remaining == words(expected)


def test_a_failure_is_told_as_it_happens_with_row_seed_and_log(tmp_path):
    own, cell = watch_of(tmp_path), CELLS[0]
    write_json(tmp_path / cell.id / "failure.json", {"reason": "no clip"})
    own.heard({"event": "failed", "cell": cell.id})
    assert own.display.lines == [
        f"failed: {cell.row}, seed {cell.config.seed} ({cell.id}): no clip "
        f"(see {tmp_path / 'workers.log'})"
    ]
