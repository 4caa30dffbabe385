"""The trainer: exact resume, pure batches, the loss it minimises, and divergence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import overflowing
from safetensors.torch import load_file

from direct import flow, noise, sampling
from direct.common import errors
from direct.common.errors import UserError
from direct.config import Run
from direct.models import pipeline
from direct.prepare import shared
from direct.train import loop, trajectory
from direct.train import step as stepping
from direct.train.batch import load_batch
from direct.train.engine import Engine
from direct.train.step import train_step


class Killed(BaseException):
    """Stands for `kill -9`: nothing in the product catches it."""


def killed_at(*where: tuple[str, int]):
    left = list(where)

    def progress(stage: str, done: int, total: int) -> None:
        if left and (stage, done) == left[0]:
            left.pop(0)
            raise Killed

    return progress


def bytes_of(run: Path) -> dict[str, bytes]:
    names = ["metrics.jsonl", "transformer/diffusion_pytorch_model.safetensors"]
    return {name: (run / name).read_bytes() for name in names}


def test_run_killed_twice_equals_an_uninterrupted_one(small, tmp_path):
    config, cache = small(), tmp_path / "cache"
    loop.train(Run(config, cache, tmp_path / "whole"))
    progress = killed_at(("train", 3), ("train", 5))  # one step past a checkpoint each time
    for _ in range(2):
        with pytest.raises(Killed):
            loop.train(Run(config, cache, tmp_path / "killed", progress=progress))
        assert not (tmp_path / "killed" / "transformer").exists()
    loop.train(Run(config, cache, tmp_path / "killed", progress=progress))
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")
    steps = [json.loads(line)["step"] for line in (tmp_path / "whole/metrics.jsonl").open()]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert not (tmp_path / "whole" / "checkpoints").exists()


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler here")
def test_compiled_transformers_train_alike(small, tmp_path):
    """`train.compile` for the trained model and its reference: the same steps but for rounding."""
    found = {}
    for compiled in (False, True):
        run = tmp_path / str(compiled)
        config = small(train__compile=compiled, train__steps=2)
        loop.train(Run(config, tmp_path / "cache", run))
        lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
        found[compiled] = [line["loss"] for line in lines]
        weights = load_file(run / "transformer/diffusion_pytorch_model.safetensors")
        assert not any("_orig_mod" in name for name in weights)
    assert found[True] == pytest.approx(found[False], rel=1e-4) and len(found[True]) == 2


def test_damaged_checkpoint_is_named_set_aside_and_the_one_before_taken(small, tmp_path, capsys):
    config, cache, run = small(), tmp_path / "cache", tmp_path / "run"
    loop.train(Run(config, cache, tmp_path / "whole"))
    with pytest.raises(Killed):
        loop.train(Run(config, cache, run, progress=killed_at(("train", 5))))
    newest = run / "checkpoints" / "step-00000004" / "weights.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    loop.train(Run(config, cache, run))
    assert "weights.safetensors is damaged" in capsys.readouterr().out
    assert bytes_of(run) == bytes_of(tmp_path / "whole")


def test_finished_run_returns_at_once_and_zero_shot_saves_nothing(small, tmp_path, monkeypatch):
    config, cache = small(train__steps=1), tmp_path / "cache"
    final = loop.train(Run(config, cache, tmp_path / "run"))
    monkeypatch.setattr(loop, "_train", lambda *_: pytest.fail("trained again"))
    assert loop.train(Run(config, cache, tmp_path / "run")) == final
    loop.train(Run(small(train__steps=0), cache, tmp_path / "zero"))
    assert not (tmp_path / "zero").exists()


def test_batch_is_a_pure_function_of_the_step_and_variants_share_it(small, tmp_path):
    config = small(train__prompt_dropout=0.4)
    data = shared.open_shared(Run(config, tmp_path))
    a, b = load_batch(config, data, 3), load_batch(config, data, 3)
    assert all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("x", "t", "text", "x_hard")
    )
    other = small(train__prompt_dropout=0.4, loss__lambda_hard=0.1, macro__sampling="uniform")
    c = load_batch(other, shared.open_shared(Run(other, tmp_path)), 3)
    assert torch.equal(a.x, c.x) and torch.equal(a.t, c.t) and torch.equal(a.key, c.key)
    assert torch.equal(a.x_hard, c.x_hard) and torch.equal(a.text, c.text)
    assert not torch.equal(load_batch(config, data, 4).x, a.x)


def test_dropped_prompts_are_empty_and_not_contrasted(small, tmp_path):
    config = small(train__prompt_dropout=0.5, train__batch=8)
    data = shared.open_shared(Run(config, tmp_path))
    empty, seen = data.text([""])[0], 0
    for step in range(4):
        batch = load_batch(config, data, step)
        dropped = torch.tensor([torch.equal(text, empty) for text in batch.text])
        assert torch.equal(batch.weight[:, 1] == 0, dropped)
        assert (batch.weight[dropped, 2] == 0).all()
        assert (batch.weight[:, [0, 3]] == 1).all()
        seen += int(dropped.sum())
    assert 0 < seen < 32


def test_clip_without_kept_negatives_is_not_contrasted_on_that_term(small, tmp_path):
    config = small(train__prompt_dropout=0.0)
    data = shared.open_shared(Run(config, tmp_path))
    bare = replace(data, hard_prompts=[[] if i % 2 else p for i, p in enumerate(data.hard_prompts)])
    chosen, _, slot = shared.negatives_of(config, 0, np.array([len(p) for p in bare.hard_prompts]))
    batch = load_batch(config, bare, 0)
    assert batch.weight[:, 2].tolist() == [float(i % 2 == 0) for i in chosen]
    assert batch.weight[:, 1].tolist() == [1.0] * 4
    assert (batch.x_hard[torch.from_numpy(slot < 0)] == 0).all()


def test_step_minimises_equation_6(small, tmp_path):
    """One plain-SGD step against the loss written out in float64 and differentiated by autograd."""
    config = small(loss__lambda_rand=0.1, loss__lambda_hard=0.2, loss__lambda_anc=0.3)
    batch = load_batch(config, shared.open_shared(Run(config, tmp_path)), 0)
    model = pipeline.load_transformer(config.model.pipeline)
    reference = pipeline.load_transformer(config.model.pipeline)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.manual_seed(1)))
    engine = Engine(model.requires_grad_(True), replace(config.train, clip=1e9))
    engine.optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    engine.optimizer.zero_grad = lambda: None  # the gradient is looked at below
    measured = train_step(engine, reference, batch, config)
    found = {name: p.grad.clone() for name, p in model.named_parameters()}

    model.double().zero_grad()
    shape, w = batch.x.shape, batch.weight.double()
    eps, eps_rand, eps_hard = (
        noise.normal(batch.key, shape, torch.float64, term=term)
        for term in (noise.EPS, noise.RAND, noise.HARD)
    )
    x, t = batch.x.double(), batch.t.double().view(-1, 1, 1, 1, 1)
    inputs = ((1 - t) * x + t * eps, 1000 * t.flatten(), batch.text.double())
    v = model(*inputs, return_dict=False)[0]
    v_ref = reference.double()(*inputs, return_dict=False)[0].detach()
    targets = (eps - x, eps_rand - batch.x_rand, eps_hard - batch.x_hard, v_ref)
    d = torch.stack([(v - u).square().flatten(1).mean(1) for u in targets], 1)
    loss = (w * d * torch.tensor([1, -0.1, -0.2, 0.3])).sum(1).mean()
    loss.backward()
    assert measured["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert measured["d_anc"] == pytest.approx(d[:, 3].mean().item(), rel=1e-3)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name].double(), parameter.grad, rtol=1e-3, atol=1e-5)


def test_regenerated_noise_gives_the_same_training(small, tmp_path):
    for name, flag in (("kept", False), ("drawn", True)):
        config = small(loss__regenerate_noise=flag, train__steps=2)
        loop.train(Run(config, tmp_path / "cache", tmp_path / name))
    kept, drawn = (
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").open()]
        for name in ("kept", "drawn")
    )
    assert kept == pytest.approx(drawn, rel=1e-5)


def test_in_batch_negatives_are_other_samples_with_their_own_noise(small, tmp_path):
    config = small(macro__sampling="batch")
    batch = load_batch(config, shared.open_shared(Run(config, tmp_path)), 0)
    eps = noise.normal(batch.key, batch.x.shape)
    for b in range(4):
        others = [o for o in range(4) if o != b and torch.equal(batch.x[o], batch.x_rand[b])]
        assert any(torch.equal(eps[o], batch.eps_rand[b]) for o in others)


def test_reference_runs_only_where_it_is_anchored_to(small, tmp_path, monkeypatch):
    loaded = []
    real = pipeline.load_transformer
    monkeypatch.setattr(
        pipeline, "load_transformer", lambda *a, **k: loaded.append(a) or real(*a, **k)
    )
    values = {"train__steps": 1, "loss__lambda_hard": 0.0}
    loop.train(Run(small(loss__lambda_anc=0.0, **values), tmp_path / "c", tmp_path / "a"))
    alone = len(loaded)
    loop.train(Run(small(loss__lambda_anc=0.2, **values), tmp_path / "c", tmp_path / "b"))
    assert len(loaded) - alone == alone + 1
    assert json.loads((tmp_path / "a/metrics.jsonl").read_text())["d_anc"] is None


def test_an_adapter_whose_merged_weights_were_not_written_is_exported_again(
    small, tmp_path, monkeypatch
):
    """A kill, or a full disk, between the two folders of a LoRA run."""
    run = Run(small(train__lora_rank=2), tmp_path / "c", tmp_path / "run")
    save = loop._save
    monkeypatch.setattr(loop, "_save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        loop.train(run)
    assert (tmp_path / "run/lora").is_dir() and not (tmp_path / "run/transformer").exists()
    monkeypatch.setattr(loop, "_save", save)
    assert loop.train(run).is_dir()


def test_a_measuring_cell_is_no_training(small, tmp_path):
    """And the SFT run that it may start from is that of the scores' cells, half of their steps."""
    config = small(measure__kind="alignment", measure__steps=10, train__init="sft")
    with pytest.raises(UserError, match=r"measure\.kind=alignment"):
        loop.train(Run(config, tmp_path / "c", tmp_path / "run"))
    scores = small(train__init="sft")
    assert loop.sft_config(config) == loop.sft_config(scores)
    assert shared.steps(loop.sft_config(config)) == range(3)


def test_nan_skips_the_step_and_three_in_a_row_diverge(small, tmp_path, monkeypatch):
    real = load_batch

    def poisoned(bad):
        def load(config, data, step, rows=None):
            batch = real(config, data, step, rows)
            return replace(batch, x=batch.x * torch.nan) if step in bad else batch

        return load

    config, cache = small(train__checkpoint_every=100), tmp_path / "cache"
    monkeypatch.setattr("direct.train.batch.load_batch", poisoned({1, 2, 4}))
    loop.train(Run(config, cache, tmp_path / "skips"))
    lines = [json.loads(line) for line in (tmp_path / "skips/metrics.jsonl").open()]
    assert [line["skipped"] for line in lines] == [False, True, True, False, True, False]
    assert lines[1]["grad_norm"] is None and lines[3]["loss"] is not None
    monkeypatch.setattr("direct.train.batch.load_batch", poisoned({2, 3, 4}))
    with pytest.raises(errors.Diverged) as caught:
        loop.train(Run(config, cache, tmp_path / "diverges"))
    assert caught.value.step == 5 and "non-finite" in caught.value.reason


def lines_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


@pytest.mark.parametrize("passes", [1, 4])
def test_one_infinite_element_of_v_skips_the_step(small, tmp_path, monkeypatch, passes):
    """The loss's mask hides it: without the kernel's count nothing would be skipped."""
    config = small(train__micro_batch=4 // passes, train__checkpoint_every=100)
    cache, real, loss = tmp_path / "cache", pipeline.velocity, stepping.velocity_loss
    spoilt = overflowing(real, [passes, 3 * passes + passes // 2])  # in the second and fourth step
    monkeypatch.setattr(pipeline, "velocity", spoilt)
    loop.train(Run(config, cache, tmp_path / "counted"))
    lines = lines_of(tmp_path / "counted")
    assert [line["skipped"] for line in lines] == [False, True, False, True, False, False]
    assert lines[1]["grad_norm"] is None and all(line["loss"] is not None for line in lines)

    def blind(*arguments, **options):
        out = loss(*arguments, **options)
        return out._replace(nonfinite=torch.zeros_like(out.nonfinite))

    monkeypatch.setattr(stepping, "velocity_loss", blind)
    monkeypatch.setattr(pipeline, "velocity", overflowing(real, [passes]))
    loop.train(Run(config, cache, tmp_path / "blind"))
    assert not any(line["skipped"] for line in lines_of(tmp_path / "blind"))

    monkeypatch.setattr(stepping, "velocity_loss", loss)
    monkeypatch.setattr(pipeline, "velocity", overflowing(real, range(2 * passes, 5 * passes)))
    with pytest.raises(errors.Diverged, match="step 5"):
        loop.train(Run(config, cache, tmp_path / "diverges"))


@pytest.mark.parametrize(
    "values", [{}, {"train__micro_batch": 1}, {"model__dtype": "bfloat16"}], ids=str
)
def test_guard_leaves_a_finite_training_as_it_was(small, tmp_path, monkeypatch, values):
    """To the byte what it was when a term of value 0 stood for the guard."""
    config, cache, real = (
        small(train__steps=3, **values),
        tmp_path / "cache",
        stepping.velocity_loss,
    )
    loop.train(Run(config, cache, tmp_path / "now"))

    def before(v, *arguments, **options):
        out = real(v, *arguments, **options)
        return SimpleNamespace(**out._asdict(), guarded=lambda: out.loss + 0 * v.float().sum())

    monkeypatch.setattr(stepping, "velocity_loss", before)
    loop.train(Run(config, cache, tmp_path / "before"))
    assert bytes_of(tmp_path / "now") == bytes_of(tmp_path / "before")


def test_sft_start_is_the_sft_cell_of_half_the_steps(small, tmp_path):
    config = small(train__init="sft")
    sft = loop.sft_config(config)
    loop.train(Run(config, tmp_path, tmp_path / "run"))
    half = tmp_path / "runs" / trajectory.cell(sft)
    first = [json.loads(line) for line in (half / "metrics.jsonl").open()]
    second = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert [line["step"] for line in first + second] == [1, 2, 3, 4, 5, 6]
    assert all(line["d_hard"] is None and line["d_anc"] is not None for line in first)
    assert all(line["d_hard"] is not None for line in second)
    assert sft == loop.sft_config(small(train__init="sft", macro__clusters=2))


def test_bfloat16_forward_passes_train_fp32_weights(small, tmp_path):
    config = small(model__dtype="bfloat16", train__steps=1, train__learning_rate=1e-6)
    folder = loop.train(Run(config, tmp_path / "cache", tmp_path / "run"))
    after, before = (
        pipeline.load_transformer(folder),
        pipeline.load_transformer(config.model.pipeline),
    )
    moved = [
        (a - b).abs().max().item()
        for a, b in zip(after.parameters(), before.parameters(), strict=True)
    ]
    assert max(moved) < 1e-5 and np.mean(np.array(moved) > 0) > 0.9  # bf16 weights would not move


def test_streams_of_noise_differ():
    shape = (2, 1, 1, 4, 4)
    made = [
        noise.normal(noise.keys(0, 0, [5, 6], stream), shape)
        for stream in (sampling.TRAINING, sampling.EVALUATION, sampling.HARD)
    ]
    assert not any(torch.equal(made[i], made[j]) for i in range(3) for j in range(i))
    assert flow.TIMESTEPS == 1000
