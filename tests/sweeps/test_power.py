"""What a pilot says about a table's size, from results on disk."""

import json

import numpy as np
import pytest
from made_up import BASE, results_of

from direct.common.errors import UserError
from sweeps import power
from sweeps.ablations import ABLATIONS
from sweeps.schema import cells

OPTIONS = ["lambda_hard", "--prompts", "12", "--seeds", "0,1,2"]


@pytest.fixture
def pilot(monkeypatch):
    """The results of `made_up`, three seeds of twelve prompts, as if read from disk."""
    found = results_of(ABLATIONS["lambda_hard"])
    monkeypatch.setattr(power, "read_all", lambda folder: json.loads(json.dumps(found)))
    return found


def test_components_and_grid(pilot, monkeypatch, capsys):
    asked = []

    def detectable(parts, seeds, prompts, contrasts, rows):
        asked.append((seeds, prompts, contrasts, rows))
        return seeds + prompts / 1000

    monkeypatch.setattr(power, "planned_detectable", detectable)
    assert power.main(OPTIONS) == 0
    blocks = capsys.readouterr().out.strip().split("\n\n")
    named = [block.split(", ")[1] for block in blocks]
    assert named == ["0.005 minus 0.02", "0.1 minus 0.02"]
    scores = {}
    for cell in cells(ABLATIONS["lambda_hard"], BASE, (0, 1, 2)):
        scores.setdefault(cell.row, []).append(pilot[cell.id]["scores"]["PC"])
    d = 100 * (np.array(scores["0.005"]) - np.array(scores["0.02"]))
    # The rest by its definition: what neither a seed's mean nor a prompt's explains.
    left = d - d.mean(0) - d.mean(1, keepdims=True) + d.mean()
    assert f"rest {(left**2).sum() / (2 * 11):.3f}" in blocks[0]
    assert "3 seeds x 12 prompts" in blocks[0]
    grid = [line.split() for line in blocks[0].splitlines()[2:]]
    assert [int(line[0]) for line in grid] == list(power.SEEDS)
    assert grid[0][1:] == [f"{3 + P / 1000:.2f}" for P in power.PROMPTS]
    assert {contrasts for _, _, contrasts, _ in asked} == {5}, "Holm over the table's family"
    assert {rows for *_, rows in asked} == {4}, "three weights and none share their variances"


def test_more_prompts_find_less(pilot, monkeypatch, capsys):
    monkeypatch.setattr(power, "SEEDS", (3, 6))
    monkeypatch.setattr(power, "PROMPTS", (24, 96))
    power.main(OPTIONS)
    for block in capsys.readouterr().out.strip().split("\n\n"):
        few, more = (list(map(float, line.split()[1:])) for line in block.splitlines()[2:])
        assert few[0] > few[1] > 0 and more[0] > more[1] > 0 and few[0] > more[0]


def test_without_results_it_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match=r"no results of lambda_hard .* python -m sweeps\.run lamb"):
        power.main([*OPTIONS, "--out", str(tmp_path)])


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ("cost", "cost declares no PC contrast"),
        ("lambda_hrad", "is not a sweep; did you mean lambda_"),
    ],
)
def test_a_sweep_without_contrasts_is_refused(sweep, message):
    with pytest.raises(UserError, match=message):
        power.main([sweep])


def test_one_seed_is_refused(monkeypatch):
    found = results_of(ABLATIONS["lambda_hard"], seeds=(0,))
    monkeypatch.setattr(power, "read_all", lambda folder: found)
    with pytest.raises(UserError, match="1 seeds and 12 prompts have results"):
        power.main([*OPTIONS[:3], "--seeds", "0"])
