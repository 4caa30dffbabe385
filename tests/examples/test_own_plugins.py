"""Own loss term, sampler and judge: the last cell of each example's table, trained and judged."""

from __future__ import annotations

import json

import pytest
from outside import EXAMPLES, LAST_CELL, run


def cell(name, folder):
    text = run(folder, "-c", LAST_CELL, str(EXAMPLES / name))
    return json.loads(text.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("own_loss_term.py", "target moved_on"),
        ("own_sampler.py", "sampler nearest_cluster"),
        ("own_judge.py", "judge clip_score"),
    ],
)
def test_the_example_trains_and_is_judged(name, used, tmp_path):
    found = cell(name, tmp_path)
    result = found["result"]
    assert result["status"] == "done" and len(result["prompts"]) == 2
    assert [line.split("=")[0] for line in result["config"]["plugins"]["content"]] == [used]
    metrics = [json.loads(x) for x in (tmp_path / found["folder"] / "metrics.jsonl").open()]
    assert len(metrics) == 2
    assert ("term_moved_on" in metrics[0]) == (name == "own_loss_term.py")
    if name == "own_judge.py":
        assert found["shown"] == ["image-text cosine ↑"]
        assert all(-1 <= value <= 1 for value in result["scores"]["image_text"])


@pytest.mark.slow
def test_its_table_is_made_by_the_command_with_workers_of_its_own(tmp_path):
    """The row without the term has no setting of it: the queue and the frame allow that."""
    small = (
        *("train.steps=2", "train.batch=4", "data.clips=16", "macro.clusters=4"),
        *("macro.restarts=2", "macro.exclude_same_law=false", "loss.lambda_hard=0"),
        *("sample.steps=1", "evaluate.prompts=2"),
    )
    options = [part for setting in small for part in ("--set", setting)]
    text = run(
        tmp_path,
        *("-m", "sweeps.run", str(EXAMPLES / "own_loss_term.py"), "--seeds", "0"),
        *("--workers", "1", "--name", "mine", *options),
    )
    assert "reports/tiny/mine/temporal.md" in text
    table = (tmp_path / "reports/tiny/mine/temporal.md").read_text()
    assert table.count("1 × 2") == 3
    frame = run(
        tmp_path,
        "-c",
        "from sweeps import results; f = results.load('tiny'); "
        "print(sorted(set(f['moved_on.weight'].dropna())))",
    )
    assert frame.strip() == "[-0.02, -0.005]"
