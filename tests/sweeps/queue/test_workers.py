"""What a worker works with: its devices, and a cell's ranks."""

import fake
import pytest

from direct.common import preempt
from direct.common.errors import UserError
from direct.profiles import profile
from direct.settings import override
from sweeps.ablations import ABLATIONS
from sweeps.cell import read_result
from sweeps.queue import rank, worker
from sweeps.queue import workers as workers_module
from sweeps.schema import cells

BASE = override(profile("tiny"), "evaluate.prompts=4")


@pytest.mark.slow
def test_ranks_stop_when_the_worker_is_asked_to(cell, tmp_path, monkeypatch):
    folder, token = cell
    monkeypatch.setenv("FAKE_SECONDS", "3600")
    monkeypatch.setattr(preempt, "requested", (tmp_path / "executed.log").exists)
    assert workers_module.on_several(2, fake.STAGES.rank, tmp_path, folder, token) is True
    assert read_result(folder) is None and not (folder / "failure.json").exists()


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_worker(cell, tmp_path, monkeypatch):
    folder, token = cell
    monkeypatch.setenv(
        "FAKE_KILL", str(cells(ABLATIONS["lambda_hard"], BASE, (0,))[0].config.loss.lambda_hard)
    )
    with pytest.raises(UserError, match="ended with status"):
        workers_module.on_several(2, fake.STAGES.rank, tmp_path, folder, token)


def test_each_worker_owns_devices_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    owned = [workers_module.devices(slot, 2)["CUDA_VISIBLE_DEVICES"] for slot in (0, 1)]
    assert owned == ["4,5", "6,7"]
    with pytest.raises(UserError, match="lower --workers"):
        workers_module.devices(2, 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert workers_module.devices(1, 2) == {"CUDA_VISIBLE_DEVICES": "2,3", workers_module.GPUS: "2"}
    assert workers_module.devices(1, 0) == {}


@pytest.mark.parametrize("program", [worker.program, rank.program])
@pytest.mark.parametrize("given", [[], ["runs/tiny"]])
def test_a_person_who_starts_a_worker_is_told_what_to_start(program, given, monkeypatch):
    monkeypatch.setattr("sys.argv", ["worker", *given])
    with pytest.raises(UserError, match=r"run one: python -m sweeps\.run"):
        program()
