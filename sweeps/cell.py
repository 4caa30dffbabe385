"""One cell: train, generate, judge, and a `result.json` that appears whole or not at all.

runs/<profile>/<cell id>/
    config.json     the configuration; its hash is the folder's name
    inputs.json     hashes of the base model and of the world that its files are made from
    lease.json      who works on it now (see `queue/leases`)
    timing.json     seconds per stage; kept apart, so that a result's bytes are reproducible
    spent.jsonl     the same by attempt, with memory and device; read by `direct.plan --compare`
    result.json     scores per prompt, configuration, provenance, checksum: the source of truth
    failure.json    why the last attempt ended without a result
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache as memo
from importlib import metadata
from pathlib import Path
from typing import Any

from direct import plugins
from direct.common import spent
from direct.common.errors import Diverged, UserError
from direct.common.files import (
    create_json,
    digest,
    note_json,
    parse_json,
    read_bounded,
    set_aside,
    write_json,
)
from direct.config import Config, Run
from direct.identity import identity, named, restored

from .result_check import LARGEST, sound
from .stages import REAL, Record, Stages

SCHEMA = 1
LONGEST = 1e9  # seconds of a stage: 30 years
STAGES = ("train", "generate", "judge")  # whose seconds are noted
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "scipy", "safetensors", "optuna")


def execute(run: Run, stages: Stages = REAL) -> list[Record]:
    """The work itself, stage by stage."""
    if run.config.measure.kind != "scores":
        with timed(run.folder, "train"):
            return stages.measure(run)
    with timed(run.folder, "train"):
        stages.train(run)
    with timed(run.folder, "generate"):
        stages.generate(run)
    with timed(run.folder, "judge"):
        return stages.judge(run)


def run_cell(
    run: Run, stages: Stages = REAL, holds: Callable[[], bool] = lambda: True
) -> dict[str, Any] | None:
    """Executes the cell of the run's folder and publishes its result; a valid one is returned.

    `holds` is asked before publishing: a worker that lost its lease publishes nothing (`None`). One
    that was frozen just then finds another worker's result, which is never replaced.
    A cell that diverges has a result that says so, and no scores.
    """
    folder = run.folder
    if done := read_result(folder):
        return done
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "cell": identity(run.config),
        "config": named(run.config),
        "code": stages.code(run.config),
        "provenance": provenance(run.config, stages),
    }
    try:
        result |= {"status": "done"} | _scores(execute(run, stages))
    except Diverged as error:
        result |= {"status": "diverged", "reason": str(error), "prompts": [], "scores": {}}
    if negatives := read_json(folder / "negatives.json"):
        result["negatives"] = negatives
    if details := read_json(folder / "details.json"):  # of a measurement, beside its scores
        result["provenance"] |= details.pop("provenance")
        result |= details
    result["checksum"] = digest(result, 64)
    if not holds() or not create_json(folder / "result.json", result):
        return None
    (folder / "failure.json").unlink(missing_ok=True)
    return result


def _scores(records: list[Record]) -> dict[str, Any]:
    metrics = sorted(records[0]["scores"]) if records else []
    for record in records:
        for metric in metrics:
            value = record["scores"].get(metric)
            if value is None or not abs(value) < LARGEST:  # nan is not
                raise UserError(
                    f"the judge gave {metric}={value} for prompt {record['prompt']}; "
                    f"a score must be a finite number, below {LARGEST:g}"
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
        data = read_bounded(path)
    except FileNotFoundError:
        return None
    result = parse_result(data, run.name)
    if result is None:
        set_aside(path)
    return result


def parse_result(data: bytes, cell: str) -> dict[str, Any] | None:
    """The result in a file's bytes; `None` unless whole, of this version and of this cell."""
    try:
        result = parse_json(data)
        body = {key: value for key, value in result.items() if key != "checksum"}
        whole = (
            digest(body, 64) == result["checksum"]
            and result["schema"] == SCHEMA
            and digest(result["config"]) == result["cell"] == cell
            and sound(result)
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return dict(result) if whole else None


def other_code(result: dict[str, Any], config: Config, stages: Stages) -> list[str]:
    """The modules of the code that made a result which are not those at hand; empty if all are."""
    now, then = stages.code(config), result.get("code")
    if then is None:
        return ["code that was not noted"]
    return sorted(name for name in {*now, *then} if now.get(name) != then.get(name))


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or `None` where there is none or it is damaged."""
    try:
        value = parse_json(read_bounded(path))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


class timed:
    """Adds the block's seconds to `timing.json` under the stage's name."""

    def __init__(self, run: Path, stage: str):
        self.path, self.stage = run / "timing.json", stage

    def __enter__(self) -> None:
        spent.fresh()
        self.start = time.monotonic()

    def __exit__(self, *error: object) -> None:
        seconds, own = read_timing(self.path), time.monotonic() - self.start
        seconds[self.stage] = seconds.get(self.stage, 0.0) + own
        write_json(self.path, seconds)
        together = int(os.environ.get("WORLD_SIZE", 1))  # torchrun's ranks, whose GPUs are held
        spent.note(self.path.parent, self.stage, 0, own, together)


def read_timing(path: Path) -> dict[str, float]:
    """Seconds by stage; what is no number of seconds is left out."""
    found = read_json(path) or {}
    return {name: s for name, s in found.items() if type(s) in (int, float) and 0 <= s < LONGEST}


def failure_of(run: Path) -> str | None:
    """Why the folder's last attempt ended without a result; `None` where there is no such file."""
    path = run / "failure.json"
    reason = (read_json(path) or {}).get("reason")
    if isinstance(reason, str):
        return reason
    return "its failure.json is damaged" if path.exists() else None


def write_config(run: Path, settings: dict[str, Any]) -> None:
    """`settings`: a configuration's, as `asdict` gives them."""
    note_json(run / "config.json", settings)


def read_config(run: Path, load: bool = True) -> Config:
    """The configuration of a run folder; refused if its hash is not the folder's name.

    load: imports the plug-ins that it uses; one that is not here is a `UserError`.
    """
    config: Config | None = None
    with suppress(TypeError, KeyError, AttributeError):
        config = restored(read_json(run / "config.json"))
        if load:
            plugins.need(config)
    if config is None or identity(config) != run.name:
        raise UserError(
            f"{run / 'config.json'} is not the configuration that its folder names; "
            "remove the folder and run again"
        )
    return config


def begin(folder: Path, stages: Stages = REAL) -> None:
    """Notes what the cell's files are made from.

    What an interrupted attempt left is removed where that had other weights, clips or code: it
    would be taken for this one's, clip by clip.
    """
    config = read_config(folder)
    now = stages.inputs(config) | {"code": digest(stages.code(config))}
    if (read_json(folder / "inputs.json") or now) != now:
        print(
            f"{folder.name}: an interrupted attempt had another base model or code; starting over"
        )
        clear(folder)
    write_json(folder / "inputs.json", now)


def clear(folder: Path) -> None:
    """Removes all that a cell's folder holds but its configuration and its lease."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in ("config.json", "lease.json") and path.name[0] != ".":
            path.unlink()


def provenance(config: Config, stages: Stages = REAL) -> dict[str, Any]:
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
        "device": stages.device(),
        **stages.inputs(config),
    }


@memo
def commit() -> str:
    """The checkout's commit, `-dirty` with uncommitted changes; `unknown` outside of git."""
    here = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments],
            check=True,
            timeout=120,  # a busy machine: "unknown" would be another result
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
