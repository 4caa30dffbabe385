"""The reference's velocities: read, they are what the base says, or they are computed."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from direct_helpers import Killed, bytes_of, killed_at

from direct.common.files import load_arrays
from direct.config import Run
from direct.identity import identity
from direct.settings import with_values
from direct.train import loop, reference_cache
from direct.train.reference_cache import SHARD, Velocities


class Base:
    """Stands for the frozen base; its velocity is 2 x + t, and the mean of the text."""

    calls = 0

    def __call__(self, x, t, text, scale=1.0, return_dict=False):
        self.calls += 1
        return (scale * (2 * x + t.view(-1, 1, 1)) + text.mean(),)


def given(step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    x, text = torch.randn(2, 3, 4, generator=generator), torch.randn(2, 5, generator=generator)
    return x, torch.tensor([0.25, 0.5]), text


@pytest.fixture
def ask(tmp_path):
    """ask(steps): the values, equal to the base's own, and how often the base was called."""

    def asked(steps, folder=tmp_path / "name" / "device", **options):
        base = Base()
        velocities = Velocities(folder, lambda: base, **options)
        with torch.no_grad():
            for step in steps:
                (found,) = velocities(*given(step), return_dict=False)
                (expected,) = Base()(*given(step))
                assert torch.equal(found, expected) and found.dtype == expected.dtype
        velocities.flush()
        return base.calls

    (tmp_path / "name").mkdir()
    return asked


def shards(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.rglob("*.safetensors"))


def test_what_one_has_computed_another_reads(ask, tmp_path):
    count = SHARD + 3
    assert ask(range(count)) == count and ask(range(count)) == 0
    assert sorted(len(load_arrays(path)) for path in shards(tmp_path)) == [3, SHARD]
    assert ask(range(count - 2, count + 2)) == 2, "a longer run computes what is new"
    assert ask([0, 0, 99, 99]) == 1, "asked twice before it is written"


def test_the_base_is_loaded_when_something_is_missing(tmp_path):
    loaded = []
    with torch.no_grad():
        for steps, expected in (((0, 1), 1), ((0, 1), 1), ((1, 2, 3), 2)):
            velocities = Velocities(tmp_path, lambda: loaded.append(1) or Base())
            for step in steps:
                velocities(*given(step))
            velocities.flush()
            assert len(loaded) == expected


def test_a_changed_input_of_each_kind_is_computed(tmp_path):
    base = Base()
    velocities = Velocities(tmp_path, lambda: base)
    x, t, text = given(0)
    one_bit = x.clone()
    one_bit.view(torch.int32)[1, 2, 3] ^= 1
    later = torch.nextafter(t, torch.ones(()))
    kinds = [
        ((x, t, text), {}),
        ((one_bit, t, text), {}),
        ((x.flip(0), t, text), {}),  # the order of the clips
        ((x, later, text), {}),
        ((x, t, text.roll(1, 0)), {}),
        ((x[:1], t[:1], text[:1]), {}),  # another share of the batch
        ((x.view(2, 4, 3), t, text), {}),
        ((x.double(), t, text), {}),
        ((x, t, text), {"scale": 1.5}),
    ]
    with torch.no_grad():
        for _ in range(2):
            for inputs, options in kinds:
                (found,) = velocities(*inputs, **options)
                assert torch.equal(found, Base()(*inputs, **options)[0])
            assert base.calls == len(kinds)
            velocities.flush()


def test_a_term_that_differentiates_through_the_base_gets_the_base(tmp_path):
    base = Base()
    velocities = Velocities(tmp_path, lambda: base)
    x, t, text = given(0)
    with torch.no_grad():
        velocities(x, t, text)
    x.requires_grad_()
    (v,) = velocities(x, t, text)
    v.sum().backward()
    assert base.calls == 2 and torch.equal(x.grad, torch.full_like(x, 2.0))


@pytest.mark.parametrize("harm", ["flipped", "torn", "flipped unseen", "no checksum", "deleted"])
def test_a_damaged_shard_is_made_again_and_never_used(ask, tmp_path, harm):
    ask(range(3))
    (path,) = shards(tmp_path)
    data = bytearray(path.read_bytes())
    time = path.stat().st_mtime_ns
    data[-1] ^= 1
    if harm == "deleted":
        shutil.rmtree(path.parent)
    elif harm == "no checksum":
        path.with_name(path.name + ".sha256").unlink()
    else:
        path.write_bytes(data[:-5] if harm == "torn" else data)
    if harm == "flipped unseen":  # by a disk: no time says that the file was touched
        os.utime(path, ns=(time, time))
    assert 1 <= ask(range(3)) <= 3
    ask(range(3))  # what lay beside a damaged one is made again, too
    assert ask(range(3)) == 0
    damaged = list(tmp_path.rglob("*.damaged"))
    assert len(damaged) == (harm not in ("no checksum", "deleted"))


def test_two_at_once_write_what_is_missing_and_read_each_other(tmp_path):
    """In turns: each finds what the other one has written, nothing is written twice."""
    bases = Base(), Base()
    both = [Velocities(tmp_path, lambda base=base: base) for base in bases]
    with torch.no_grad():
        for step in range(2 * SHARD):  # the second is one shard behind, and catches up
            both[0](*given(step))
            if step >= SHARD:
                both[1](*given(step - SHARD))
        for step in range(SHARD, 2 * SHARD + 4):
            both[1](*given(step))
        for velocities in both:
            velocities.flush()
    assert bases[0].calls == 2 * SHARD and bases[1].calls == 4
    keys = [key for path in shards(tmp_path) for key in load_arrays(path)]
    assert len(keys) == len(set(keys)) == 2 * SHARD + 4


def _both(folder: Path, barrier) -> None:
    torch.set_num_threads(1)
    velocities = Velocities(folder, Base)
    barrier.wait()
    with torch.no_grad():
        for step in range(3 * SHARD):
            found = velocities(*given(step), return_dict=False)[0]
            assert torch.equal(found, Base()(*given(step))[0])
    velocities.flush()


def test_two_processes_at_once(ask, tmp_path):
    context = get_context("fork")
    barrier = context.Barrier(2)
    folder = tmp_path / "name" / "device"
    workers = [context.Process(target=_both, args=(folder, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0
    assert ask(range(3 * SHARD)) == 0
    assert not [*tmp_path.rglob("*.damaged"), *tmp_path.rglob("*.tmp")]


def test_a_full_disk_means_no_cache_and_is_said_once(ask, tmp_path, monkeypatch, capsys):
    def full(folder, tensors):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reference_cache.Store, "write", lambda self, tensors: full(self, tensors))
    assert ask(range(3 * SHARD)) == 3 * SHARD and not shards(tmp_path)
    said = capsys.readouterr().err
    assert said.count("no longer kept") == 1 and "No space left" in said


def test_as_much_stays_free_as_a_seed_takes(ask, tmp_path, monkeypatch, capsys):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(reference_cache.shutil, "disk_usage", lambda path: usage(10**9))
    entry = 4 * given(0)[0].numel()
    assert ask(range(3), spare=10**9 - 3 * entry + 1) == 3 and not shards(tmp_path)
    assert "less than 1.0 GB would stay free" in capsys.readouterr().err
    assert ask(range(3), spare=10**9 - 3 * entry) == 3 and len(shards(tmp_path)) == 1
    assert not capsys.readouterr().err


# Which cells share -------------------------------------------------------------------------------


def listed(cache: Path) -> set[str]:
    return {x for folder in cache.glob("reference/*") for x in reference_cache.wanted(folder)}


def test_cells_of_one_seed_want_it_and_the_last_one_drops_it(small, tmp_path):
    cells = [small(loss__lambda_hard=weight) for weight in (0.01, 0.02, 0.1)]
    cells += [small(train__init="sft"), small(loss__lambda_anc=0.5)]
    others = [
        small(seed=1),  # alone
        small(loss__lambda_anc=0.0),
        small(train__steps=0),
        small(train__reference_cache="off", loss__lambda_rand=0.5),
        small(measure__kind="alignment"),
    ]
    reference_cache.want([*cells, *others], tmp_path)
    assert listed(tmp_path) == set(map(identity, cells))
    (folder,) = (tmp_path / "reference").iterdir()
    for cell in others:
        reference_cache.release(cell, tmp_path)
    for number, cell in enumerate(cells):
        assert listed(tmp_path) == set(map(identity, cells[number:]))
        reference_cache.release(cell, tmp_path)
    assert not folder.exists()


def test_a_cell_that_is_planned_again_wants_it_again(small, tmp_path):
    """Beside those that an earlier sweep has listed and nobody has trained."""
    cells = [small(loss__lambda_hard=weight) for weight in (0.01, 0.02, 0.1, 0.2)]
    reference_cache.want(cells[:3], tmp_path)
    reference_cache.release(cells[0], tmp_path)
    reference_cache.release(cells[1], tmp_path)
    assert listed(tmp_path) == {identity(cells[2])}
    reference_cache.want([cells[0], cells[3]], tmp_path)
    assert listed(tmp_path) == {identity(cells[n]) for n in (0, 2, 3)}


@pytest.mark.parametrize("text", ["", "[]", "5", '{"cells": 5}', '{"cells": [[]]}', "[" * 99_999])
def test_a_damaged_list_wants_nothing(tmp_path, text):
    (tmp_path / reference_cache.LIST).write_text(text)
    assert reference_cache.wanted(tmp_path) == set()


def test_points_of_one_training_share_its_steps_and_need_no_more(small, tmp_path):
    points = [small(train__steps=steps, sample__guidance=g) for steps in (3, 6) for g in (2.0, 3.0)]
    reference_cache.want(points, tmp_path)
    assert not listed(tmp_path)


def test_a_folder_is_of_one_base_and_one_way_of_computing(small, tmp_path, monkeypatch):
    config = small()

    def name(config):
        return reference_cache._folder(config, tmp_path).name

    same = {
        "loss.lambda_hard": 0.1,
        "loss.lambda_anc": 0.5,
        "train.learning_rate": 0.1,
        "train.steps": 60,
        "train.init": "sft",
        "macro.clusters": 2,
        "sample.guidance": 1.5,
    }
    assert {name(with_values(config, {key: value})) for key, value in same.items()} == {
        name(config)
    }
    different = {
        "seed": 1,
        "threads": 2,
        "model.frames": 9,
        "model.height": 32,
        "model.dtype": "bfloat16",
        "model.text_length": 13,
        "train.batch": 2,
        "train.micro_batch": 2,
        "train.prompt_dropout": 0.5,
        "train.shift": 3.0,
        "train.engine": "deepspeed",
        "train.lora_rank": 2,
        "train.compile": True,
        "loss.regenerate_noise": True,
    }
    names = {name(with_values(config, {key: value})) for key, value in different.items()}
    assert len(names | {name(config)}) == len(different) + 1
    before = name(config)
    monkeypatch.setattr(reference_cache.pipeline, "identity", lambda model: "other weights")
    other = name(config)
    monkeypatch.setattr(reference_cache.fingerprint, "code", lambda *roots: "edited")
    assert len({before, other, name(config)}) == 3


# Whole trainings ---------------------------------------------------------------------------------


@pytest.fixture
def loaded(monkeypatch):
    """How often the frozen base was asked for since the last look."""
    real, found = loop.frozen_reference, []
    monkeypatch.setattr(loop, "frozen_reference", lambda *a: found.append(1) or real(*a))

    def look():
        count = len(found)
        found.clear()
        return count

    return look


WAYS = [
    {},
    {"train__lora_rank": 2},
    {"train__init": "sft", "train__micro_batch": 2, "model__dtype": "bfloat16"},
]


@pytest.mark.slow
@pytest.mark.parametrize("values", WAYS, ids=["base", "lora", "sft in bf16"])
def test_results_are_bit_for_bit_those_without(small, tmp_path, loaded, values):
    """The second cell reads, killed and resumed, and never loads the base; then all is dropped."""
    first, second = (small(loss__lambda_hard=weight, **values) for weight in (0.02, 0.1))
    off = with_values(second, {"train.reference_cache": "off"})
    assert identity(off) == identity(second)
    cache = tmp_path / "cache"
    loop.train(Run(off, cache, tmp_path / "without"))
    assert not (cache / "reference").exists() and loaded()
    shutil.rmtree(cache / "runs", ignore_errors=True)  # the SFT run, trained once more
    reference_cache.want([first, second], cache)
    loop.train(Run(first, cache, tmp_path / "writes"))
    assert loaded() and shards(cache / "reference")
    shutil.rmtree(cache / "runs", ignore_errors=True)
    where = [] if values else [("train", 3)]
    with pytest.raises(Killed) if where else nullcontext():
        loop.train(Run(second, cache, tmp_path / "reads", progress=killed_at(*where)))
    loop.train(Run(second, cache, tmp_path / "reads"))
    assert not loaded()
    assert bytes_of(tmp_path / "reads") == bytes_of(tmp_path / "without")
    assert not any((cache / "reference").iterdir())


@pytest.mark.slow
def test_on_keeps_it_for_longer_runs_and_without_an_anchor_nothing_is_read(small, tmp_path, loaded):
    values = {"train__reference_cache": "on"}
    cache = tmp_path / "cache"
    loop.train(Run(small(train__steps=2, **values), cache, tmp_path / "short"))
    assert loaded() == 1
    loop.train(Run(small(train__steps=2, loss__lambda_hard=0.1), cache, tmp_path / "auto reads"))
    assert loaded() == 0 and shards(cache / "reference"), "kept"
    loop.train(Run(small(train__steps=3, **values), cache, tmp_path / "long"))
    assert loaded() == 1
    keys = [key for path in shards(cache / "reference") for key in load_arrays(path)]
    assert len(keys) == len(set(keys)) == 3
    loop.train(Run(small(train__steps=1, loss__lambda_anc=0.0), cache, tmp_path / "none"))
    assert len(shards(cache / "reference")) == 2
