"""The whole configuration of a run, as frozen dataclasses.

`profiles.py` fills them in; `settings.override(config, "loss.lambda_hard=0.05")` changes a setting.
The comment at a setting is its help (`python -m sweeps.run settings`). Paths and numbers of workers
are not in here: they belong to a `Run`.

A new setting must not rename the cells that were there before it: declare it with `added(neutral)`.
One that cannot change any result is declared with `metadata={NO_EFFECT: True}` (see identity.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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

    # "tiny" (the weights in this package), a folder, a hub id (owner/name@commit) or peer:<name>
    pipeline: str = "tiny"
    frames: int = 81  # frames of a clip: a multiple of the VAE's temporal stride, plus one
    height: int = 480  # pixels
    width: int = 832  # pixels
    fps: int = 16  # frames per second of the clips and of the files that are judged (Wan's own)
    text_length: int = 512  # tokens of a prompt's embedding; shorter prompts are padded with zeros
    # Of forward passes; the trained weights themselves are fp32.
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    def with_half_the_frames(self) -> Model:
        """The same model for clips of half the frames; the first frame is counted apart."""
        return replace(self, frames=(self.frames - 1) // 2 + 1)

    @property
    def peer(self) -> str:
        """The name in `models.peers` of another model that is only judged; "": the one at hand."""
        kind, _, name = self.pipeline.partition(":")
        return name if kind == "peer" else ""


@dataclass(frozen=True, kw_only=True)
class Data:
    """The post-training clips."""

    # "world": the procedural physics world; "cache": clips that `direct.prepare curate` chose
    source: Literal["world", "cache"] = "cache"
    clips: int = 11_299  # training clips
    seed: int = 0  # of the procedural world
    content: str = ""  # hash of the curated clips; set by the program
    # Where a caption is longer than model.text_length, `curate` leaves out the clip, cuts the text
    # at a sentence, or stops. Results depend on it by data.content alone
    long_captions: Literal["drop", "truncate", "error"] = added("drop", **{NO_EFFECT: True})


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Eq. 6: flow matching, minus two contrasted negatives, plus the anchor."""

    lambda_rand: float = 0.005  # weight of the negative from another cluster (MaNS, Eq. 3)
    lambda_hard: float = 0.02  # weight of the negative with perturbed physics (MiNS, Eq. 4)
    lambda_anc: float = 0.2  # weight of the anchor to the frozen base model (Eq. 5)
    threshold: float = 50.0  # elements with a larger error are left out of a term; 1e30 keeps all
    # Of the negatives: drawn ("sampled", the paper), or replaced by its mean ("marginal")
    negative_noise: Literal["sampled", "marginal"] = "sampled"
    # Of a clip's kept hard negatives: one is drawn ("sampled", the paper), or the mean of their
    # latents is taken ("mean"), which gives the same expected gradient (docs/theory.md, 6)
    hard_negative: Literal["sampled", "mean"] = added("sampled")
    regenerate_noise: bool = False  # eps is drawn again inside the loss instead of being kept
    # The implementation of the loss; "auto" takes the fastest that runs on the device
    backend: Literal["auto", "cuda", "triton", "cpp", "eager"] = "auto"

    @property
    def gain(self) -> float:
        """s of docs/theory.md (T2): the gain at the optimum, for a clip that every term reaches."""
        weight = self.lambda_rand + self.lambda_hard
        return weight / (1 - weight + self.lambda_anc)


@dataclass(frozen=True, kw_only=True)
class Macro:
    """MaNS, Eq. 2-3: negatives from other semantic clusters."""

    # "partition": other clusters; "uniform": any other clip; "batch": another clip of the batch
    sampling: Literal["partition", "uniform", "batch"] = "partition"
    clusters: int = 32  # K of the k-means partition of the prompts
    restarts: int = 50  # of k-means; the best of them is taken
    exclude_same_law: bool = True  # a negative also differs in its physics law
    # Draws other negatives and changes nothing else: of trainings that must not differ (a control)
    seed: int = added(0)


@dataclass(frozen=True, kw_only=True)
class Micro:
    """MiNS, Eq. 4: hard negatives from physics-perturbed prompts."""

    candidates: int = 10  # perturbed prompts per clip
    min_cosine: float = 0.87  # of a perturbed prompt to the clip's own, in the text encoder's space
    keep: int = 3  # perturbed prompts kept per clip, the nearest first
    axes: tuple[str, ...] = AXES  # of physics that are perturbed
    content: str = ""  # hash of the curated clips' kept prompts; set by the program


@dataclass(frozen=True, kw_only=True)
class Train:
    """The optimizer, its schedule, and how its work is split."""

    # What training starts from: the base model, or an SFT run of half the steps (the paper's last
    # row); the anchor's reference is always the base
    init: Literal["base", "sft"] = "base"
    steps: int = 15_000  # optimizer steps; 0 is the base model itself, zero-shot
    batch: int = 8  # samples per step, over all ranks
    learning_rate: float = 1e-6  # of AdamW, constant (App. D)
    beta1: float = 0.9  # of AdamW
    beta2: float = 0.999  # of AdamW
    epsilon: float = 1e-10  # of AdamW
    weight_decay: float = 3e-2  # of AdamW
    clip: float = 1.0  # largest norm of the gradient
    prompt_dropout: float = 0.1  # share of samples whose prompt is dropped; these do not contrast
    shift: float = 5.0  # of the timestep grid towards noise (VideoX-Fun)
    checkpoint_every: int = field(default=500, metadata={NO_EFFECT: True})  # steps
    # The last step's checkpoint stays in the cache, so that a longer run resumes from it.
    keep_last: bool = added(True, **{NO_EFFECT: True})
    # The frozen base's velocities are computed once for all cells of a seed. "auto": for cells that
    # a sweep trains together; "on": also for a training alone, and kept until deleted
    reference_cache: Literal["auto", "on", "off"] = added("auto", **{NO_EFFECT: True})
    # "torch": AdamW in one process; on any number of ranks "deepspeed": ZeRO-2, or "fsdp": the
    # weights are cut over the ranks, too
    engine: Literal["torch", "deepspeed", "fsdp"] = "torch"
    # Ranks that compute one clip together, each a part of its tokens; needs train.engine=fsdp
    context_parallel: int = added(1)
    micro_batch: int = 0  # samples per forward pass of a rank; 0: its whole share of the batch
    gradient_checkpointing: bool = False  # recomputes activations in the backward pass
    compile: bool = False  # torch.compile of the transformer
    lora_rank: int = 0  # of an adapter that is trained instead; 0: all weights are trained
    lora_alpha: int = 32  # the adapter is scaled by alpha / rank
    # Which of a pipeline's two experts is trained, at the noise levels that it is used at (Wan 2.2
    # A14B); "only": the pipeline has one transformer
    expert: Literal["only", "high_noise", "low_noise"] = added("only")
    # Where the metrics also go while it trains: a tracker, whose library must be installed
    report_to: Literal["none", "tensorboard", "wandb", "trackio"] = added(
        "none", **{NO_EFFECT: True}
    )
    # Steps between clips of the first two evaluation prompts, in the run's folder; 0: none
    sample_every: int = added(0, **{NO_EFFECT: True})


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Euler sampling with classifier-free guidance. Sources of the defaults: docs/scale.md."""

    steps: int = 50  # Euler steps (App. D)
    guidance: float = 5.0  # classifier-free guidance (App. D); 1 is none
    # Of the low-noise one of two experts, where `guidance` is above 1; 0: the same for both
    guidance_low: float = added(0.0)
    # Of the noise levels towards noise (3: Wan's own at 480p); 0: as the pipeline's own scheduler
    # has it for clips of this size
    shift: float = 3.0
    negative_prompt: str = ""  # of guidance; WanPipeline's default, since the paper names none
    # How the negative prompt's velocity is taken off: as it is, or at CFG-Zero*'s optimal scale
    guidance_rule: Literal["cfg", "cfg_zero"] = added("cfg")
    # s: before guidance, the prompted velocity v becomes v + s (v + x_ref), what contrast trains
    # (docs/theory.md); -lambda is Delta-FM's correction
    gain: float = added(0.0)
    # x_ref: the mean training clip, the mean clip outside the prompt's own cluster, the mean of the
    # prompt's own hard negatives (`micro`, `hard_sample`, `render`), or zero
    gain_about: Literal["pool", "clusters", "negatives", "zero"] = added("pool")

    @property
    def about_negatives(self) -> bool:
        """Whether clips are sampled with a gain about their prompt's own hard negatives."""
        return self.gain != 0 and self.gain_about == "negatives"

    @property
    def passes(self) -> int:
        """Forward passes of the transformer per clip: guidance takes two a step."""
        return self.steps * (2 if self.guidance > 1 else 1)


@dataclass(frozen=True, kw_only=True)
class Render:
    """Cheaper ways to render hard negatives, beside fewer hard_sample.steps; all off by default."""

    # "euler", or "unipc", the few-step solver that Wan's released pipeline has
    solver: Literal["euler", "unipc"] = added("euler")
    # A step whose first block changed by less than this share since the last computed step takes
    # over what the other blocks added then (diffusers' FirstBlockCache); 0: every step is computed
    cache: float = added(0.0)
    # "half": of half the frames, stretched in time to the clip's own number of latents
    frames: Literal["all", "half"] = added("all")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Which prompts are generated, and who judges the clips."""

    judge: Literal["world", "videophy", "worldmodelbench"] = "videophy"  # whose scores are taken
    prompts: int = 344  # clips that are generated and judged
    # "validation" prompts are for choices, "evaluation" prompts for tables alone
    split: Literal["validation", "evaluation"] = "evaluation"
    # What clips are generated from; they are judged by the short captions
    captions: Literal["short", "upsampled"] = "short"
    # A file of prompts in place of the benchmark's: .txt, a line each; or .csv or .jsonl, `caption`
    prompts_file: str = added("", **{NO_EFFECT: True})
    content: str = ""  # hash of the prompts' file and the up-sampled captions; set by the program


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a cell yields: scores of the clips it generates, or measurements of its training."""

    # "alignment": cosines of gradients (Table S6); "cost": seconds and memory of a step (Table S4);
    # "gain": what the training learnt of the gain that theory predicts (docs/theory.md)
    kind: Literal["scores", "alignment", "cost", "gain"] = "scores"
    steps: int = 1000  # of "alignment": training steps whose gradients are compared (App. H)
    iterations: int = 60  # of "cost": timed iterations of each method


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """What files of the user's own add, filled in by `direct.plugins`; empty without such files.

    Their settings are changed by their own names, as my_term.weight=0.1.
    """

    # The file or entry point of each, as my_term=/home/me/terms.py
    where: tuple[str, ...] = field(default=(), metadata={NO_EFFECT: True})
    content: tuple[str, ...] = ()  # their fingerprints, as "term my_term=0123456789ab"
    settings: tuple[str, ...] = ()  # as my_term.weight=0.1


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run."""

    profile: str
    # Of every draw in training (data order, timesteps, noise, negatives), and of the initial noise
    # of the clips that are judged; every variant shares them
    seed: int = 0
    threads: int = 1  # per worker; they are part of the result, since sums depend on them
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    loss: Loss = field(default_factory=Loss)
    macro: Macro = field(default_factory=Macro)
    micro: Micro = field(default_factory=Micro)
    train: Train = field(default_factory=Train)
    sample: Sampling = field(default_factory=Sampling)
    hard_sample: Sampling = field(default_factory=Sampling)  # how hard negatives are rendered
    render: Render = field(default_factory=Render, metadata={NEUTRAL: Render()})  # and how cheaply
    evaluate: Evaluate = field(default_factory=Evaluate)
    measure: Measure = field(default_factory=Measure)
    plugins: Plugins = field(default_factory=Plugins, metadata={NEUTRAL: Plugins()})


@dataclass(frozen=True)
class Run:
    """A configuration, and the place and the means to run it. Only `config` can change a result."""

    config: Config
    cache: Path  # what runs share: embeddings, latents, partitions, hard negatives
    folder: Path = Path()  # the run's own: checkpoints, metrics, clips, scores
    workers: int = 1  # processes that prepare data
    progress: Progress = silent
