"""Checkpoints of one run: folders that are whole or absent, safetensors throughout, no pickle.

A checkpoint holds the fp32 weights, AdamW's moments, the counters and the metrics so far, with a
checksum of each file. Nothing else is needed to go on bit for bit: draws are functions of the step.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import models
from .files import write_bytes, write_folder, write_json

KEEP = 2  # the newest, and the one before it should the newest be damaged


def save(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer,
    state: dict[str, Any], metrics: Path, keep: int = KEEP,
) -> None:  # fmt: skip
    """Publishes `folder/step-N` and deletes all but the newest `keep`; 0 keeps all."""
    from safetensors.torch import save_file

    moments, updates = {}, 0
    for name, parameter in model.named_parameters():
        entry = optimizer.state.get(parameter, {})
        for moment in ("exp_avg", "exp_avg_sq") if entry else ():
            moments[f"{name}.{moment}"] = entry[moment].contiguous()
        updates = int(entry["step"]) if entry else updates

    def write(temporary: Path) -> None:
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, temporary / "weights.safetensors")
        save_file(moments, temporary / "moments.safetensors")
        shutil.copyfile(metrics, temporary / "metrics.jsonl")
        write_json(temporary / "state.json", state | {"step": step, "updates": updates})
        models.write_manifest(temporary)

    path = folder / f"step-{step:08d}"
    shutil.rmtree(path, ignore_errors=True)
    write_folder(path, write)
    for old in _steps(folder)[:-keep]:  # [:-0] is empty
        shutil.rmtree(old)


def restore(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, metrics: Path
) -> dict[str, Any] | None:
    """Puts the newest whole checkpoint back in place and returns its state; `None` where none is.

    A damaged checkpoint is named, set aside, and the one before it is taken.
    """
    from safetensors.torch import load_file

    for path in reversed(_steps(folder)):
        if fault := models.fault_of(path):
            os.replace(path, path.with_name(f"{path.name}.damaged"))
            print(f"damaged checkpoint: {fault}; set aside, going on from an earlier one")
            continue
        state = json.loads((path / "state.json").read_text())
        model.load_state_dict(load_file(path / "weights.safetensors"))
        moments = load_file(path / "moments.safetensors")
        for name, parameter in model.named_parameters():
            if f"{name}.exp_avg" in moments:
                optimizer.state[parameter] = {"step": torch.tensor(float(state["updates"]))} | {
                    moment: torch.empty_like(parameter).copy_(moments[f"{name}.{moment}"])
                    for moment in ("exp_avg", "exp_avg_sq")
                }
        write_bytes(metrics, (path / "metrics.jsonl").read_bytes())
        return state
    return None


def _steps(folder: Path) -> list[Path]:
    """Published checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.suffix != ".damaged")
