"""Curated clips as training reads them: `curate`'s manifest, joined with `perturb`'s kept prompts.

cache/wisa/manifest.jsonl            written by `python -m direct.prepare curate`
cache/wisa/perturbed/<name>/         by `perturb`; named by what the cosine filter depends on
cache/<profile>/                     latents, embeddings, hard negatives: made from these
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import UserError
from ..common.files import digest, file_digest, parse_json, read_bounded
from ..config import Config, Run
from ..identity import stored
from . import wisa
from .child import Child
from .decode import Unreadable
from .sample import Sample
from .video import read_frames

PIXELS = 1  # raise it when `read_clip` gives other pixels: latents cached from them are named by it

CLIP = {"id": str, "sha256": str, "law": str, "caption": str, "video": str, "frames": int}
KEPT = {"id": str, "prompt": str, "kept": list}  # what is read of a line

_child = Child()  # decodes for this process


def home(cache: Path) -> Path:
    """Where curated clips and perturbed prompts are, beside the caches of all profiles."""
    return Path(cache).parent / "wisa"


def perturbed(run: Run) -> Path:
    """The folder of the prompts perturbed for these settings and this text encoder."""

    from ..models.pipeline import text_identity  # torch comes with it

    settings = stored(replace(run.config.micro, content=""))
    return home(run.cache) / "perturbed" / digest([text_identity(run.config), settings])


def pinned(run: Run) -> Config:
    """The configuration, with data.content and micro.content naming what the cache holds now."""
    config = run.config
    if not (home(run.cache) / "manifest.jsonl").exists():
        return config
    chosen = _chosen(run)
    config = replace(config, data=replace(config.data, content=_content(chosen)))
    if not (perturbed(run) / "kept.jsonl").exists():
        return config
    prompts = _kept(run, [(line["id"], line["caption"]) for line in chosen])
    return replace(config, micro=replace(config.micro, content=digest(prompts)))


def clips(run: Run) -> list[Sample]:
    """The first data.clips of the manifest's clips in the order of their ids' hashes.

    So a subset is a fair one, and a part of each larger one.
    """
    config = run.config
    if not (home(run.cache) / "manifest.jsonl").exists():
        _most(config, wisa.FRAMES)
    chosen = _chosen(run)
    _most(config, min(line.get("curated_to", wisa.FRAMES) for line in chosen))
    _check("data", config.data.content, _content(chosen), home(run.cache))
    report = _read(home(run.cache) / "report.json")
    root, seconds = Path(report["folder"]), report.get("seconds", wisa.SECONDS)
    return [_sample(line, root, config, seconds) for line in chosen]


def _most(config: Config, frames: int) -> None:
    if config.model.frames > frames:
        raise UserError(
            f"model.frames={config.model.frames} is above the {frames} frames that a clip is "
            f"curated to; use {frames} or fewer"
        )


def read_clip(
    path: Path,
    sha256: str,
    length: int,
    frames: int,
    height: int,
    width: int,
    count: int = wisa.FRAMES,
    step: float = 0.0,
    turned: str = "",
    seconds: float = wisa.SECONDS,
) -> np.ndarray:
    """uint8 [frames, height, width, 3]: the start of the uniform `count` frames of a clip of
    `length`; where `step` is given, every step-th frame (nearest), from its start.

    Fewer frames are a shorter clip of the same speed. turned: as `video.read_frames` has it.
    Decoded in a child process, under its limits and in `seconds` at most; a file that is not the
    curated one, or cannot be read, is `Unreadable`.
    """
    try:
        if file_digest(path) != sha256:
            raise Unreadable(f"{path} is not the file that was curated; curate again")
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}; restore it, or curate again") from None
    if step:
        indices = (np.arange(frames) * step).round().astype(np.int64)
    else:
        indices = wisa.subsample(length, count)[:frames]
    wanted = (path, indices, height, width, turned)
    clip: np.ndarray = _child.call(read_frames, *wanted, seconds=seconds)
    return clip


def kept(run: Run, samples: Sequence[Sample]) -> list[list[dict[str, Any]]]:
    """The perturbed prompts of each sample, nearest first."""
    prompts = _kept(run, [(sample.id, sample.prompt) for sample in samples])
    _check("micro", run.config.micro.content, digest(prompts), perturbed(run))
    return prompts


def _kept(run: Run, wanted: Sequence[tuple[str, str]]) -> list[list[dict[str, Any]]]:
    path = perturbed(run) / "kept.jsonl"
    if not path.exists():
        raise UserError(
            f"{path} is missing: the clips' prompts were not perturbed for this profile's text "
            "encoder and micro settings; run: python -m direct.prepare perturb"
        )
    found = {line["id"]: line for line in _lines(path)}
    for name, prompt in wanted:
        if found.get(name, {}).get("prompt") != prompt:
            raise UserError(
                f"{path} does not hold clip {name} with its present caption; run: python -m "
                "direct.prepare perturb"
            )
    return [found[name]["kept"] for name, _ in wanted]


def _check(section: str, pinned: str, found: str, place: Path) -> None:
    """A cell whose data has changed since it was planned is another cell."""
    if pinned not in ("", found):
        raise UserError(
            f"{section}.content={pinned} is not what {place} holds now, which is {found}; "
            "plan the run again, or restore the folder"
        )


def _sample(line: dict[str, Any], root: Path, config: Config, seconds: float) -> Sample:
    size = (config.model.frames, config.model.height, config.model.width)
    own = {"count": line.get("curated_to", wisa.FRAMES), "step": line.get("step", 0.0)}
    own |= {"turned": line.get("turned", ""), "seconds": seconds}
    place, sha256 = root / line["video"], line["sha256"]
    video = partial(read_clip, place, sha256, line["frames"], *size, **own)
    pixels = " ".join([sha256, *_taken(line)])
    return Sample(line["id"], line["caption"], line["law"], video, _none, line, pixels)


def _taken(line: dict[str, Any]) -> list[str]:
    """Which frames are taken and how they are turned, where that is not the paper's rule."""
    return [f"{name}={line[name]}" for name in ("curated_to", "step", "turned") if name in line]


def _none(*arguments: Any) -> None:
    """Curated prompts are perturbed beforehand, by `prepare perturb`."""


def _content(chosen: list[dict[str, Any]]) -> str:
    fields = ("id", "sha256", "law", "caption")
    return digest([[*(line[name] for name in fields), *_taken(line)] for line in chosen])


def _chosen(run: Run) -> list[dict[str, Any]]:
    path, count = home(run.cache) / "manifest.jsonl", run.config.data.clips
    if not path.exists():
        raise UserError(f"{path} is missing; run: python -m direct.prepare curate --help")
    lines = sorted(_lines(path), key=lambda line: digest(line["id"]))
    if len(lines) < count:
        raise UserError(
            f"data.clips={count}, but {path} has {len(lines)} clips; "
            f"set data.clips={len(lines)} or curate more"
        )
    return lines[:count]


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        lines = [dict(parse_json(line)) for line in read_bounded(path).decode().splitlines()]
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it and create it again") from None
    fields = KEPT if path.name == "kept.jsonl" else CLIP
    for number, line in enumerate(lines, 1):
        if absent := [x for x, kind in fields.items() if type(line.get(x)) is not kind]:
            raise UserError(
                f"{path}, line {number}: no {absent[0]}; remove the file and create it again"
            )
    return lines


def _read(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = parse_json(read_bounded(path))
        if isinstance(value["folder"], str):
            return value
    except (OSError, TypeError, KeyError, ValueError):
        pass
    raise UserError(f"{path} is missing or damaged; run the step curate again")
