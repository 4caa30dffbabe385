"""The frozen reference's velocities (Eq. 5), computed once for all cells of a seed.

v_ref(x_t, t, y) is the same in every cell of a seed and takes a quarter of a step. An entry is
found by a hash of the tensors that one pass gives to the frozen base. So it does not matter what
else a cell changes, at which step it resumes, or how many ranks share a batch: a pass whose inputs
differ in one bit finds nothing and is computed. What decides about the base's own arithmetic is in
the folders' names.

    cache/reference/<name>/wanted.json               the cells that a sweep will train
    cache/reference/<name>/trained-<cell>            one of them that is trained, or never will be
    cache/reference/<name>/kept                      no sweep asks for it, and none deletes it
    cache/reference/<name>/<device>/*.safetensors    a `prepare.store.Store`

A sweep says which cells it will train (`want`); the last one that is trained (`release`) deletes
the folder, unless one of `train.reference_cache=on` has asked for it to be kept. Nothing here can
end a run: what cannot be read is computed, and once something cannot be written, nothing more is.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..common import device, fingerprint, ranks
from ..common.errors import UserError
from ..common.files import digest, parse_json, read_bounded, write_json
from ..config import Config, Run
from ..identity import identity
from ..models import pipeline
from ..prepare import shared
from ..prepare.store import Store
from . import terms, trajectory

LIST = "wanted.json"
SHARD = 16  # passes: a kill loses so many, which are 67 MB at the paper's scale
CODE = "direct.train.engine", "direct.models.lora"  # what they import decides about the velocities


def want(configs: Iterable[Config], cache: Path) -> None:
    """Notes in `cache` which of these cells share a reference: those of two or more trainings."""
    sharing: dict[Path, dict[str, str]] = {}
    for config in configs:
        if _may_share(config) and config.measure.kind == "scores":
            cells = sharing.setdefault(_folder(config, cache), {})
            cells[identity(config)] = trajectory.name(config)
    for folder, cells in sharing.items():
        if len(set(cells.values())) > 1:  # one list: ten thousand cells would be as many files
            for mark in folder.glob("trained-*"):
                if mark.name.removeprefix("trained-") in cells:
                    mark.unlink(missing_ok=True)
            write_json(folder / LIST, {"cells": sorted({*cells, *wanted(folder)})})


def release(config: Config, cache: Path) -> None:
    """A cell is trained, or never will be: the last of a folder's cells deletes it."""
    if _may_share(config):
        folder = _folder(config, cache)
        with suppress(FileNotFoundError):  # another cell was the last one
            (folder / f"trained-{identity(config)}").touch()
        if not _is_kept(folder):
            shutil.rmtree(folder, ignore_errors=True)


def wanted(folder: Path) -> set[str]:
    """The cells that are listed and not trained; none where the list is damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        listed = set(parse_json(read_bounded(folder / LIST))["cells"])
        return listed - {mark.name.removeprefix("trained-") for mark in folder.glob("trained-*")}
    return set()


@contextmanager
def opened(run: Run, data: shared.Shared, load: Callable[[], Any]) -> Iterator[Any]:
    """The reference as `train_step` calls it: the frozen base, or one that reads what it would say.

    load: gives the frozen base, or None where nothing asks for one; called only when it is needed.
    """
    config, folder = run.config, _folder(run.config, run.cache)
    use, needed = config.train.reference_cache, terms.need_reference(config)
    if use == "on" and needed:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "kept").touch()
    if use == "off" or not needed or not ranks.on_first(lambda: _is_kept(folder)):
        yield load()
        return
    samples = len(shared.steps(config)) * config.train.batch
    size = data.latents([0]).numel() * getattr(torch, config.model.dtype).itemsize
    velocities = Velocities(folder / _device(), load, samples * size)
    try:
        yield velocities
    finally:
        velocities.flush()


class Velocities:
    """Called as the frozen base is; says what the base says, bit for bit.

    Keeps what it computes while the disk then has `spare` bytes left: as many as the whole of a
    seed takes, so that seeds that train side by side do not fill a disk together.
    """

    def __init__(self, folder: Path, load: Callable[[], Any], spare: int = 0) -> None:
        self._store, self._load, self._spare = Store(folder), load, spare
        self._new: dict[str, Tensor] = {}  # computed since the last shard was written
        self._keeps = True

    def __call__(self, *inputs: Any, **options: Any) -> tuple[Tensor]:
        if torch.is_grad_enabled():  # a plug-in's term, which may differentiate through the base
            v: Tensor = self._base(*inputs, **options)[0]
            return (v,)
        key = _key(inputs, options)
        found = self._read(key)
        # Ranks compute together or not at all: the base's weights may be cut over them.
        missed = ranks.anyone(found is None)
        if found is not None and not missed:
            return (found.to(pipeline.device()),)
        v = self._base(*inputs, **options)[0]
        if self._keeps:
            self._new[key] = v.to("cpu", copy=True)
            if len(self._new) == SHARD:
                self.flush()
        return (v,)

    def flush(self) -> None:
        """Writes a shard of what is new and not yet there by another process."""
        new, self._new = self._new, {}
        try:
            self._store.refresh()
            new = {key: new[key] for key in self._store.missing(new)}
            if new:
                self._check_room(sum(v.nbytes for v in new.values()))
                self._store.write(new)
        except (OSError, ValueError) as fault:
            self._keeps = False
            print(f"velocities of the reference are no longer kept: {fault}", file=sys.stderr)

    @cached_property
    def _base(self) -> Any:
        return self._load()

    def _read(self, key: str) -> Tensor | None:
        if key in self._new:
            return self._new[key]
        with suppress(OSError, ValueError):  # damaged and set aside, or deleted meanwhile
            if not self._new and self._store.missing([key]):
                self._store.refresh()  # others may have written it; once a shard
            if not self._store.missing([key]):
                return self._store[key]
        return None

    def _check_room(self, size: int) -> None:
        folder = self._store.folder
        if shutil.disk_usage(folder.parent).free < self._spare + size:
            raise UserError(
                f"less than {self._spare / 1e9:.1f} GB would stay free beside {folder}; free some, "
                "or set train.reference_cache=off"
            )


def _may_share(config: Config) -> bool:
    train = config.train
    return train.steps > 0 and train.reference_cache == "auto" and terms.need_reference(config)


def _folder(config: Config, cache: Path) -> Path:
    """Named by what decides about the base's velocities, and about which passes it is asked for."""
    model, train = config.model, config.train
    sizes = model.frames, model.height, model.width, model.fps, model.text_length, model.dtype
    asked = train.batch, train.micro_batch, train.prompt_dropout, train.shift, train.expert
    way = train.engine, train.compile, train.lora_rank > 0, train.context_parallel
    noise = config.loss.regenerate_noise
    own = [config.seed, config.threads, noise, pipeline.identity(model), fingerprint.code(*CODE)]
    return cache / "reference" / digest([own, sizes, asked, way])


def _device() -> str:
    """Apart from the folder's name: the machine that plans may have no GPU."""
    return digest([device.name(), torch.__version__, version("diffusers")])


def _is_kept(folder: Path) -> bool:
    return (folder / "kept").exists() or bool(wanted(folder))


def _key(inputs: tuple[Any, ...], options: dict[str, Any]) -> str:
    """Hash of all that one pass is given, 32 hex digits."""
    found = hashlib.sha256()
    for name, value in [*enumerate(inputs), *sorted(options.items())]:
        if isinstance(value, Tensor):
            found.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
            found.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        else:
            found.update(f"{name} {value!r} ".encode())
    return found.hexdigest()[:32]
