"""A second family of models, LTX-Video, through the same few calls: small models of its classes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import small_wan
import torch
from small_pipelines import build_ltx

from direct import sampling
from direct.common.errors import UserError
from direct.common.files import load_arrays
from direct.config import Model, Run, Sampling
from direct.data import source
from direct.evaluate.clips import generate
from direct.models import codec
from direct.models.families import ltx
from direct.models.pipeline import load_pipeline, load_transformer, noise_levels, velocity
from direct.profiles import profile
from direct.train import loop

PROMPTS = ["a red ball falls", "", "a small box slides slowly to the left"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("ltx") / "pipeline"
    build_ltx().save_pretrained(path, safe_serialization=True)
    return path


@pytest.fixture(scope="module")
def pipeline(folder):
    return load_pipeline(str(folder))


def settings(folder, **values) -> Model:
    return Model(
        **{
            "pipeline": str(folder),
            "frames": 9,
            "height": 16,
            "width": 16,
            "fps": 25,
            "text_length": 12,
            "dtype": "float32",
        }
        | values
    )


def test_loaded_as_its_own_class_and_a_stranger_is_refused(folder, pipeline, tmp_path):
    assert type(pipeline).__name__ == "LTXPipeline"
    transformer = load_transformer(str(folder))
    assert type(transformer).__name__ == "LTXVideoTransformer3DModel"
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(UserError, match="is a FluxPipeline, which is not trained here"):
        load_transformer(str(tmp_path))


def test_embeddings_are_the_pipelines_own_up_to_padding(pipeline):
    ours, lengths = codec.encode_prompts(pipeline, PROMPTS, 12)
    theirs, mask = pipeline._get_t5_prompt_embeds(PROMPTS, max_sequence_length=12)
    torch.testing.assert_close(ours, theirs * mask[..., None], rtol=1e-5, atol=1e-6)
    assert lengths.tolist() == mask.sum(1).tolist()


def test_latents_are_normalised_as_the_pipeline_does_and_come_back(pipeline):
    videos = np.random.default_rng(0).integers(0, 256, (2, 9, 16, 16, 3), np.uint8)
    latents = codec.encode_videos(pipeline, videos)
    assert latents.shape == (2, 8, 3, 4, 4)
    pixels = torch.from_numpy(videos).permute(0, 4, 1, 2, 3) / 127.5 - 1
    vae = pipeline.vae
    mode = vae.encode(pixels).latent_dist.mode()
    theirs = pipeline._normalize_latents(
        mode, vae.latents_mean, vae.latents_std, vae.config.scaling_factor
    )
    torch.testing.assert_close(latents, theirs, rtol=1e-4, atol=1e-5)
    decoded = codec.decode_latents(pipeline, latents)
    expected = (vae.decode(mode).sample.clamp(-1, 1) + 1) * 127.5
    expected = expected.permute(0, 2, 3, 4, 1).detach().numpy()
    assert np.abs(decoded - expected).max() <= 0.51


def test_sampling_equals_the_pipeline(pipeline, folder):
    """Noise levels, velocity, places in seconds and pixels, the text's mask, guidance: at once."""
    model, asked = settings(folder, height=32, width=32), Sampling(steps=4, guidance=3.0, shift=0.0)
    text, _ = codec.encode_prompts(pipeline, [PROMPTS[0]], 12)
    negative, _ = codec.encode_prompts(pipeline, [""], 12)
    eps = torch.randn(1, 8, 3, 8, 8, generator=torch.manual_seed(1))
    ours = sampling.sample(
        pipeline.transformer,
        text,
        negative,
        eps,
        asked,
        velocity(model),
        levels=noise_levels(model, asked),
    )
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        prompt=PROMPTS[0],
        negative_prompt="",
        height=32,
        width=32,
        num_frames=9,
        frame_rate=25,
        num_inference_steps=4,
        guidance_scale=3.0,
        max_sequence_length=12,
        latents=pipeline._pack_latents(eps),
        output_type="latent",
    ).frames
    theirs = pipeline._unpack_latents(theirs, 3, 8, 8)
    np.testing.assert_allclose(noise_levels(model, asked), pipeline.scheduler.sigmas, rtol=1e-6)
    assert pipeline.scheduler.sigmas[-2] == pytest.approx(0.1)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_places_and_padding_reach_the_transformer(pipeline, folder):
    text, _ = codec.encode_prompts(pipeline, [PROMPTS[0]], 12)
    x = torch.randn(1, 8, 3, 4, 4, generator=torch.manual_seed(1))
    t = torch.tensor([0.5])
    with torch.no_grad():
        v = velocity(settings(folder))(pipeline.transformer, x, t, text)
        slow = velocity(settings(folder, fps=5))(pipeline.transformer, x, t, text)
        longer = torch.cat([text, torch.zeros_like(text)], 1)
        padded = velocity(settings(folder))(pipeline.transformer, x, t, longer)
    assert not torch.allclose(v, slow, atol=1e-6)
    torch.testing.assert_close(v, padded, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 2])
def test_trains_renders_negatives_and_generates(small, folder, tmp_path, rank, monkeypatch):
    from diffusers import LTXPipeline

    def longer(sample):  # nine frames: strides are 4 x 4 x 4
        return replace(sample, video=lambda: np.repeat(sample.video(), 2, 0)[:9])

    clips = [longer(sample) for sample in small_wan.build_samples(12, "training")]
    monkeypatch.setattr(source, "training", lambda *_: clips)
    config = small(
        model__pipeline=str(folder),
        model__frames=9,
        model__fps=25,
        train__steps=4,
        train__lora_rank=rank,
        train__learning_rate=1e-2,
        evaluate__prompts=2,
    )
    run = tmp_path / "run"
    final = loop.train(Run(config, tmp_path / "cache", run))
    told = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert told[0]["d_anc"] == 0 < told[-1]["d_anc"]
    assert all(line["d_hard"] is not None and not line["skipped"] for line in told)
    before = load_transformer(str(folder)).state_dict()
    after = load_transformer(final).state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    LTXPipeline.from_pretrained(folder, transformer=load_transformer(final))
    if rank == 0:
        made = load_arrays(generate(Run(config, tmp_path / "cache", run)))
        assert made["latents"].shape == (2, 8, 3, 4, 4) and made["latents"].isfinite().all()


def test_released_ltx_has_the_strides_its_autoencoder_names():
    from diffusers import AutoencoderKLLTXVideo

    vae = AutoencoderKLLTXVideo(
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5,
    )
    assert ltx.strides(vae.config) == (8, 32)
    assert ltx.strides(vae.config) == (
        vae.temporal_compression_ratio,
        vae.spatial_compression_ratio,
    )
    size = profile("ltx-video").model
    assert (size.frames - 1) % 8 == 0 and size.height % 32 == 0 and size.width % 32 == 0
