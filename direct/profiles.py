"""Profiles: each is a Python function that returns a complete `Config`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from . import plugins
from .common.errors import UserError, nearest
from .config import Config, Data, Evaluate, Measure, Model, Sampling, Train
from .plugins import carried
from .plugins.registry import entries
from .settings import validate

# Pipelines on the hub, each at a commit: what a name means must not move.
WAN_1_3B = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers@0fad780a534b6463e45facd96134c9f345acfa5b"
WAN_14B = "Wan-AI/Wan2.1-T2V-14B-Diffusers@38ec498cb3208fb688890f8cc7e94ede2cbd7f68"
WAN_A14B = "Wan-AI/Wan2.2-T2V-A14B-Diffusers@5be7df9619b54f4e2667b2755bc6a756675b5cd7"
WAN_5B = "Wan-AI/Wan2.2-TI2V-5B-Diffusers@b8fff7315c768468a5333511427288870b2e9635"
LTX = "Lightricks/LTX-Video@8984fa25007f376c1a299016d0957a37a2f797bb"


def wan21_t2v_1_3b() -> Config:
    """The paper's setting (Sec. 5.1, App. D; what it leaves open: VideoX-Fun's defaults)."""
    return Config(
        profile="wan2.1-t2v-1.3b",
        model=Model(pipeline=WAN_1_3B),
        train=Train(engine="deepspeed", micro_batch=1, gradient_checkpointing=True),
    )


def wan21_1gpu() -> Config:
    """Ours: the cells of Table S3, one seed each, within a day on one 80 GB GPU.

    LoRA, a subset of clips, 2 s of each at full speed, fewer steps and prompts. What that costs and
    gives up: `python -m direct.plan --profile wan2.1-1gpu`.
    """
    base = wan21_t2v_1_3b()
    return replace(
        base,
        profile="wan2.1-1gpu",
        model=replace(base.model, frames=33),
        data=replace(base.data, clips=500),
        train=replace(
            base.train,
            engine="torch",
            steps=400,
            learning_rate=5e-5,
            lora_rank=32,
            checkpoint_every=100,
        ),
        evaluate=replace(base.evaluate, prompts=100),
    )


def wan21_t2v_14b() -> Config:
    """Ours: the same on the larger model, as LoRA: its weights twice and AdamW do not fit 80 GB.

    Rank and learning rate are finetrainers' for Wan's attention layers.
    """
    base = wan21_t2v_1_3b()
    return replace(
        base,
        profile="wan2.1-t2v-14b",
        model=replace(base.model, pipeline=WAN_14B),
        train=replace(base.train, learning_rate=5e-5, lora_rank=32),
    )


def wan22_t2v_a14b() -> Config:
    """Ours: Wan 2.2 with two experts; LoRA on the high-noise one, which decides about motion.

    Steps, guidance of both and shift are its authors' (their wan_t2v_A14B.py); the times' shift is
    VideoX-Fun's for it (wan2.2/wan_civitai_t2v.yaml), 5 as for Wan 2.1.
    """
    base = wan21_t2v_14b()
    sampling = Sampling(steps=40, guidance=4.0, guidance_low=3.0, shift=12.0)
    return replace(
        base,
        profile="wan2.2-t2v-a14b",
        model=replace(base.model, pipeline=WAN_A14B),
        train=replace(base.train, expert="high_noise"),
        sample=sampling,
        hard_sample=sampling,
    )


def wan22_ti2v_5b() -> Config:
    """Ours: Wan 2.2's smaller model from text, at its own size and rate.

    Size, rate, guidance, steps and shift are its authors' (their wan_ti2v_5B.py; its 121 frames are
    more than a curated clip has); the times' shift is VideoX-Fun's (wan_civitai_ti2v_5b.yaml).
    """
    base = wan21_t2v_1_3b()
    sampling = Sampling(steps=50, guidance=5.0, shift=5.0)
    return replace(
        base,
        profile="wan2.2-ti2v-5b",
        model=replace(base.model, pipeline=WAN_5B, height=704, width=1280, fps=24),
        train=replace(base.train, shift=12.0),
        sample=sampling,
        hard_sample=sampling,
    )


def ltx_video() -> Config:
    """Ours: another family, at LTXPipeline's own rate and guidance.

    Twice its text length of 128 tokens, which WISA's captions come near to on average.

    Its scheduler's shift grows with the tokens: exp(0.95 + 1.1 (3630 - 1024) / 3072) for this size.
    """
    base = wan21_t2v_1_3b()
    sampling = Sampling(steps=50, guidance=3.0, shift=6.57)
    return replace(
        base,
        profile="ltx-video",
        model=Model(
            pipeline=LTX,
            frames=81,
            height=480,
            width=704,
            fps=25,
            text_length=256,
        ),
        train=replace(base.train, shift=6.57),
        sample=sampling,
        hard_sample=sampling,
    )


def tiny() -> Config:
    """A miniature of the same pipeline on the procedural physics world, for two cores.

    Its guidance is the best of the base model's by AVG, on validation prompts (docs/log.md).
    """
    sampling = Sampling(steps=12, guidance=2.0, shift=2.0)
    return Config(
        profile="tiny",
        model=Model(
            pipeline="tiny", frames=17, height=32, width=32, text_length=32, dtype="float32"
        ),
        data=Data(source="world", clips=384),
        train=Train(steps=150, batch=8, learning_rate=3e-4, shift=2.0, checkpoint_every=50),
        sample=sampling,
        hard_sample=sampling,
        evaluate=Evaluate(judge="world", prompts=192),
        measure=Measure(steps=100),
    )


PROFILES = {
    "tiny": tiny,
    "wan2.1-t2v-1.3b": wan21_t2v_1_3b,
    "wan2.1-1gpu": wan21_1gpu,
    "wan2.1-t2v-14b": wan21_t2v_14b,
    "wan2.2-t2v-a14b": wan22_t2v_a14b,
    "wan2.2-ti2v-5b": wan22_ti2v_5b,
    "ltx-video": ltx_video,
}


def known() -> dict[str, Callable[[], Config]]:
    """Every profile by name, plug-ins' own among them."""
    return PROFILES | {entry.name: entry.function for entry in entries("profile")}


def profile(name: str) -> Config:
    """The named profile's configuration, validated, with the plug-ins that are loaded."""
    plugins.installed()
    profiles = known()
    if name not in profiles:
        raise UserError(f"--profile {name} is not a profile; {nearest(name, profiles)}")
    return validate(replace(profiles[name](), plugins=carried.at_hand()))
