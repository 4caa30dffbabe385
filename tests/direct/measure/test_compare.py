"""Measured against planned: real records of a small run, and what they say about the plan."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from direct.common import spent
from direct.common.errors import UserError
from direct.common.files import write_json
from direct.config import Run
from direct.identity import identity
from direct.measure import compare, plan
from direct.profiles import profile
from direct.settings import with_values

STEPS = {
    "encode": plan.Step("encode", 2.0, 10e9, 40e9, 5e9, "", 7200),  # 1 s a clip
    "render": plan.Step("render", 6.0, 20e9, 80e9, 9e9, "", 100),  # 216 s a clip
    "train": plan.Step("train", 8.0, 40e9, 17e9, 3e9, "", 3600),  # 8 s a step, of 4 GPUs
}


def measured(items, seconds, device="NVIDIA H100 80GB HBM3", gpu=8_000_000_000):
    return compare.Measured(items, seconds, gpu, 3_000_000_000, 2_000_000_000, device)


@pytest.fixture
def said(monkeypatch, tmp_path):
    """The report of what was measured, against STEPS at 30 % of the peak."""
    config = profile("tiny")
    (tmp_path / "cache" / "wisa").mkdir(parents=True)

    def report(found):
        monkeypatch.setattr(compare, "measured", lambda run: found)
        monkeypatch.setattr(plan, "steps", lambda *_: list(STEPS.values()))
        return compare.report(config, "h100-80g", 4, 0.3, tmp_path)

    return report


def test_a_run_that_is_twice_as_slow_halves_the_share(said):
    found = {"encode": measured(100, 200.0), "train": measured(10, 160.0)}
    text = said(found)
    encode = next(line for line in text.splitlines() if line.startswith("encode"))
    assert " ".join(encode.split()) == "encode 100 of 7,200 2 / 1 8 / 10.0 3 / 10.0 2 / 5"
    train = next(line for line in text.splitlines() if line.startswith("train"))
    assert "16.0 / 8 " in train and "3 / 17.0" in train, "one start's weights for all ranks"
    assert "encode 15.0 %, train 15.0 %" in text
    assert "take 20.0 GPU-hours, planned were 10.0; plan the rest with --share 0.150" in text
    assert not any(line.startswith("render") for line in text.splitlines()), "nothing of it yet"


def test_stages_weigh_by_their_hours(said):
    """Encoding is 4 times slower than planned, rendering as planned: 14 hours in place of 8."""
    found = {"encode": measured(10, 40.0), "render": measured(10, 2160.0)}
    assert f"--share {0.3 * 8 / 14:.3f}" in said(found)


def test_another_device_calibrates_nothing(said):
    text = said({"encode": measured(10, 400.0, "AMD EPYC", 0)})
    assert "measured on AMD EPYC: this says nothing about a plan for h100-80g" in text
    assert "--share" not in text and "- / 10.0" in text


@pytest.mark.slow
def test_before_any_stage_it_is_one_sentence(tmp_path, small):
    (tmp_path / "cache" / "wisa").mkdir(parents=True)
    with pytest.raises(UserError, match="nothing is measured yet in"):
        compare.report(small(), "h100-80g", 1, 0.3, tmp_path)


def test_where_nothing_was_made_the_pipeline_is_not_asked_for(tmp_path):
    """No folder is there, and neither are the weights of a hub id, by which caches are named."""
    config = with_values(profile("wan2.1-t2v-1.3b"), {"model.pipeline": "no/such@" + 40 * "0"})
    with pytest.raises(UserError, match="nothing is measured yet in"):
        compare.report(config, "h100-80g", 1, 0.3, tmp_path)


@pytest.mark.slow
def test_the_records_of_a_real_small_run(tmp_path, small):
    """Encoded, rendered, trained and generated here: every item is in the table, once."""
    from direct.evaluate import clips
    from direct.prepare import shared
    from direct.train import loop

    config = small(train__steps=3, evaluate__prompts=2)
    home = tmp_path / "runs" / config.profile / identity(config)
    run = Run(config, tmp_path / "cache" / config.profile, home)
    write_json(home / "config.json", asdict(config))
    shared.build([run])
    loop.train(run)
    with spent.noted(home, "generate", 0):
        clips.generate(run)
    other = with_values(config, {"train.batch": 1})  # another size: not of this plan
    write_json(tmp_path / "runs" / config.profile / "0" / "config.json", asdict(other))
    (tmp_path / "runs" / config.profile / "0" / "timing.jsonl").write_text(
        '{"steps": 50, "seconds": 1.0, "processes": 1, "gpu_bytes": 0, "host_bytes": 9}\n'
    )
    found = compare.measured(replace(run, folder=home.parent))
    assert found["encode"].items == config.data.clips and found["train"].items == 3
    assert found["render"].items > 0 and found["evaluate"].items == 2
    assert all(0 < own.seconds < 600 and own.host > 1e7 for own in found.values())
    weights = home / "transformer" / "diffusion_pytorch_model.safetensors"
    assert weights.stat().st_size <= found["train"].disk < 2 * weights.stat().st_size
    text = compare.report(config, "h100-80g", None, 0.34, tmp_path)
    assert [line.split()[0] for line in text.splitlines()[2:6]] == [*found]
