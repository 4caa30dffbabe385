"""Judging a cell's clips: decode, score each against its own record, keep one line per prompt."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from .. import generate, models
from ..config import Config
from ..data import source
from ..data.encode import Progress
from ..files import canonical_json, checksum_path, load_arrays, set_aside, write_text


def judge(
    config: Config, *, cache: Path, run: Path, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Scores the run's samples: records {"prompt", "caption", "scores"}, as in `run/records.jsonl`.

    A finished file is read; damaged records or samples are named, set aside and made anew.
    """
    path = Path(run) / "records.jsonl"
    records = read_records(path)
    if records is not None:
        return records
    torch.set_num_threads(config.threads)
    items, score = source.evaluation(config), source.judge(config)
    samples = load_arrays(generate.generate(config, cache=cache, run=run, progress=progress))
    assert samples is not None  # just made or found whole
    pipeline = models.load_pipeline(
        config.model.pipeline, config.model.revision, without=("transformer", "text_encoder")
    )
    records = []
    for chosen, valid in models.batches(len(items), models.VIDEO_BATCH):
        videos = models.decode_latents(pipeline, samples["latents"][torch.from_numpy(chosen)])
        for i, video in zip(chosen[:valid], videos, strict=False):
            scores = {name: float(value) for name, value in score(video, items[i].record).items()}
            records.append({"prompt": items[i].id, "caption": items[i].prompt, "scores": scores})
        if progress:
            progress("judge", len(records), len(items))
    text = "".join(canonical_json(record) + "\n" for record in records)
    write_text(path, text)
    write_text(checksum_path(path), hashlib.sha256(text.encode()).hexdigest() + "\n")
    return records


def read_records(path: Path) -> list[dict[str, Any]] | None:
    """The lines of a records file whose checksum is right; `None` where there is no such file."""
    if not path.exists() or not checksum_path(path).exists():
        return None  # killed between the two writes: made anew
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != checksum_path(path).read_text().strip():
        set_aside(path)
        return None
    return [json.loads(line) for line in data.decode().splitlines()]
