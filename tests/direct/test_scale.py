"""Training on several ranks: what two do together, and that one does the same."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import on_two_ranks
import pytest
import torch
from torch.distributed import run as torchrun

from direct.common import manifest, preempt, ranks
from direct.common.errors import UserError
from direct.config import Run
from direct.models import pipeline as pipeline_module
from direct.profiles import profile
from direct.settings import with_values
from direct.train import __main__, checkpoint, engine, loop
from direct.train.batch import load_batch

pytest.importorskip("deepspeed")
FILES = ("metrics.jsonl", "transformer/diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def out(pipeline_folder, tmp_path_factory):
    """Where two ranks under torchrun, and then one, have left what `on_two_ranks` does."""
    folder = tmp_path_factory.mktemp("ranks")
    script = [on_two_ranks.__file__, str(pipeline_folder), str(folder)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for launcher in (torchrun, []):
        command = [sys.executable, *launcher, *script]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr[-4000:]
    return folder


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


def told(out: Path) -> list[dict]:
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(2)]


def test_one_rank_and_two_have_the_same_losses(out):
    one, two = lines(out / "one"), lines(out / "whole")
    assert one[0]["d_anc"] == two[0]["d_anc"] == 0  # both start at the reference, rounded alike
    for a, b in zip(one, two, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
        assert a["d_hard"] == pytest.approx(b["d_hard"], rel=1e-3)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=2e-3)
    assert one[0]["loss"] == two[0]["loss"]  # before the first update, to the bit


def test_zero_2_in_fp32_is_the_plain_trainer(out):
    for a, b in zip(lines(out / "deepspeed"), lines(out / "torch"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-5)
    found, expected = (
        pipeline_module.load_transformer(out / name / "transformer").state_dict()
        for name in ("deepspeed", "torch")
    )
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=1e-5)


def test_killed_and_stopped_it_goes_on_to_the_same_bytes(out):
    for rank in told(out):
        assert rank["killed"] and "run again" in rank["stopped"]  # one rank alone got the signal
        assert rank["checkpoints"] == ["step-00000002", "step-00000003"]
    for name in FILES:
        assert (out / "resumed" / name).read_bytes() == (out / "whole" / name).read_bytes()


def test_asked_to_stop_while_one_rank_prepares_the_data_all_stop(out):
    assert all("run again" in rank["preparing"] for rank in told(out))


@pytest.mark.parametrize("run", ["poisoned", "overflowed"])
def test_sample_that_is_not_finite_on_one_rank_skips_the_step_on_all(out, run):
    """Its latents, or one element of its v alone: that the loss's mask hides."""
    assert [line["skipped"] for line in lines(out / run)] == [False, True, False, False]
    after = pipeline_module.load_transformer(out / run / "transformer")
    assert all(tensor.isfinite().all() for tensor in after.state_dict().values())


def test_rank_that_fails_is_named_on_all_and_nothing_is_left_half_written(out):
    first, second = told(out)
    assert first["unreadable"] == "UserError: rank 1: shard 7 is cut short"
    assert second["unreadable"] == "OSError: shard 7 is cut short"
    assert "no space left" in first["full"] and "rank 0: no space left" in second["full"]
    assert first["left"] == second["left"] == []


def test_bf16_weights_have_fp32_masters_that_a_small_rate_moves(out, pipeline_folder):
    """At 1e-6 two steps change 1 % of the bf16 weights; every master moves, and is saved."""
    after = pipeline_module.load_transformer(out / "small" / "transformer").state_dict()
    before = pipeline_module.load_transformer(str(pipeline_folder)).state_dict()
    a, b = (torch.cat([t.flatten() for t in tensors.values()]) for tensors in (after, before))
    assert (a - b).abs().max() < 1e-5
    assert (a != b).float().mean() > 0.99
    assert (a.bfloat16() != b.bfloat16()).float().mean() < 0.03


def test_lora_trains_the_adapter_and_its_reference_is_the_base(out, pipeline_folder):
    from diffusers import WanPipeline

    assert lines(out / "lora")[0]["d_anc"] == 0 < lines(out / "lora")[1]["d_anc"]
    base = pipeline_module.load_transformer(str(pipeline_folder)).state_dict()
    merged = pipeline_module.load_transformer(out / "lora" / "transformer").state_dict()
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    assert changed and all(name.split(".")[2] in ("attn1", "attn2") for name in changed)

    pipeline = WanPipeline.from_pretrained(pipeline_folder)
    pipeline.load_lora_weights(out / "lora" / "lora")
    pipeline.fuse_lora()
    fused = {
        name.replace(".base_layer", ""): value
        for name, value in pipeline.transformer.state_dict().items()
    }
    for name in changed:
        torch.testing.assert_close(fused[name], merged[name], rtol=1e-5, atol=1e-6)


def test_two_ranks_go_on_from_their_sft_run(out):
    """Rank 0 alone exports: what it starts from is read there, not trained again by all ranks."""
    (first,) = (out / "cache" / "runs").iterdir()
    assert [len(lines(run)) for run in (first, out / "sft")] == [2, 2]
    before, after = (
        pipeline_module.load_transformer(run / "transformer").state_dict()
        for run in (first, out / "sft")
    )
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_live_metrics_are_tensorboards(out):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = events.EventAccumulator(str(out / "resumed" / "tensorboard"))
    board.Reload()
    tags = set(board.Tags()["scalars"])
    terms = {f"distance/d_{term}" for term in ("fm", "rand", "hard", "anc")}
    others = {
        "loss/loss",
        "alignment/a_hard",
        "gradient/grad_norm",
        "gradient/clip_share",
        "speed/samples_per_second",
        "speed/memory_gib",
    }
    assert terms | others <= tags
    losses = board.Scalars("loss/loss")
    assert [event.step for event in losses] == [1, 2, 3, 4]  # what was done twice is there once
    told = [line["loss"] for line in lines(out / "resumed")]
    assert [event.value for event in losses] == pytest.approx(told, rel=1e-6)
    assert board.Scalars("gradient/clip_share")[0].value == 1  # norms above 1 throughout


def test_settings_of_zero_2_are_the_papers_whatever_deepspeeds_defaults():
    settings = engine.deepspeed_settings(profile("wan2.1-t2v-1.3b"), world=4)
    assert settings["train_micro_batch_size_per_gpu"] == 1
    assert settings["gradient_accumulation_steps"] == 2  # 8 = 4 ranks x 1 x 2
    assert settings["gradient_clipping"] == 1.0 and settings["zero_optimization"]["stage"] == 2
    assert settings["bf16"] == {"enabled": True, "check_grad_overflow": True}
    assert settings["data_types"] == {"grad_accum_dtype": "fp32"}


def test_shares_cover_the_batch_in_order_and_impossible_ones_are_refused(monkeypatch):
    monkeypatch.setattr(ranks, "size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        shares += ranks.share(12, 2)
    assert [row for share in shares for row in share] == list(range(12))
    assert {len(share) for share in shares} == {2}
    for batch, micro in ((8, 1), (12, 3)):
        with pytest.raises(UserError, match=r"cannot be shared by 3 ranks"):
            ranks.share(batch, micro)


def test_micro_batches_and_checkpointed_activations_change_rounding_alone(small, tmp_path):
    losses = []
    for name, values in {
        "whole": {},
        "parts": {"train__micro_batch": 1},
        "recomputed": {"train__gradient_checkpointing": True},
    }.items():
        loop.train(Run(small(**values), tmp_path / "cache", tmp_path / name))
        losses.append([line["loss"] for line in lines(tmp_path / name)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] == pytest.approx(losses[2], rel=1e-5)


@pytest.mark.parametrize("sampling", ["partition", "uniform", "batch"])
def test_a_samples_data_are_those_of_its_place_in_the_global_batch(small, tmp_path, sampling):
    from direct.prepare import shared

    config = small(macro__sampling=sampling)
    data = shared.open_shared(Run(config, tmp_path))
    whole = load_batch(config, data, 2)
    part = load_batch(config, data, 2, range(2, 4))
    for name in ("x", "t", "key", "text", "x_rand", "eps_rand", "x_hard", "weight"):
        a, b = getattr(whole, name), getattr(part, name)
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a[2:4], b), name


def test_kill_at_each_point_of_a_save_leaves_the_one_before_loadable(small, tmp_path, monkeypatch):
    """Every call that touches the disk during the second save is the last one once."""
    model = pipeline_module.load_transformer(small().model.pipeline).requires_grad_(True)
    running = engine.Engine(model, small().train)
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("{}\n")

    class Killed(BaseException):
        pass

    def count(limit: int, folder: Path) -> int:
        calls = 0
        with monkeypatch.context() as patch:

            def counted(real):
                def call(*arguments, **options):
                    nonlocal calls
                    calls += 1
                    if calls == limit:
                        raise Killed
                    return real(*arguments, **options)

                return call

            for module, name in (
                (os, "replace"),
                (os, "fsync"),
                (checkpoint, "_write"),
                (checkpoint.shutil, "copyfile"),
                (checkpoint, "write_json"),
                (checkpoint.manifest, "write_manifest"),
            ):
                patch.setattr(module, name, counted(getattr(module, name)))
            checkpoint.save(folder, 2, model, running.optimizer, {"run": "a"}, metrics)
        return calls

    def fresh(name: str) -> Path:
        folder = tmp_path / name
        checkpoint.save(folder, 1, model, running.optimizer, {"run": "a"}, metrics)
        return folder

    points = count(0, fresh("counted"))
    assert points > 10
    for point in range(1, points + 1):
        folder = fresh(str(point))
        with pytest.raises(Killed):
            count(point, folder)
        state = checkpoint.restore(folder, model, running.optimizer, metrics, "a")
        assert state is not None and state["step"] in (1, 2)
        assert state["step"] == 1 or point == points  # only the last fsync comes after the rename


def test_checkpoint_of_another_configuration_or_a_pickle_is_refused(small, tmp_path):
    model = pipeline_module.load_transformer(small().model.pipeline).requires_grad_(True)
    running, metrics = engine.Engine(model, small().train), tmp_path / "metrics.jsonl"
    metrics.write_text("")
    folder = tmp_path / "checkpoints"
    checkpoint.save(folder, 1, model, running.optimizer, {"run": "a"}, metrics)
    with pytest.raises(
        UserError, match=r"step-00000001 belongs to another configuration \(a, not b\)"
    ):
        checkpoint.restore(folder, model, running.optimizer, metrics, "b")

    class Canary:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "canary"),)

    torch.save(Canary(), folder / "step-00000001" / "weights.safetensors")
    manifest.write_manifest(folder / "step-00000001")  # whole by its checksums
    with pytest.raises(UserError, match=r"weights.safetensors is no safetensors file .* a pickle"):
        checkpoint.restore(folder, model, running.optimizer, metrics, "a")
    assert not (tmp_path / "canary").exists()


def test_adapter_that_would_start_from_sft_is_refused():
    with pytest.raises(UserError, match=r"train.init=sft with train.lora_rank"):
        with_values(profile("wan2.1-t2v-14b"), {"train.init": "sft"})


def test_plain_engine_refuses_several_ranks(small, monkeypatch):
    model = pipeline_module.load_transformer(small().model.pipeline).requires_grad_(True)
    monkeypatch.setattr(ranks, "size", lambda: 2)
    with pytest.raises(UserError, match=r"train.engine=torch runs in one process, not in 2"):
        engine.start(model, small())


def test_resuming_a_run_with_another_configuration_is_refused(small, tmp_path, monkeypatch):
    def stop(stage, done, total):
        if (stage, done) == ("train", 3):
            raise preempt.Preempted

    run = tmp_path / "run"
    with pytest.raises(preempt.Preempted):
        loop.train(Run(small(), tmp_path / "cache", run, progress=stop))
    other = with_values(small(), {"loss.lambda_hard": 0.01})
    with pytest.raises(UserError, match="belongs to another configuration"):
        loop.train(Run(other, tmp_path / "cache", run))


def test_command_ends_with_75_where_it_was_asked_to_stop_and_keeps_others_folders(
    tmp_path, monkeypatch, capsys
):
    def stopped(*_, **__):
        raise preempt.Preempted("run again")

    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    }
    monkeypatch.setattr(loop, "train", stopped)
    arguments = ["direct.train", "--folder", str(tmp_path / "run"), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    try:
        assert __main__.main() == 75 and "run again" in capsys.readouterr().err
        assert json.loads((tmp_path / "run" / "config.json").read_text())["profile"] == "tiny"
        monkeypatch.setattr(sys, "argv", [*arguments, "--set", "seed=1"])
        with pytest.raises(UserError, match="belongs to another configuration"):
            __main__.main()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_every_option_passes_through_torchrun(monkeypatch, capsys):
    """Which takes an option that could be one of its own, cut short, for a mistake: `--run`."""
    monkeypatch.setattr(sys, "argv", ["direct.train", "--help"])
    with pytest.raises(SystemExit):
        __main__.main()
    options = set(re.findall(r"  (--\w+) [A-Z]+ ", capsys.readouterr().out))
    assert options == {"--profile", "--set", "--out", "--cache", "--folder"}
    for option in options:
        parsed = torchrun.parse_args(["-m", "direct.train", option, "value"])
        assert parsed.training_script_args == [option, "value"]
