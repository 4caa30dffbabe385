"""Everything that cells share, computed once and cached by content: embeddings, clip latents, the
partition of MaNS, the perturbed prompts of MiNS and their rendered latents.

Each maker looks for what is missing, makes it in shards and writes each shard whole, so a kill
loses at most the shards in progress, and a longer run adds to what a shorter one left.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import noise, plugins
from ..common.errors import UserError
from ..common.files import cached_json, digest
from ..config import Config, Run
from ..data import curated, source
from ..data.sample import Sample
from ..identity import stored
from ..models.pipeline import text_identity
from ..negatives import macro, micro
from ..plugins import carried
from ..plugins.guard import guarded
from . import encode, render
from .encode import Indices, Lookup, clip_latents, pool_once, pooled, texts

Draw = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Shared:
    """What training reads. Tensors are looked up by sample index or prompt when they are needed."""

    samples: list[Sample]
    latents: Callable[[Indices], Tensor]  # sample indices -> x [B, C, T, H, W]
    text: Lookup  # prompts -> embeddings [B, L, D], zero-padded
    pools: macro.Exclusion | None  # of Eq. 2, where macro.sampling is "partition"
    hard_prompts: list[list[str]]  # kept perturbed prompts of each sample; empty lists without MiNS
    hard: Lookup  # perturbed prompts -> x_hard [B, C, T, H, W]
    draw: Draw | None = None  # samples [B], u [B] -> negatives [B], where a plug-in samples them


def build(runs: Sequence[Run]) -> None:
    """Makes in the cache what training and generating will read and is not there yet.

    Hard negatives of all runs are rendered at once: worker processes start one time, and have
    nothing to wait for between one seed and the next.
    """
    runs = [run for run in runs if is_prepared(run.config)]
    for run in runs:
        texts(run, judged_texts(run.config))
    trained = [run for run in runs if is_trained(run.config)]
    drawn: dict[Path, tuple[Run, set[str]]] = {}
    for run in trained:
        torch.set_num_threads(run.config.threads)  # sums depend on it
        samples = source.training(run)
        clip_latents(run, samples)  # a clip that cannot be read ends it before hours of rendering
        prompts = drawn_prompts(run.config, kept_texts(run, samples))
        if run.config.sample.about_negatives:
            prompts += itertools.chain(*evaluation_negatives(run).values())
        drawn.setdefault(render.hard_store(run).folder, (run, set()))[1].update(prompts)
    for run, found in drawn.values():
        render.hard_negatives(run, sorted(found))
    for run in trained:
        open_shared(run)


def is_prepared(config: Config) -> bool:
    """Not where stand-ins of its own are read, or another model that encodes its prompts itself."""
    return config.measure.kind != "cost" and not config.model.peer


def judged_texts(config: Config) -> list[str]:
    """What the clips that are judged are generated from."""
    if config.measure.kind != "scores":
        return []
    return [*source.evaluation_texts(config), config.sample.negative_prompt]


def is_trained(config: Config) -> bool:
    """Whether training clips are needed: a gain is about their mean."""
    return bool(config.train.steps or config.sample.gain)


def open_shared(run: Run) -> Shared:
    """Makes what is missing, and opens what training reads."""
    config = run.config
    torch.set_num_threads(config.threads)
    samples = source.training(run)
    latents = clip_latents(run, samples)
    text = texts(run, ["", *(item.prompt for item in samples)], samples)
    pools = None
    if config.loss.lambda_rand and config.macro.sampling == "partition":
        labels = np.array(partition(run, samples)["labels"])
        pools = macro.exclusion(labels, laws(config, samples))
    kept = kept_texts(run, samples)
    hard = render.hard_negatives(run, drawn_prompts(config, kept))
    encode.release()  # what made it is not needed to train
    render.release()
    return Shared(samples, latents, text, pools, kept, hard, _plugged(run, samples))


def laws(config: Config, samples: Sequence[Sample]) -> np.ndarray | None:
    """What a negative must differ in besides its cluster; None for nothing, or without laws."""
    found = np.array([item.law for item in samples])
    return found if config.macro.exclude_same_law and found.astype(bool).any() else None


def _plugged(run: Run, samples: Sequence[Sample]) -> Draw | None:
    """How a plug-in draws negatives, where macro.sampling names one."""
    found = carried.active(plugins.need(run.config), "sampler")
    if not (run.config.loss.lambda_rand and found):
        return None
    (entry, settings), size = found[0], len(samples)
    z = pooled(run, [item.prompt for item in samples])
    labels = np.array(partition(run, samples)["labels"])
    made = entry.function(z, labels, np.array([item.law for item in samples]), **settings)
    own: Draw = guarded(f"the draw of the sampler {entry.name}", made)

    def draw(chosen: np.ndarray, u: np.ndarray) -> np.ndarray:
        negatives = np.asarray(own(chosen, u))
        drew = f"{negatives.dtype} {list(negatives.shape)}"
        whole = negatives.dtype.kind in "iu" and negatives.shape == chosen.shape
        if whole:
            drew = f"{negatives.min()} .. {negatives.max()}"
        if not whole or negatives.min() < 0 or negatives.max() >= size:
            raise UserError(
                f"macro.sampling={entry.name} drew {drew}; its draw must return whole numbers "
                f"{list(chosen.shape)} in 0 .. {size - 1}"
            )
        return negatives

    return draw


def steps(config: Config) -> range:
    """The optimizer steps of this cell; where it starts from an SFT cell, the first half is its."""
    if config.measure.kind == "alignment":
        return range(config.measure.steps)
    total = config.train.steps
    return range(total // 2 if config.train.init == "sft" else 0, total)


def partition(run: Run, samples: Sequence[Sample]) -> dict[str, Any]:
    """k-means labels of the prompts, their inertia and the share of draws that Eq. 2 changes."""
    prompts, settings = [item.prompt for item in samples], run.config.macro
    folder = text_identity(run.config)
    own = encode.made_by(run.config, "direct.negatives.macro")
    name = digest([folder, prompts, settings.clusters, settings.restarts, *own])

    def make() -> dict[str, Any]:
        run.progress("partition", 0, 1)
        z = pooled(run, prompts)
        labels, inertia = macro.partition(z, settings.clusters, settings.restarts)
        changed = macro.exclusion(labels).excluded_share
        run.progress("partition", 1, 1)
        return {"labels": labels.tolist(), "inertia": inertia, "sum_p_squared": changed}

    return cached_json(run.cache / "partition" / f"{name}.json", make)


def kept_prompts(run: Run, samples: Sequence[Sample]) -> list[list[dict[str, Any]]]:
    """The perturbed prompts of each sample that hard negatives are rendered from."""
    if run.config.data.source == "cache":  # perturbed by a language model, beforehand
        return curated.kept(run, samples)
    kept: list[list[dict[str, Any]]] = perturbations(run, samples)["kept"]
    return kept


def evaluation_negatives(run: Run) -> dict[str, list[str]]:
    """Of each prompt that is judged, its kept perturbed prompts, made as those of training are.

    Raises `UserError` where a prompt has none: a gain about them would be about nothing.
    """
    samples = source.evaluation(run.config)
    found: dict[str, list[str]] = {item.prompt: [] for item in samples}
    for item, entries in zip(samples, perturbations(run, samples)["kept"], strict=True):
        found[item.prompt] += [entry["prompt"] for entry in entries]
    lacking = [prompt for prompt, kept in found.items() if not kept]
    if lacking:
        raise UserError(
            f"sample.gain_about=negatives: {len(lacking)} of {len(found)} prompts that are judged "
            f"have no perturbed prompt, as {lacking[0][:60]!r}; lower micro.min_cosine="
            f"{run.config.micro.min_cosine}, or use pool, clusters or zero"
        )
    return found


def kept_texts(run: Run, samples: Sequence[Sample]) -> list[list[str]]:
    """`kept_prompts` without their axes; empty lists where no hard negative is drawn."""
    if not run.config.loss.lambda_hard:
        return [[] for _ in samples]
    return [[entry["prompt"] for entry in entries] for entries in kept_prompts(run, samples)]


def perturbations(run: Run, samples: Sequence[Sample]) -> dict[str, Any]:
    """Kept perturbed prompts per sample (`kept`), how many each stage left (`retention`)."""
    config, settings = run.config, run.config.micro

    def make() -> dict[str, Any]:
        found = candidates(config, samples)
        anchors = pooled(run, [item.prompt for item in samples])
        flat = [prompt for own in found for _, prompt in own]
        z = pool_once(config, flat, run.progress)
        ends = np.cumsum([len(own) for own in found])
        cosines = [
            micro.cosine(anchor, near)
            for anchor, near in zip(anchors, np.split(z, ends[:-1]), strict=True)
        ]
        kept = [
            micro.select(own, near, settings.min_cosine, settings.keep)
            for own, near in zip(found, cosines, strict=True)
        ]
        report = micro.retention(found, cosines, kept, settings.min_cosine)
        return {"retention": report, "kept": kept}

    return cached_json(perturbed_file(run, samples), make)


def perturbed_file(run: Run, samples: Sequence[Sample]) -> Path:
    """Where `perturbations` keeps what it found."""
    config = run.config
    corpus = [source.identity(config), [[item.id, item.prompt] for item in samples]]
    own = encode.made_by(config, "direct.negatives.micro")
    name = digest([text_identity(config), corpus, stored(config.micro), *own])
    return run.cache / "micro" / f"{name}.json"


def candidates(config: Config, samples: Sequence[Sample]) -> list[list[micro.Candidate]]:
    """Of each sample, its axes and perturbed prompts before any is dropped."""
    axes, most = config.micro.axes, config.micro.candidates
    return [micro.candidates(x.id, x.prompt, x.perturb, axes, most) for x in samples]


def drawn_prompts(config: Config, kept: Sequence[Sequence[str]]) -> list[str]:
    """The perturbed prompts that the run will draw as hard negatives, each once, sorted."""
    counts = np.array([len(prompts) for prompts in kept])
    drawn = set()
    if counts.any():
        for step in steps(config):
            chosen, _, slot = negatives_of(config, step, counts)
            pairs = zip(chosen, slot, strict=True)
            drawn |= {prompt for i, j in pairs for prompt in contrasted(config, kept[i], j)}
    return sorted(drawn)


def contrasted(config: Config, kept: Sequence[str], slot: int) -> Sequence[str]:
    """The perturbed prompts whose mean latent is a sample's hard negative: one, all, or none."""
    if slot < 0:
        return ()
    return kept if config.loss.hard_negative == "mean" else (kept[slot],)


def negatives_of(
    config: Config, step: int, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples [B], whether each keeps its prompt [B], and its hard negative's slot or -1 [B]."""
    seed, batch = config.seed, config.train.batch
    chosen = noise.indices(seed, step, batch, len(counts))
    prompted = noise.uniform(seed, step, "dropout", batch) >= config.train.prompt_dropout
    slot = micro.draw(seed, step, np.where(prompted, counts[chosen], 0))
    return chosen, prompted, slot
