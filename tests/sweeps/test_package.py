"""The package's two public names, by which a file of one's own declares tables."""

import subprocess
import sys

import pytest
from programs import ROOT, environment

import sweeps
from sweeps import schema


def test_a_table_and_a_row_are_public():
    assert sweeps.__all__ == ["Ablation", "Row"]
    assert (sweeps.Ablation, sweeps.Row) == (schema.Ablation, schema.Row)
    assert sweeps.Row("one").values == {} and sweeps.Ablation("own").rows == ()


@pytest.mark.slow
def test_they_come_without_torch():
    code = "import sys, sweeps; assert not {'torch', 'pandas', 'optuna'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment())
