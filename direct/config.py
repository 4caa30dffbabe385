"""The whole configuration of a run, as frozen dataclasses.

`profiles.py` fills them in; `settings.override(config, "loss.lambda_hard=0.05")` changes a setting.
The comment behind a setting is its help (`python -m sweeps.run settings`). Paths and numbers of
workers are not in here: they belong to a `Run`.

A new setting must not rename the cells that were there before it: declare it with `added(neutral)`.
One that cannot change any result is declared with `metadata={NO_EFFECT: True}` (see identity.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .common.progress import Progress, silent

AXES = ("kinematics", "forces", "material", "interaction", "magnitude")  # of MiNS (Eq. 4)

NO_EFFECT = "no effect"  # metadata of a setting that cannot change a result
NEUTRAL = "neutral"  # metadata of a later setting: the value at which all is as before it


def added(neutral: Any, default: Any = None, **metadata: Any) -> Any:
    """A setting that came after results were made; its default, unless given, is `neutral`."""
    default = neutral if default is None else default
    return field(default=default, metadata={NEUTRAL: neutral} | metadata)


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
        """The name in `models.peers` of another model that is only judged; "": the one at hand."""
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
    checkpoint_every: int = field(default=500, metadata={NO_EFFECT: True})  # steps
    # The last step's checkpoint stays in the cache, so that a longer run goes on from it.
    keep_last: bool = added(True, **{NO_EFFECT: True})
    engine: Literal["torch", "deepspeed"] = "torch"  # one process; or ZeRO-2, any number of ranks
    micro_batch: int = 0  # samples per forward pass of one rank; 0: its whole share of the batch
    gradient_checkpointing: bool = False
    compile: bool = False  # torch.compile
    lora_rank: int = 0  # 0: all weights are trained; else an adapter, and no copy for the reference
    lora_alpha: int = 32  # the adapter is scaled by alpha / rank


@dataclass(frozen=True, kw_only=True)
class Sampling:
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
    sample: Sampling = field(default_factory=Sampling)
    hard_sample: Sampling = field(default_factory=Sampling)  # how hard negatives are rendered
    evaluate: Evaluate = field(default_factory=Evaluate)
    measure: Measure = field(default_factory=Measure)


@dataclass(frozen=True)
class Run:
    """A configuration, and the place and the means to run it. Only `config` can change a result."""

    config: Config
    cache: Path  # what runs share: embeddings, latents, partitions, hard negatives
    folder: Path = Path()  # the run's own: checkpoints, metrics, clips, scores
    workers: int = 1  # processes that prepare data
    progress: Progress = silent
