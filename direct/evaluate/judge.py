"""Judging a cell's clips: decode, score each against its own record, keep one line per prompt.

The world's judge runs here; VideoPhy and WorldModelBench run outside (`rater.py` has the contract).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import ChainMap
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import plugins
from ..common import ranks
from ..common.errors import UserError
from ..common.files import canonical_json, checksum_path, load_arrays, read_checked, write_text
from ..config import Config, Run
from ..data import source
from ..data.benchmarks import Prompt
from ..data.sample import Sample
from ..data.video import write_video
from ..identity import identity as name_of
from ..identity import stored
from ..models import codec
from ..models.pipeline import identity, load_pipeline
from ..plugins import carried
from ..plugins.guard import guarded
from ..plugins.registry import Entry
from . import made, videophy, worldmodelbench
from .clips import generate
from .rater import rate, video_path

RATERS = {"videophy": videophy, "worldmodelbench": worldmodelbench}


def judge(run: Run) -> list[dict[str, Any]]:
    """Scores the run's samples: records {"prompt", "caption", "scores"}, as in `run/records.jsonl`.

    A finished file is read; damaged records or samples are named, set aside and computed again.
    Every rank calls it, and decodes and scores its share of the clips; rank 0 has the records, and
    asks a judge that runs outside alone.
    """
    config, path = run.config, run.folder / "records.jsonl"
    records = ranks.on_first(lambda: read_records(path))
    if records is not None:
        return records
    torch.set_num_threads(config.threads)
    inside = config.evaluate.judge not in RATERS
    records = _judged_here(run) if inside else _judged_outside(run)
    if ranks.rank():
        return []
    text = "".join(canonical_json(record) + "\n" for record in records)
    write_text(path, text)
    write_text(checksum_path(path), hashlib.sha256(text.encode()).hexdigest() + "\n")
    return records


def _clips(run: Run, path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """This rank's share of the samples in `path`: (place, clip uint8 [T, H, W, 3])."""
    samples = load_arrays(path)
    assert samples is not None  # just made or found whole
    latents = samples["latents"]
    pipeline = load_pipeline(run.config.model.pipeline, without=("transformer", "text_encoder"))
    every = codec.batches(len(latents), codec.VIDEO_BATCH)
    for chosen, valid in itertools.islice(every, ranks.rank(), None, ranks.size()):
        clips = codec.decode_latents(pipeline, latents[torch.from_numpy(chosen)])[:valid]
        yield from zip(chosen.tolist(), clips, strict=False)  # beyond them it is filled up


def _judged_here(run: Run) -> list[dict[str, Any]]:
    path, mine = generate(run), {}
    with ranks.together():
        items, score = source.evaluation(run.config), _scorer(run.config)
        for place, video in _clips(run, path):
            item = items[place]
            scores = {name: float(value) for name, value in score(video, item).items()}
            mine[place] = {"prompt": item.id, "caption": item.prompt, "scores": scores}
            run.progress("judge", min(len(mine) * ranks.size(), len(items)), len(items))
    found = dict(ChainMap(*ranks.collected(mine)))
    return [found[place] for place in range(len(items))]


def _judged_outside(run: Run) -> list[dict[str, Any]]:
    """Writes the clips where a rater finds them, and has or reads its answers (`rater.rate`)."""
    config, name = run.config, run.config.evaluate.judge
    prompts, folder = prompts_of(config), run.folder / name
    if not config.model.peer:  # its own pipeline has written them (`peers.videos`)
        _write_clips(run, prompts, folder)
    return [] if ranks.rank() else rate(RATERS[name], prompts, folder)


def _write_clips(run: Run, prompts: list[Prompt], folder: Path) -> None:
    paths = [video_path(folder, prompt) for prompt in prompts]
    texts = source.evaluation_texts(run.config)
    if ranks.on_first(lambda: made.claimed(folder, _maker(run.config), paths, texts)):
        return
    samples = generate(run)
    with ranks.together():
        for done, (place, video) in enumerate(_clips(run, samples), 1):
            write_video(paths[place], video, run.config.model.fps)
            made.note(paths[place], texts[place])
            run.progress("videos", min(done * ranks.size(), len(paths)), len(paths))


def _maker(config: Config) -> dict[str, Any]:
    return {
        "pipeline": config.model.pipeline,
        "weights": identity(config.model),
        "cell": name_of(config),
        "seed": config.seed,
        "settings": stored(config.sample),
    }


def prompts_of(config: Config) -> list[Prompt]:
    """The evaluation prompts as a rater is given them, in their fixed order."""
    return [Prompt(item.id, item.prompt, item.record) for item in source.evaluation(config)]


def read_records(path: Path) -> list[dict[str, Any]] | None:
    """The lines of a records file whose checksum is right; `None` where there is no such file."""
    data = read_checked(path)
    if data is None:
        return None
    return [json.loads(line) for line in data.decode().splitlines()]


def _scorer(config: Config) -> Callable[[np.ndarray, Sample], dict[str, float]]:
    """judge(video uint8 [T, H, W, 3], sample) -> scores by column: a plug-in's, or the world's."""
    for entry, settings in carried.active(plugins.need(config), "judge"):
        score = guarded(f"the function of the judge {entry.name}", entry.function(**settings))
        return partial(_own_scores, entry, score)
    of_record = scorer(config)
    return lambda video, sample: of_record(video, sample.record)


def _own_scores(entry: Entry, score: Callable[..., Any], video: np.ndarray, sample: Sample) -> Any:
    """What a plug-in's judge says, with the metrics that it declared."""
    found, declared = score(video, sample), entry.options["scores"]
    with suppress(TypeError, ValueError):
        if isinstance(found, dict) and found.keys() == declared.keys():
            numbers = {name: float(value) for name, value in found.items()}
            if all(map(math.isfinite, numbers.values())):
                return numbers
    raise UserError(
        f"the judge {entry.name} gave {found} for {sample.id}; return a finite number for each of "
        f"{', '.join(declared)}, as {{{next(iter(declared))!r}: 0.5}}"
    )


def scorer(config: Config) -> Callable[[np.ndarray, Any], dict[str, float]]:
    """judge(video uint8 [T, H, W, 3], record) -> scores by column."""
    if config.evaluate.judge != "world":
        raise UserError(
            f"evaluate.judge={config.evaluate.judge} does not run in this process; "
            "only the world's judge does (direct/evaluate/rater.py)"
        )
    from ..world.judge import judge as world_judge

    return world_judge
