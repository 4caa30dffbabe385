"""A cell that is leased, and the surroundings of programs that run it."""

from dataclasses import asdict

import pytest
from programs import ROOT

from direct.profiles import profile
from direct.settings import override
from sweeps.ablations import ABLATIONS
from sweeps.cell import write_config
from sweeps.queue import leases
from sweeps.schema import cells

BASE = override(profile("tiny"), "evaluate.prompts=4")


@pytest.fixture
def surroundings(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def cell(tmp_path, monkeypatch, surroundings):
    config = cells(ABLATIONS["lambda_hard"], BASE, (0,))[0]
    folder = tmp_path / config.id
    write_config(folder, asdict(config.config))
    return folder, leases.take(folder)
