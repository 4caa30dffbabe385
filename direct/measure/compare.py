"""Measured against planned: what stages took so far, from the records that they leave.

encode, perturb and render leave `spent.jsonl` beside what they make, training `timing.jsonl`, a
sweep's cells `spent.jsonl` (`common.spent`). Seconds are those of a GPU's process: of two that work
side by side, both count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..common import spent
from ..common.errors import UserError
from ..common.files import parse_json, read_bounded
from ..config import Config, Run
from ..data import curated
from . import plan
from .plan import GB

Lines = Sequence[dict[str, Any]]  # of `spent`
TOGETHER = ("perturb", "train")  # stages whose planned main memory is not a multiple of the GPUs'
HEADS = ("stage", "done", "seconds an item", "GB of a GPU", "host GB", "disk GB")
A_CELL = ("train", "evaluate")  # stages that are planned for one cell
ON_GPU = ("encode", "render", "train", "evaluate")  # whose duration is planned by `share`


@dataclass(frozen=True)
class Measured:
    """What one stage took so far."""

    items: int
    seconds: float  # of processes
    gpu: int  # bytes of one process, the most
    host: int
    disk: int  # bytes that lie there now
    device: str

    @property
    def each(self) -> float:
        return self.seconds / self.items


def report(config: Config, name: str, gpus: int | None, share: float, out: Path) -> str:
    """The table, and what it says about the plan; a `UserError` where nothing was measured yet.

    gpus: that training is planned for; None: as many as it ran on.
    """
    run = Run(config, out / "cache" / config.profile, out / "runs" / config.profile)
    places = run.cache, run.folder, curated.home(run.cache)
    found = measured(run) if any(place.exists() for place in places) else {}
    if not found:
        raise UserError(
            f"--compare: nothing is measured yet in {run.cache} and {run.folder}; run a stage "
            "first, as python -m direct.prepare encode, or give its --out"
        )
    ranks = gpus or _ranks(run)
    steps = list(plan.steps(config, plan.GPUS[name], ranks, share))
    rows = [(step, found[step.name]) for step in steps if step.name in found]
    head = (
        f"measured / planned, {config.profile}; planned: {name} at {100 * share:.0f} % of its "
        f"peak, training on {ranks}"
    )
    table = _aligned([HEADS, *(_row(step, own, ranks) for step, own in rows)])
    return "\n".join([head, *table, *_says(rows, name, share)])


def measured(run: Run) -> dict[str, Measured]:
    """By the plan's names, the stages that have left records."""
    found = {"encode": _encode(run), "perturb": _perturb(run), "render": _render(run)}
    found |= {"train": _train(run), "evaluate": _evaluate(run)}
    return {name: own for name, own in found.items() if own}


def _encode(run: Run) -> Measured | None:
    """Of a clip: its latents, and one prompt's embedding."""
    from ..prepare import encode

    text, clips = (store(run).folder for store in (encode.text_store, encode.latent_store))
    prompts, latents = (_sum(spent.read(x / spent.FILE), [x]) for x in (text, clips))
    if not latents:
        return None
    each = latents.each + (prompts.each if prompts else 0.0)
    both = [x for x in (prompts, latents) if x]
    return Measured(
        latents.items,
        each * latents.items,
        max(x.gpu for x in both),
        max(x.host for x in both),
        sum(x.disk for x in both),
        latents.device,
    )


def _perturb(run: Run) -> Measured | None:
    if run.config.data.source == "world":  # its records are edited, which takes no model
        return None
    folder = curated.perturbed(run)
    return _sum(spent.read(folder / spent.FILE), [folder])


def _render(run: Run) -> Measured | None:
    from ..prepare.render import hard_store

    folder = hard_store(run).folder
    return _sum(spent.read(folder / spent.FILE), [folder])


def _train(run: Run) -> Measured | None:
    """Steps of all cells of this model and batch, whatever their loss."""
    lines = [line for folder in _cells(run) for line in _training(folder)]
    places = [folder / name for folder in _cells(run) for name in ("transformer", "lora")]
    total = _sum(lines, places)
    if total is None:
        return None
    cells = sum(bool(_training(folder)) for folder in _cells(run))
    return Measured(**asdict(total) | {"disk": total.disk // cells})


def _evaluate(run: Run) -> Measured | None:
    """Clips of the cells whose clips are all there."""
    lines, places = [], []
    for folder in _cells(run):
        clips = folder / "samples.safetensors"
        own = [x for x in spent.read(folder / spent.FILE) if x.get("stage") == "generate"]
        if own and clips.exists():
            last = own[-1] | {"items": run.config.evaluate.prompts}
            lines += [*own[:-1], last]
            places += [clips, folder / "videos"]
    total = _sum(lines, places)
    cells = sum(bool(line["items"]) for line in lines)
    return total and Measured(**asdict(total) | {"disk": total.disk // cells})


def _cells(run: Run) -> Iterator[Path]:
    """The folders of cells whose steps and clips are of the same size as this configuration's."""
    for path in sorted(run.folder.glob("*/config.json")):
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            if _size(parse_json(read_bounded(path))) == _size(asdict(run.config)):
                yield path.parent


def _size(config: dict[str, Any]) -> list[Any]:
    model, train = config["model"], config["train"]
    names = ("engine", "batch", "micro_batch", "gradient_checkpointing", "lora_rank", "compile")
    sizes = [model[name] for name in ("pipeline", "frames", "height", "width", "dtype")]
    sampled = [config["sample"]["steps"], config["evaluate"]["prompts"]]
    return [*sizes, *(train[name] for name in names), *sampled]


def _training(folder: Path) -> Lines:
    """timing.jsonl as `spent` has it. Lines from before memory was noted are left out."""
    return [line for line in spent.read(folder / "timing.jsonl", "steps") if line["items"]]


def _ranks(run: Run) -> int:
    """On how many processes training ran last; the plan's default where it did not."""
    lines = [line for folder in _cells(run) for line in _training(folder)]
    return int(lines[-1]["processes"]) if lines else plan.ranks(run.config)


def _sum(lines: Lines, places: Sequence[Path]) -> Measured | None:
    items = sum(line["items"] for line in lines)
    if not items:
        return None
    return Measured(
        items,
        sum(line["seconds"] * line["processes"] for line in lines),
        max(line["gpu_bytes"] for line in lines),
        max(line["host_bytes"] for line in lines),
        sum(map(_bytes, places)),
        str(lines[-1].get("device", "")),
    )


def _bytes(place: Path) -> int:
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(path.stat().st_size for path in files if path.is_file())


def _row(step: plan.Step, own: Measured, ranks: int) -> tuple[str, ...]:
    planned = 3600 * (step.hours or 0.0) / (step.items or 1)
    host = (step.host or 0.0) / (1 if step.name in TOGETHER else ranks)
    gpu = _short(own.gpu / GB) if own.gpu else "-"
    return (
        step.name,
        f"{own.items:,} of {step.items:,.0f}{' a cell' * (step.name in A_CELL)}",
        f"{_short(own.each)} / {_short(planned)}",
        f"{gpu} / {_short((step.memory or 0) / GB)}",
        f"{_short(own.host / GB)} / {_short(host / GB)}",
        f"{_short(own.disk / GB)} / {_short(step.disk / GB)}",
    )


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows as lines, their columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = zip(others, widths[1:], strict=True)
        yield first.ljust(widths[0]) + "".join(f"  {text:>{width}}" for text, width in cells)


def _short(number: float) -> str:
    return f"{number:,.1f}" if number >= 10 or not number else f"{number:.2g}"


def _says(rows: list[tuple[plan.Step, Measured]], name: str, share: float) -> Iterator[str]:
    """What the measurements say about the plan, where they are of the GPU that is planned for."""
    yield (
        "an item: a clip (encode, evaluate), a caption (perturb), a negative (render), a step "
        "(train); seconds: of all GPUs that work on it; host GB: of a process"
    )
    devices = sorted({own.device for _, own in rows})
    if not all(name.split("-")[0].upper() in device.upper().replace(" ", "") for device in devices):
        yield f"measured on {', '.join(devices)}: this says nothing about a plan for {name}"
        return
    timed = [(step, own) for step, own in rows if step.name in ON_GPU and step.hours and step.items]
    shares = {x.name: share * 3600 * (x.hours or 0) / x.items / own.each for x, own in timed}
    if not shares:
        return
    yield "share of the peak: " + ", ".join(f"{x} {100 * s:.1f} %" for x, s in shares.items())
    planned = sum(step.hours or 0 for step, _ in timed)
    took = sum(own.each * step.items / 3600 for step, own in timed)
    yield (
        f"at this speed these stages take {took:,.1f} GPU-hours, planned were {planned:,.1f}; plan "
        f"the rest with --share {min(1.0, share * planned / took):.3f}"
    )
