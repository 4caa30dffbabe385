"""Checkpoints of one run: folders that are whole or absent, safetensors throughout, no pickle.

A checkpoint holds the trained fp32 weights, AdamW's moments, the counters and the metrics so far,
with a checksum of each file. Nothing else is needed to go on bit for bit: draws are functions of
the step. Rank 0 writes it aside, reads it again and renames it; all ranks learn whether it worked.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..common import manifest, ranks
from ..common.errors import UserError
from ..common.files import read_json, write_bytes, write_folder, write_json
from . import engine

KEEP = 2  # the newest, and the one before it should the newest be damaged


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: Any,
    state: dict[str, Any],
    metrics: Path,
    keep: int = KEEP,
) -> None:
    """Publishes `folder/step-N` and deletes all but the newest `keep`; 0 keeps all."""
    weights = engine.masters(model, optimizer)
    moments, updates = engine.moments(model, optimizer)

    def write(temporary: Path) -> None:
        _write(temporary / "weights.safetensors", weights)
        _write(temporary / "moments.safetensors", moments)
        shutil.copyfile(metrics, temporary / "metrics.jsonl")
        write_json(temporary / "state.json", state | {"step": step, "updates": updates})
        manifest.write_manifest(temporary)

    def publish() -> None:
        path = folder / f"step-{step:08d}"
        shutil.rmtree(path, ignore_errors=True)
        write_folder(path, write)
        for old in _steps(folder)[:-keep]:  # [:-0] is empty
            shutil.rmtree(old)

    ranks.on_first(publish)


def restore(
    folder: Path, model: nn.Module, optimizer: Any, metrics: Path, run: str | None = None
) -> dict[str, Any] | None:
    """Puts the newest whole checkpoint back in place and returns its state; `None` where none is.

    A damaged checkpoint is named, set aside, and the one before it is taken. One whose state names
    another `run` than this one, or that holds no safetensors, is a `UserError`.
    """
    path = ranks.on_first(lambda: _newest(folder))
    if path is None:
        return None
    with ranks.together():
        state: dict[str, Any] = read_json(path / "state.json")
        if run is not None and state.get("run") != run:
            raise UserError(
                f"{path} belongs to another configuration ({state.get('run')}, not {run}); use "
                "another folder, or delete the checkpoints there"
            )
        weights = _read(path / "weights.safetensors")
        moments = _read(path / "moments.safetensors")
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        if trained != set(weights):
            raise UserError(
                f"{path} holds other weights than are trained here, "
                f"{min(trained ^ set(weights))} for one; delete it"
            )
    engine.put(model, optimizer, weights, moments, state["updates"])
    if ranks.rank() == 0:
        write_bytes(metrics, (path / "metrics.jsonl").read_bytes())
    return state


def _newest(folder: Path) -> Path | None:
    """The newest whole checkpoint; damaged ones are set aside, and what a kill left is removed."""
    for rest in folder.glob(".step-*.tmp"):
        shutil.rmtree(rest, ignore_errors=True)
    return next(filter(whole, reversed(_steps(folder))), None)


def whole(path: Path) -> bool:
    """Whether a published checkpoint is; a damaged one is named and set aside."""
    fault = manifest.fault_of(path)
    if fault:
        aside = path.with_name(f"{path.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(path, aside)
        print(f"damaged checkpoint: {fault}; set aside, resuming from an earlier one")
    return not fault


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes and reads back what is in the file, before anything is published."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    if set(_read(path)) != set(tensors):
        raise OSError(f"{path} was not written whole")


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)  # mapped: bytes are read when they are used
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} is no safetensors file ({error}); nothing else is read, since a pickle can "
            "run code: restore it or delete the checkpoint"
        ) from error


def _steps(folder: Path) -> list[Path]:
    """Published checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.suffix != ".damaged")
