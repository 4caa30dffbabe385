"""Seeds are the same in every process, and no two purposes share one."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from direct.common.seed import stable_seed


def test_a_seed_is_the_hash_of_its_parts():
    """By hand: the first 16 hex digits of SHA-256 over the canonical JSON, less their last bit."""
    expected = int(hashlib.sha256(b'["world","evaluation",3]').hexdigest()[:16], 16) >> 1
    assert stable_seed("world", "evaluation", 3) == expected
    assert 0 <= expected < 2**63


@pytest.mark.slow
def test_another_process_finds_the_same():
    code = "from direct.common.seed import stable_seed; print(stable_seed('clip', 7))"
    for salt in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
        )
        assert int(done.stdout) == stable_seed("clip", 7), done.stderr


def test_parts_are_told_apart_and_numpys_numbers_are_plain_ones():
    parts = [("ab", "c"), ("a", "bc"), ("abc",), (["ab", "c"],), ("1",), (1,), (1, 0), (10,)]
    assert len({stable_seed(*one) for one in parts}) == len(parts)
    assert stable_seed(np.int64(5), np.float64(0.5), np.str_("x")) == stable_seed(5, 0.5, "x")


def test_what_has_no_one_spelling_is_refused():
    with pytest.raises(ValueError):
        stable_seed(float("nan"))
