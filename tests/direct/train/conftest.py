"""Two ranks under torchrun, once for all files of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def out(pipeline_folder, tmp_path_factory):
    """Where two ranks under torchrun, and then one, have left what `on_two_ranks` does."""
    pytest.importorskip("deepspeed")
    folder = tmp_path_factory.mktemp("ranks")
    program = Path(__file__).with_name("on_two_ranks.py")
    script = [str(program), str(pipeline_folder), str(folder)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for launcher in (torchrun, []):
        command = [sys.executable, *launcher, *script]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr[-4000:]
    return folder
