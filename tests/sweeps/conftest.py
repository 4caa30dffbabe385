"""Whole sweeps on stand-in stages, run once for all tests that only read them."""

import pytest
from programs import command, sweep


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep")
    done = sweep(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    out = tmp_path_factory.mktemp("search")
    done = command(out, "search")
    assert done.returncode == 0, done.stdout + done.stderr
    return out
