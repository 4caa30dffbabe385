"""One cell: train, generate, judge, and a `result.json` that appears whole or not at all.

runs/<profile>/<cell id>/
    config.json     the configuration; its hash is the folder's name
    inputs.json     hashes of the base model and of the world that its files are made from
    lease.json      who works on it now (see `study`)
    timing.json     seconds per stage; kept apart, so that a result's bytes are reproducible
    result.json     scores per prompt, configuration, provenance, checksum: the source of truth
    failure.json    why the last attempt ended without a result
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import shutil
import subprocess
import time
import typing
from collections.abc import Callable
from contextlib import suppress
from functools import cache as memo
from importlib import metadata
from pathlib import Path
from typing import Any

from direct.common.errors import UserError
from direct.common.files import canonical_json, digest, set_aside, write_json
from direct.common.progress import Progress
from direct.config import Config, identity

SCHEMA = 1
STAGES = ("train", "generate", "judge")
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "scipy", "safetensors", "optuna")

Record = dict[str, Any]  # {"prompt": id, "caption": str, "scores": {metric: value}}


def execute(config: Config, cache: Path, run: Path, progress: Progress) -> list[Record]:
    """The work itself. Every stage resumes from what `run` holds, so it can be killed anywhere."""
    import torch

    torch.set_num_threads(config.threads)  # sums depend on it: part of the cell
    if config.measure.kind != "scores":
        from direct.measure import alignment, cost

        with timed(run, "train"):
            measure = (alignment if config.measure.kind == "alignment" else cost).measure
            return measure(config, cache=cache, run=run, progress=progress)
    from direct.evaluate import peers
    from direct.evaluate.clips import generate
    from direct.evaluate.judge import judge
    from direct.prepare import facts as negatives
    from direct.train.loop import train

    with timed(run, "train"):
        train(config, cache=cache, run=run, progress=progress)
        if facts := negatives.facts(config, cache):
            write_json(run / "negatives.json", facts)
    with timed(run, "generate"):
        if config.model.peer:
            peers.videos(config, run, progress)
        else:
            generate(config, cache=cache, run=run, progress=progress)
    with timed(run, "judge"):
        return judge(config, cache=cache, run=run, progress=progress)


def run_cell(
    config: Config,
    cache: Path,
    run: Path,
    progress: Progress,
    holds: Callable[[], bool] = lambda: True,
) -> dict[str, Any] | None:
    """Executes the cell in folder `run` and publishes its result; a valid one is returned at once.

    `holds` is asked before publishing: a worker that lost its lease publishes nothing (`None`).
    A cell that diverges has a result that says so, and no scores.
    """
    if done := read_result(run):
        return done
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "cell": identity(config),
        "config": _plain(config),
        "provenance": provenance(config),
    }
    try:
        result |= {"status": "done"} | _scores(execute(config, cache, run, progress))
    except Exception as error:
        if type(error).__name__ != "Diverged":  # direct.train's; importing it would import torch
            raise
        result |= {"status": "diverged", "reason": str(error), "prompts": [], "scores": {}}
    if negatives := read_json(run / "negatives.json"):
        result["negatives"] = negatives
    if details := read_json(run / "details.json"):  # of a measurement, beside its scores
        result["provenance"] |= details.pop("provenance")
        result |= details
    result["checksum"] = digest(result, 64)
    if not holds():
        return None
    write_json(run / "result.json", result)
    (run / "failure.json").unlink(missing_ok=True)
    return result


def _scores(records: list[Record]) -> dict[str, Any]:
    metrics = sorted(records[0]["scores"]) if records else []
    for record in records:
        for metric in metrics:
            value = record["scores"].get(metric)
            if value is None or not math.isfinite(value):
                raise UserError(
                    f"the judge gave {metric}={value} for prompt {record['prompt']}; "
                    "a score must be a finite number"
                )
    return {
        "prompts": [record["prompt"] for record in records],
        "captions": [record["caption"] for record in records],
        "scores": {m: [float(record["scores"][m]) for record in records] for m in metrics},
    }


def read_result(run: Path) -> dict[str, Any] | None:
    """The folder's result, or `None`. A damaged one is named and set aside."""
    path = run / "result.json"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    result = parse_result(data, run.name)
    if result is None:
        set_aside(path)
    return result


def parse_result(data: bytes, cell: str) -> dict[str, Any] | None:
    """The result in a file's bytes; `None` unless whole, of this version and of this cell."""
    try:
        result = json.loads(data)
        body = {key: value for key, value in result.items() if key != "checksum"}
        whole = (
            digest(body, 64) == result["checksum"]
            and result["schema"] == SCHEMA
            and digest(result["config"]) == result["cell"] == cell
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return dict(result) if whole else None


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or `None` where there is none or it is damaged."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


class timed:
    """Adds the block's seconds to `timing.json` under the stage's name."""

    def __init__(self, run: Path, stage: str):
        self.path, self.stage = run / "timing.json", stage

    def __enter__(self) -> None:
        self.start = time.monotonic()

    def __exit__(self, *error: object) -> None:
        seconds = read_json(self.path) or {}
        seconds[self.stage] = seconds.get(self.stage, 0.0) + time.monotonic() - self.start
        write_json(self.path, seconds)


def _plain(config: Config) -> dict[str, Any]:
    """The configuration as JSON gives it back: lists for tuples."""
    value: dict[str, Any] = json.loads(canonical_json(dataclasses.asdict(config)))
    return value


def write_config(run: Path, config: Config) -> None:
    write_json(run / "config.json", dataclasses.asdict(config))


def read_config(run: Path) -> Config:
    """The configuration of a run folder; refused if its hash is not the folder's name."""
    config: Config | None = None
    with suppress(TypeError, KeyError, AttributeError):
        config = _build(Config, read_json(run / "config.json"))
    if config is None or identity(config) != run.name:
        raise UserError(
            f"{run / 'config.json'} is not the configuration that its folder names; "
            "remove the folder and run again"
        )
    return config


def begin(run: Path) -> None:
    """Notes what the run is made from. What an interrupted attempt left goes where that was made
    from other weights, or another world: it would be taken for this one's, clip by clip.
    """
    now = inputs(read_config(run))
    if (read_json(run / "inputs.json") or now) != now:
        print(f"{run.name}: an interrupted attempt had another base model or world; made anew")
        for path in run.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in ("config.json", "lease.json") and path.name[0] != ".":
                path.unlink()
    write_json(run / "inputs.json", now)


def _build(kind: type[Any], value: Any) -> Any:
    """A dataclass from the JSON of its `asdict`."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        build: Callable[..., Any] = kind
        return build(**{name: _build(hints[name], item) for name, item in value.items()})
    return tuple(value) if isinstance(value, list) else value


def provenance(config: Config) -> dict[str, Any]:
    """What made a result: commit, packages, device, inputs. No paths, host names or secrets."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "absent"
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "packages": versions,
        "device": device(),
        **inputs(config),
    }


@memo
def commit() -> str:
    """The checkout's commit, `-dirty` with uncommitted changes; `unknown` outside of git."""
    here = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments],
            check=True,
            timeout=20,
            capture_output=True,
            text=True,
        ).stdout.strip()

    try:
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "--", "direct", "sweeps", "csrc"
        )  # a report written before is no change of the method
        return git("rev-parse", "HEAD")[:12] + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


@memo
def device() -> str:
    """Processor or GPU, in words."""
    try:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    except ImportError:
        pass
    try:
        text = Path("/proc/cpuinfo").read_text()
        names = [x.split(":", 1)[1].strip() for x in text.splitlines() if "model name" in x]
        return names[0] if names else platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


def inputs(config: Config) -> dict[str, str]:
    """Hashes of the base pipeline's weights and of what the clips are made from."""
    from direct.data import source
    from direct.models import pipeline

    return {"weights": pipeline.identity(config.model), "data": source.identity(config)}
