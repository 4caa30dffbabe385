"""Table 2's peers: each pipeline's real class with small models, from weights on disk to mp4."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import conftest
import numpy as np
import pytest
import torch
from test_families import build_ltx, tokenizer_and_encoder

from direct.common.errors import UserError
from direct.config import Run
from direct.data import captions, source
from direct.data.benchmarks import Prompt
from direct.data.sample import Sample
from direct.data.video import probe
from direct.evaluate import peers, rater
from direct.evaluate.rater import video_path
from direct.models.peers import PEERS
from direct.prepare.shared import build
from direct.profiles import profile
from direct.settings import override, with_values
from sweeps import cell
from sweeps.stages import REAL


def cogvideox():
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDDIMScheduler,
        CogVideoXPipeline,
        CogVideoXTransformer3DModel,
    )

    tokenizer, encoder = tokenizer_and_encoder(32)
    vae = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=1,
        sample_width=2,
        sample_height=2,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=16,
    )
    return CogVideoXPipeline(tokenizer, encoder, vae, transformer, CogVideoXDDIMScheduler())


def allegro():
    from diffusers import (
        AllegroPipeline,
        AllegroTransformer3DModel,
        AutoencoderKLAllegro,
        DDIMScheduler,
    )

    tokenizer, encoder = tokenizer_and_encoder(32)
    vae = AutoencoderKLAllegro(
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
        sample_size=32,
    )
    transformer = AllegroTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        cross_attention_dim=24,
        sample_width=4,
        sample_height=4,
        sample_frames=6,
        caption_channels=32,
    )
    return AllegroPipeline(tokenizer, encoder, vae, transformer, DDIMScheduler())


def mochi():
    from diffusers import (
        AutoencoderKLMochi,
        FlowMatchEulerDiscreteScheduler,
        MochiPipeline,
        MochiTransformer3DModel,
    )

    tokenizer, encoder = tokenizer_and_encoder(32)
    vae = AutoencoderKLMochi(
        latent_channels=12,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    transformer = MochiTransformer3DModel(
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=12,
        text_embed_dim=32,
        time_embed_dim=4,
        max_sequence_length=16,
    )
    return MochiPipeline(FlowMatchEulerDiscreteScheduler(), vae, encoder, tokenizer, transformer)


SMALL = {  # what a test gives in place of the pipeline's defaults
    "cogvideox-2b": (cogvideox, {"height": 16, "width": 16, "num_frames": 9}),
    "cogvideox-5b": (cogvideox, {"height": 16, "width": 16, "num_frames": 9}),
    "ltx-video": (build_ltx, {"height": 32, "width": 32, "num_frames": 9}),
    "allegro": (allegro, {"height": 32, "width": 32, "num_frames": 24}),
    "mochi": (mochi, {"height": 16, "width": 16, "num_frames": 7}),
    "wan2.1-t2v-1.3b": (None, {"height": 16, "width": 16, "num_frames": 5}),
    "wan2.1-t2v-14b": (None, {"height": 16, "width": 16, "num_frames": 5}),
}
PROMPTS = [Prompt("a-0", "a red ball falls"), Prompt("a-1", "a box slides slowly")]
ITEMS = [
    Sample(prompt.id, prompt.caption, "", dict, lambda *_: None, {"states_of_matter": "other"})
    for prompt in PROMPTS
]


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
    peers.write(pipeline, PEERS[name], PROMPTS, tmp_path, 0, texts, **small)
    for prompt in PROMPTS:
        found = probe(video_path(tmp_path, prompt))
        assert (found["height"], found["width"]) == (settings["height"], settings["width"])
        assert found["frames"] >= 5
    clips = [peers.render(pipeline, "a red ball falls", seed, **small) for seed in (1, 1, 2)]
    assert np.array_equal(clips[0], clips[1]) and not np.array_equal(clips[0], clips[2])
    pipeline.transformer = None  # what is there is not made again
    peers.write(pipeline, PEERS[name], PROMPTS, tmp_path, 0, texts, **small)


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
    rater_script = Path(__file__).parents[1] / "rehearsal_rater.py"
    monkeypatch.setenv(rater.COMMAND, f"'{sys.executable}' '{rater_script}'")
    base = profile("wan2.1-t2v-1.3b")
    config = with_values(base, {"model.pipeline": "peer:cogvideox-2b", "train.steps": 0})
    config = with_values(config, {"threads": 1, "evaluate.judge": "videophy"})
    build(Run(config, tmp_path / "cache"))
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


def test_up_sampled_captions_are_generated_from_and_none_may_be_missing(tmp_path, monkeypatch):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"a red ball falls": "a small red ball falls fast"}))
    config = with_values(profile("wan2.1-t2v-1.3b"), {"evaluate.captions": "upsampled"})
    with pytest.raises(UserError, match="needs DIRECT_CAPTIONS"):
        captions.prompts(config, ["a red ball falls"])
    monkeypatch.setenv("DIRECT_CAPTIONS", str(path))
    assert captions.prompts(config, ["a red ball falls"]) == ["a small red ball falls fast"]
    with pytest.raises(UserError, match="no up-sampled caption is given for 'a box"):
        captions.prompts(config, ["a box slides"])
    short = profile("wan2.1-t2v-1.3b")
    assert captions.prompts(short, ["a box slides"]) == ["a box slides"]
    named = with_values(config, {"evaluate.content": captions.content(config)})
    path.write_text(json.dumps({"a red ball falls": "another"}))
    with pytest.raises(UserError, match="has changed"):
        captions.prompts(named, ["a red ball falls"])
    path.write_text("[1]")
    with pytest.raises(UserError, match="is not of the form"):
        captions.read(path)


def test_every_word_of_the_test_prompts_is_in_the_small_vocabulary():
    words = {word for prompt in PROMPTS for word in prompt.caption.split()}
    assert words <= set(conftest.WORDS)
