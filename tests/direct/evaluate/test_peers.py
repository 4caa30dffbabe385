"""Table 2's peers: each pipeline's real class with small models, from weights on disk to mp4."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import small_wan
import torch
from small_pipelines import SMALL, cogvideox

from direct.common.errors import UserError
from direct.config import Run
from direct.data import source
from direct.data.benchmarks import Prompt
from direct.data.sample import Sample
from direct.data.video import probe
from direct.evaluate import made, peers, rater
from direct.evaluate.rater import video_path
from direct.models.peers import PEERS
from direct.prepare.shared import build
from direct.profiles import profile
from direct.settings import override, with_values
from sweeps import cell
from sweeps.stages import REAL

PROMPTS = [Prompt("a-0", "a red ball falls"), Prompt("a-1", "a box slides slowly")]
ITEMS = [
    Sample(prompt.id, prompt.caption, "", dict, lambda *_: None, {"states_of_matter": "other"})
    for prompt in PROMPTS
]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PEERS))
def test_peer_is_loaded_as_its_class_and_writes_every_clip(name, tmp_path, pipeline_folder):
    build, settings = SMALL[name]
    folder = pipeline_folder
    if build is not None:
        torch.manual_seed(0)
        folder = tmp_path / "weights"
        build().save_pretrained(folder, safe_serialization=True)
    pipeline = peers.load(PEERS[name], str(folder)).to(torch.float32)
    assert type(pipeline).__name__ == PEERS[name].pipeline
    small = settings | {"num_inference_steps": 2, "max_sequence_length": 16}
    texts = [prompt.caption for prompt in PROMPTS]
    made.claim(tmp_path, peers.maker(PEERS[name], 0, str(folder)))
    peers.write(pipeline, PEERS[name], PROMPTS, tmp_path, 0, texts, **small)
    for prompt in PROMPTS:
        found = probe(video_path(tmp_path, prompt))
        assert (found["height"], found["width"]) == (settings["height"], settings["width"])
        assert found["frames"] >= 5
    clips = [peers.render(pipeline, "a red ball falls", seed, **small) for seed in (1, 1, 2)]
    assert np.array_equal(clips[0], clips[1]) and not np.array_equal(clips[0], clips[2])
    pipeline.transformer = None  # what is there is not made again
    peers.write(pipeline, PEERS[name], PROMPTS, tmp_path, 0, texts, **small)


@pytest.mark.slow
def test_a_row_of_table_2_from_its_own_pipeline_to_scores(tmp_path, monkeypatch):
    """A peer's cell as the sweep runs it; again, it makes nothing anew."""
    torch.manual_seed(0)
    cogvideox().save_pretrained(tmp_path / "weights", safe_serialization=True)
    peer = replace(
        PEERS["cogvideox-2b"],
        repository=str(tmp_path / "weights"),
        dtype=torch.float32,
        vae=torch.float32,
    )
    monkeypatch.setitem(PEERS, "cogvideox-2b", peer)
    small = SMALL["cogvideox-2b"][1] | {"num_inference_steps": 2, "max_sequence_length": 16}
    monkeypatch.setattr(peers, "render", partial(peers.render, **small))
    monkeypatch.setattr(source, "evaluation", lambda config: ITEMS)
    rater_script = Path(__file__).parents[2] / "rehearsal_rater.py"
    monkeypatch.setenv(rater.COMMAND, f"'{sys.executable}' '{rater_script}'")
    base = profile("wan2.1-t2v-1.3b")
    config = with_values(base, {"model.pipeline": "peer:cogvideox-2b", "train.steps": 0})
    config = with_values(config, {"threads": 1, "evaluate.judge": "videophy"})
    build([Run(config, tmp_path / "cache")])
    records = cell.execute(Run(config, tmp_path / "cache", tmp_path / "run"))
    assert [record["prompt"] for record in records] == ["a-0", "a-1"]
    assert all(0 <= record["scores"]["PC"] <= 1 for record in records)
    monkeypatch.setattr(peers, "load", lambda *_: pytest.fail("loaded again"))
    (tmp_path / "run" / "records.jsonl").unlink()
    assert cell.execute(Run(config, tmp_path / "cache", tmp_path / "run")) == records
    assert (
        REAL.inputs(config)["weights"]
        != REAL.inputs(with_values(config, {"model.pipeline": "peer:mochi"}))["weights"]
    )


def test_who_makes_clips_is_told_by_pipeline_commit_settings_and_seed():
    said = [peers.maker(PEERS[name], 0) for name in sorted(PEERS)]
    assert all("@" in maker["weights"] for maker in said)
    assert len({maker["weights"] for maker in said}) == len(PEERS)
    mochi = peers.maker(PEERS["mochi"], 3)
    assert mochi["settings"]["num_frames"] == 19 and mochi["seed"] == 3
    assert mochi["pipeline"] == "MochiPipeline" and "guidance_scale" in mochi["settings"]


def test_another_models_folder_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    made.claim(tmp_path, peers.maker(PEERS["cogvideox-5b"], 0))
    monkeypatch.setattr(peers, "load", lambda *_: pytest.fail("loaded"))
    line = ["direct.peers", "mochi", "--judge", "videophy", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(UserError, match="made with pipeline=CogVideoXPipeline, not Mochi"):
        peers.main()


def test_a_peer_that_is_none_or_is_to_be_trained_is_refused(tmp_path):
    base = profile("wan2.1-t2v-1.3b")
    wrong = with_values(base, {"model.pipeline": "peer:cogvideo", "train.steps": 0})
    with pytest.raises(UserError, match="peer:cogvideo names no peer; did you mean cogvideox"):
        peers.videos(Run(wrong, tmp_path, tmp_path))
    with pytest.raises(UserError, match=r"is judged as it is; train\.steps=0"):
        override(base, "model.pipeline=peer:mochi")
    tiny = with_values(profile("tiny"), {"model.pipeline": "peer:mochi", "train.steps": 0})
    with pytest.raises(UserError, match="=world is for the tiny profile's clips"):
        peers.videos(Run(tiny, tmp_path, tmp_path))


def test_every_word_of_the_test_prompts_is_in_the_small_vocabulary():
    words = {word for prompt in PROMPTS for word in prompt.caption.split()}
    assert words <= set(small_wan.WORDS)
