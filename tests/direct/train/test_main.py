"""python -m direct.train: its options, its folder and its exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from direct_helpers import lines_of
from ports import free_port
from torch.distributed import run as torchrun

from direct.common import preempt, ranks
from direct.common.errors import UserError
from direct.config import Run
from direct.profiles import profile
from direct.train import __main__, loop

ROOT = Path(__file__).resolve().parents[3]


def test_command_ends_with_75_where_it_was_asked_to_stop_and_keeps_others_folders(
    tmp_path, monkeypatch, capsys
):
    def stopped(*_, **__):
        raise preempt.Preempted("run again")

    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    }
    monkeypatch.setattr(loop, "train", stopped)
    arguments = ["direct.train", "--folder", str(tmp_path / "run"), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    try:
        assert __main__.main() == 75 and "run again" in capsys.readouterr().err
        assert json.loads((tmp_path / "run" / "config.json").read_text())["profile"] == "tiny"
        monkeypatch.setattr(sys, "argv", [*arguments, "--set", "seed=1"])
        with pytest.raises(UserError, match="belongs to another configuration"):
            __main__.main()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_every_option_passes_through_torchrun(monkeypatch, capsys):
    """Which takes an option that could be one of its own, cut short, for a mistake: `--run`."""
    monkeypatch.setattr(sys, "argv", ["direct.train", "--help"])
    with pytest.raises(SystemExit):
        __main__.main()
    options = set(re.findall(r"  (--\w+) [A-Z]+ ", capsys.readouterr().out))
    assert options == {"--profile", "--set", "--out", "--cache", "--folder"}
    for option in options:
        parsed = torchrun.parse_args(["-m", "direct.train", option, "value"])
        assert parsed.training_script_args == [option, "value"]


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_rank_alone_prints_the_result(rank, tmp_path, monkeypatch, capsys):
    joined = []
    monkeypatch.setattr(ranks, "rank", lambda: rank if joined else 0)
    monkeypatch.setattr(ranks, "stop", joined.clear)
    monkeypatch.setattr(ranks, "on_first", lambda claim: claim())
    monkeypatch.setattr(preempt, "listen", lambda *signals: None)
    monkeypatch.setattr(loop, "train", lambda run: run.folder / "transformer")
    joined.append(True)
    assert __main__._train(Run(profile("tiny"), tmp_path, tmp_path)) == 0
    assert capsys.readouterr().out == (f"{tmp_path}/transformer\n" if rank == 0 else "")


@pytest.mark.slow
def test_the_documented_line_trains_on_two_nodes(tmp_path):
    """Of docs/scale.md, on one machine: two agents of torchrun, each with one rank."""
    text = (ROOT / "docs" / "scale.md").read_text()
    (line,) = re.findall(r"^    torchrun (--nnodes 2 .* -m direct\.train) ", text, re.MULTILINE)
    line = line.replace("HOST:29400", f"localhost:{free_port()}")
    small = ("train.engine=fsdp", "train.steps=2", "train.batch=2", "data.clips=8")
    settings = [f"--set={value}" for value in (*small, "macro.clusters=2", "macro.restarts=1")]
    command = [
        *(sys.executable, "-m", "torch.distributed.run"),
        *line.replace("--nproc-per-node 8", "--nproc-per-node 1").split(),
        *("--out", str(tmp_path), "--folder", str(tmp_path / "run"), *settings),
    ]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    nodes = [subprocess.Popen(command, cwd=ROOT, env=env) for _ in range(2)]
    assert [node.wait(timeout=600) for node in nodes] == [0, 0]
    assert [line["step"] for line in lines_of(tmp_path / "run")] == [1, 2]
    assert (tmp_path / "run" / "transformer").is_dir()


def test_a_backend_without_its_device_and_a_place_that_is_none_are_refused_before_work(
    tmp_path, monkeypatch
):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(loop, "train", lambda run: pytest.fail("work has begun"))
    (tmp_path / "file").touch()
    for arguments, said in (
        (["--set", "loss.backend=cuda"], "backend is 'cuda', but v is on cpu; use 'auto'"),
        (["--folder", str(tmp_path / "file/run")], "--folder: .*file is no folder that may be"),
        (["--cache", str(tmp_path / "file")], "--cache: .*file is no folder that may be"),
    ):
        monkeypatch.setattr(sys, "argv", ["direct.train", "--out", str(tmp_path), *arguments])
        with pytest.raises(UserError, match=said):
            __main__.main()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
