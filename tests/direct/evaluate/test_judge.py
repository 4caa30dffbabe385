"""Judging: each decoded clip meets its own record, here or outside; records are made whole."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from direct.common.errors import UserError
from direct.common.files import load_arrays
from direct.config import Run
from direct.data import source, video
from direct.data.sample import Sample
from direct.evaluate import clips
from direct.evaluate.judge import judge
from direct.models import codec
from direct.models.pipeline import load_pipeline
from direct.plugins import carried
from direct.settings import with_values


@pytest.fixture
def judged(monkeypatch):
    """A judge that writes down what it is shown; the fixture's records are the prompts' numbers."""
    seen = []

    def judge(video, record):
        seen.append((video, record))
        return {"PC": np.float32(video.mean()), "SA": record / 10}

    monkeypatch.setattr("direct.evaluate.judge.scorer", lambda config: judge)
    return seen


@pytest.mark.slow
def test_each_decoded_clip_is_judged_by_its_own_record(small, tmp_path, judged, pipeline_folder):
    config = small(train__steps=0, evaluate__prompts=11)
    records = judge(Run(config, tmp_path / "cache", tmp_path / "run"))
    assert [record for _, record in judged] == list(range(11))
    latents = load_arrays(tmp_path / "run" / "samples.safetensors")["latents"]
    pipeline = load_pipeline(str(pipeline_folder))
    videos = codec.decode_latents(pipeline, latents)
    assert all(np.array_equal(video, v) for (video, _), v in zip(judged, videos, strict=True))
    items = source.evaluation(config)
    assert [(r["prompt"], r["caption"]) for r in records] == [(i.id, i.prompt) for i in items]
    assert records[3]["scores"] == {"PC": float(np.float32(videos[3].mean())), "SA": 0.3}
    lines = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == records


@pytest.mark.slow
def test_finished_records_are_read_and_damaged_ones_made_anew(small, tmp_path, judged, capsys):
    config, run = small(train__steps=0), tmp_path / "run"
    first = judge(Run(config, tmp_path / "cache", run))
    assert judge(Run(config, tmp_path / "cache", run)) == first and len(judged) == 5
    path = run / "records.jsonl"
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"SA":0.1', b'"SA":0.9'))
    assert judge(Run(config, tmp_path / "cache", run)) == first
    assert "records.jsonl" in capsys.readouterr().out and path.read_bytes() == good
    assert (run / "records.jsonl.damaged").exists() and len(judged) == 10


@pytest.mark.slow
def test_damaged_samples_are_generated_again(small, tmp_path, judged):
    config, run = small(train__steps=0), tmp_path / "run"
    path = clips.generate(Run(config, tmp_path / "cache", run))
    good = torch.clone(load_arrays(path)["latents"])
    path.write_bytes(path.read_bytes()[:-8])
    judge(Run(config, tmp_path / "cache", run))
    assert torch.equal(load_arrays(path)["latents"], good)


# In a run


@pytest.mark.slow
def test_a_cell_is_judged_outside(small, tmp_path, monkeypatch, command):
    items = [
        Sample(
            f"videophy-{n}",
            f"a {c} ball falls",
            "",
            source._no_clip,
            source._no_clip,
            {"states_of_matter": "solid_solid"},
        )
        for n, c in enumerate(["red", "blue", "green"])
    ]
    monkeypatch.setattr(source, "evaluation", lambda config: items)
    config = small(train__steps=0, evaluate__prompts=3, evaluate__judge="videophy")
    run = tmp_path / "run"
    with pytest.raises(UserError, match="0 of 3 clips are judged"):
        judge(Run(config, tmp_path / "cache", run))
    assert not (run / "records.jsonl").exists()
    shape = video.probe(run / "videophy" / "videos" / "videophy-1.mp4")
    assert shape == {"frames": 5, "height": 16, "width": 16}
    command(9)
    records = judge(Run(config, tmp_path / "cache", run))
    assert [r["scores"]["PC"] for r in records] == pytest.approx([0, 0.1, 0.2])
    assert judge(Run(config, tmp_path / "cache", run)) == records


def test_an_outside_judge_of_the_worlds_prompts_is_refused_before_a_clip_is_made(tmp_path):
    from direct.profiles import profile
    from direct.settings import override

    config = override(profile("tiny"), "evaluate.judge=videophy", "train.steps=0")
    with pytest.raises(UserError, match="judged by evaluate"):
        judge(Run(config, tmp_path / "cache", tmp_path / "run"))
    assert not list(tmp_path.rglob("*.mp4")) and not list(tmp_path.rglob("*.safetensors"))


EYE = """
@plugins.judge(bright=plugins.Score("Brightness"))
def eye(*, by: float = 1.0):
    return lambda video, sample: {NAME: video.mean() / by + len(sample.prompt)}
"""


@pytest.mark.slow
def test_a_plug_in_judges_with_its_own_metrics(small, tmp_path, plugged):
    plugged(EYE.replace("NAME", '"bright"'))
    config = replace(small(train__steps=0, evaluate__prompts=2), plugins=carried.at_hand())
    config = with_values(config, {"evaluate.judge": "eye", "eye.by": 1e9})
    records = judge(Run(config, tmp_path / "cache", tmp_path / "run"))
    assert [set(record["scores"]) for record in records] == [{"bright"}] * 2
    for record in records:
        assert record["scores"]["bright"] == pytest.approx(len(record["caption"]), abs=1e-6)
    for edit in (("NAME", '"dark"'), ("NAME: video.mean()", '"bright": float("nan")')):
        plugged(EYE.replace(*edit))
        config = replace(config, plugins=carried.at_hand())
        with pytest.raises(UserError, match=r"eye gave .* a finite number for each of bright"):
            judge(Run(config, tmp_path / "cache", tmp_path / "other"))
