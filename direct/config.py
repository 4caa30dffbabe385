"""The whole configuration of a run: frozen dataclasses, and one function per profile.

A profile is a Python function that returns a complete `Config`; a setting is changed with
`override(config, "loss.lambda_hard=0.05")`. What cannot change a result (paths, worker counts) is
not in here, so `identity(config)` names a result.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from .errors import UserError, nearest
from .files import digest
from .settings import AXES, validate

# Pipelines on the hub, each at a commit: what a name means must not move.
WAN_1_3B = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers@0fad780a534b6463e45facd96134c9f345acfa5b"
WAN_14B = "Wan-AI/Wan2.1-T2V-14B-Diffusers@38ec498cb3208fb688890f8cc7e94ede2cbd7f68"
LTX = "Lightricks/LTX-Video@8984fa25007f376c1a299016d0957a37a2f797bb"


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which pipeline, and the size of the clips it renders."""

    # "tiny": the weights in this package; a folder; a hub id, owner/name@commit; or peer:<name>
    pipeline: str = "tiny"
    frames: int = 81  # a multiple of the VAE's temporal stride, plus one
    height: int = 480  # pixels
    width: int = 832  # pixels
    fps: int = 16  # of the clips, and of the files written for judging (Wan's own rate)
    text_length: int = 512  # tokens, padded with zeros
    dtype: Literal["float32", "bfloat16"] = "bfloat16"  # of forward passes; masters are fp32

    @property
    def peer(self) -> str:
        """The name in `direct.peers` of another model that is only judged; "": the one at hand."""
        kind, _, name = self.pipeline.partition(":")
        return name if kind == "peer" else ""


@dataclass(frozen=True, kw_only=True)
class Data:
    """The post-training clips."""

    source: Literal["world", "cache"] = "cache"
    clips: int = 11_299
    seed: int = 0  # of the procedural world
    content: str = ""  # names the curated clips; `source.pinned` sets it


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Eq. 6; the meaning of each field is `direct.velocity_loss`'s."""

    lambda_rand: float = 0.005
    lambda_hard: float = 0.02
    lambda_anc: float = 0.2
    threshold: float = 50.0
    negative_noise: Literal["sampled", "marginal"] = "sampled"
    regenerate_noise: bool = False  # eps drawn again inside the loss instead of kept
    backend: Literal["auto", "cuda", "triton", "cpp", "eager"] = "auto"


@dataclass(frozen=True, kw_only=True)
class Macro:
    """MaNS, Eq. 2-3."""

    sampling: Literal["partition", "uniform", "batch"] = "partition"
    clusters: int = 32
    restarts: int = 50
    exclude_same_law: bool = True


@dataclass(frozen=True, kw_only=True)
class Micro:
    """MiNS, Eq. 4."""

    candidates: int = 10  # perturbed prompts per clip
    min_cosine: float = 0.87  # to the clip's prompt, in the frozen text encoder's space
    keep: int = 3
    axes: tuple[str, ...] = AXES
    content: str = ""  # names the curated clips' kept prompts; `source.pinned` sets it


@dataclass(frozen=True, kw_only=True)
class Train:
    init: Literal["base", "sft"] = "base"  # of the trained model; the reference is always the base
    steps: int = 15_000  # 0: the base itself, zero-shot
    batch: int = 8  # global
    learning_rate: float = 1e-6  # constant (App. D)
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-10
    weight_decay: float = 3e-2
    clip: float = 1.0  # gradient norm
    prompt_dropout: float = 0.1  # such samples are not contrasted
    shift: float = 5.0  # of the timestep grid (VideoX-Fun)
    checkpoint_every: int = 500
    engine: Literal["torch", "deepspeed"] = "torch"  # one process; or ZeRO-2, any number of ranks
    micro_batch: int = 0  # samples per forward pass of one rank; 0: its whole share of the batch
    gradient_checkpointing: bool = False
    compile: bool = False  # torch.compile
    lora_rank: int = 0  # 0: all weights are trained; else an adapter, and no copy for the reference
    lora_alpha: int = 32  # the adapter is scaled by alpha / rank


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Euler sampling with classifier-free guidance. Sources of the defaults: docs/scale.md."""

    steps: int = 50  # App. D
    guidance: float = 5.0  # App. D
    shift: float = 3.0  # Wan's own at 480p
    negative_prompt: str = ""  # WanPipeline's default; the paper names none


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    judge: Literal["world", "videophy", "worldmodelbench"] = "videophy"
    prompts: int = 344
    split: Literal["validation", "evaluation"] = "evaluation"
    captions: Literal["short", "upsampled"] = "short"  # what is generated from; judged: the short
    content: str = ""  # names the up-sampled captions; `source.pinned` sets it


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a cell yields: scores of the clips it generates, or measurements of its training."""

    kind: Literal["scores", "alignment", "cost"] = "scores"
    steps: int = 1000  # "alignment": the training steps whose gradients are compared (App. H)
    iterations: int = 60  # "cost": timed iterations of each method (Table S4)


@dataclass(frozen=True, kw_only=True)
class Config:
    profile: str
    # Of every draw in training (data order, timesteps, noise, negatives), and of the initial noise
    # of the clips that are judged: shared by every variant.
    seed: int = 0
    threads: int = 1  # per worker; part of the result, since sums depend on it
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    loss: Loss = field(default_factory=Loss)
    macro: Macro = field(default_factory=Macro)
    micro: Micro = field(default_factory=Micro)
    train: Train = field(default_factory=Train)
    sample: Sample = field(default_factory=Sample)
    hard_sample: Sample = field(default_factory=Sample)  # how hard negatives are rendered
    evaluate: Evaluate = field(default_factory=Evaluate)
    measure: Measure = field(default_factory=Measure)


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


def ltx_video() -> Config:
    """Ours: another family, at LTXPipeline's own rate and guidance.

    Twice its text length of 128 tokens, which WISA's captions come near to on average.

    Its scheduler's shift grows with the tokens: exp(0.95 + 1.1 (3630 - 1024) / 3072) for this size.
    """
    base = wan21_t2v_1_3b()
    sampling = Sample(steps=50, guidance=3.0, shift=6.57)
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
    """A miniature of the same pipeline on the procedural physics world, for two cores."""
    sampling = Sample(steps=12, guidance=3.0, shift=2.0)
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
    "ltx-video": ltx_video,
}


def profile(name: str) -> Config:
    """The named profile's configuration, validated."""
    if name not in PROFILES:
        raise UserError(f"--profile {name} is not a profile; {nearest(name, PROFILES)}")
    return validate(PROFILES[name]())


def identity(config: Config) -> str:
    """12 hex digits that name the configuration, its seed included."""
    return digest(asdict(config))
