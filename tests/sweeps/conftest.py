"""Whole sweeps on stand-in stages, run once for all tests that only read them.

This file also puts tests/sweeps on the path, for its helper modules. The folder `queue` must stay
without `__init__.py`: `fake.py` is run as a program, and a package of that name beside it would
stand before the standard library's `queue`.
"""

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
