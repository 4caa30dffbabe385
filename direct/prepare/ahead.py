"""What `shared.build` will have to make, counted before it begins: for the time that is left."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from ..config import Run
from ..data import source
from ..data.sample import Sample
from . import encode, render, shared
from .store import Store


def ahead(runs: Sequence[Run]) -> dict[str, int]:
    """How many items the cache lacks, by the stages that `build` reports.

    Hard negatives are an estimate where their prompts are not perturbed yet: as if each clip kept
    as many of them as it may.
    """
    count = _Count()
    for run in runs:
        if shared.is_prepared(run.config):
            count.texts(run, shared.judged_texts(run.config))
            if shared.is_trained(run.config):
                count.trained(run)
    return {stage: len(found) for stage, found in count.lacking.items() if found}


class _Count:
    """By stage, the stores or files that lack something, and what."""

    def __init__(self) -> None:
        stages = ("text", "latents", "perturb", "render")
        self.lacking: dict[str, set[tuple[Path, str]]] = {stage: set() for stage in stages}
        self.stand_ins: dict[Path, list[list[str]]] = {}  # for prompts that are not perturbed yet
        self.key = cache(encode.text_key)  # runs share most prompts

    def texts(self, run: Run, prompts: Iterable[str]) -> None:
        self._add("text", encode.text_store(run), map(self.key, prompts))

    def trained(self, run: Run) -> None:
        """What training needs besides, and a gain."""
        samples, hard = source.training(run), []
        self.texts(run, ["", *(item.prompt for item in samples)])
        self._add("latents", encode.latent_store(run), map(encode.clip_key, samples))
        if run.config.loss.lambda_hard:
            curated = run.config.data.source == "cache"
            known = curated or shared.perturbed_file(run, samples).exists()
            make = shared.kept_texts if known else self._stand_ins
            hard = shared.drawn_prompts(run.config, make(run, samples))
        if run.config.sample.about_negatives:
            judged = source.evaluation(run.config)
            if shared.perturbed_file(run, judged).exists():
                hard += itertools.chain(*shared.evaluation_negatives(run).values())
            else:
                hard += itertools.chain(*self._stand_ins(run, judged))
        if self._add("render", render.hard_store(run), map(self.key, hard)):
            self.texts(run, [*hard, run.config.hard_sample.negative_prompt])

    def _stand_ins(self, run: Run, samples: Sequence[Sample]) -> list[list[str]]:
        """For each sample, as many as it may keep of the perturbed prompts that are not made."""
        file = shared.perturbed_file(run, samples)
        if file not in self.stand_ins:
            found = zip(samples, shared.candidates(run.config, samples), strict=True)
            names = [[f"{item.id}: {prompt}" for _, prompt in own] for item, own in found]
            self.lacking["perturb"].update((file, name) for own in names for name in own)
            self.stand_ins[file] = [own[: run.config.micro.keep] for own in names]
        return self.stand_ins[file]

    def _add(self, stage: str, store: Store, keys: Iterable[str]) -> bool:
        """Whether the store lacks any of the keys."""
        missing = store.missing(keys)
        self.lacking[stage].update((store.folder, key) for key in missing)
        return bool(missing)
