"""The planner's memory, time and refusals."""

from __future__ import annotations

import sys
from dataclasses import fields

import pytest

from direct.common.errors import UserError
from direct.measure import counted, plan, plan_command
from direct.profiles import profile
from direct.settings import override, with_values


def test_draws_are_those_of_the_sampler():
    from direct.prepare import shared

    config = with_values(profile("wan2.1-1gpu"), {"data.clips": 300, "train.steps": 130})
    kept = [[f"{clip} {slot}" for slot in range(3)] for clip in range(300)]
    real = len(shared.drawn_prompts(config, kept))
    assert 300 < real < 900 and plan.drawn(config) == pytest.approx(real, rel=0.04)


@pytest.mark.slow
def test_memory_by_hand():
    config = profile("wan2.1-t2v-1.3b")
    clip = counted.count(config)
    four, eight = (plan.training_memory(clip, config, n) for n in (4, 8))
    assert four["weights"] == four["reference"] == 2 * 1_418_996_800  # bf16
    assert four["optimizer"] == 2 * eight["optimizer"] == 4 * 1_418_996_800  # 16 bytes, over 4
    adapter = override(config, "train.lora_rank=32")
    lora = plan.training_memory(counted.count(adapter), adapter, 4)
    assert "reference" in lora and lora["reference"] == 0 and lora["optimizer"] < 2e8
    kept_all = override(config, "train.gradient_checkpointing=false")
    more = plan.training_memory(clip, kept_all, 4)["activations"]
    assert more > 10 * four["activations"] > 10 * 30 * 32_760 * 1536 * 2


@pytest.mark.slow
def test_memory_of_weights_cut_over_ranks_by_hand():
    """16 bytes a weight, and the reference's 4, over the ranks; what is left is a block's."""
    config = override(profile("wan2.1-t2v-1.3b"), "train.engine=fsdp")
    clip = counted.count(config)
    assert clip.trained == clip.weights and clip.layers == 30
    four, eight = (plan.training_memory(clip, config, n) for n in (4, 8))
    for part, size in (("weights", 4), ("optimizer", 12), ("reference", 4)):
        assert four[part] == 2 * eight[part] == size * clip.weights / 4
    assert four["buckets"] == eight["buckets"] == 18 * clip.weights / 30
    assert four["activations"] == eight["activations"]
    halves = override(config, "train.context_parallel=2")
    assert plan.training_memory(clip, halves, 8)["activations"] == eight["activations"] / 2
    assert plan.training_host_memory(clip, config) == 12 * clip.weights


def counts(weights: float, trained: float) -> counted.Counts:
    """Of these sizes alone: main memory asks for no others."""
    others = dict.fromkeys((field.name for field in fields(counted.Counts)), 0)
    return counted.Counts(**others | {"item": 2, "weights": weights, "trained": trained})


@pytest.mark.parametrize(
    ("profile_name", "settings", "trained", "gigabytes"),
    [
        ("wan2.1-t2v-14b", (), 0.1e9, 57.6),  # exporting: the start, and the adapter's masters
        ("wan2.1-t2v-14b", ("train.lora_rank=0",), 14.3e9, 171.6),  # saving: masters and moments
        ("wan2.1-1gpu", (), 0.05e9, 57.2),  # loading, on one GPU
        ("wan2.1-1gpu", ("train.lora_rank=0",), 14.3e9, 114.4),  # saving: the moments' file
    ],
)
def test_main_memory_is_that_of_one_copy_for_all_ranks(profile_name, settings, trained, gigabytes):
    config = override(profile(profile_name), *settings)
    needed = plan.training_host_memory(counts(14.3e9, trained), config)
    assert needed == pytest.approx(gigabytes * 1e9)


@pytest.mark.slow
def test_the_reference_by_hand():
    """A seed's 15,000 steps of 8 clips of [16, 21, 60, 104] in bf16: 503 GB."""
    config = profile("wan2.1-t2v-1.3b")
    clip = counted.count(config)
    disk, saved = plan.reference_cache(clip, config)
    assert disk == 15_000 * 8 * 2 * 16 * 21 * 60 * 104
    alone = override(config, "loss.lambda_anc=0")
    less = plan.training_flops(clip, config) - plan.training_flops(clip, alone)
    assert saved == pytest.approx(15_000 * 8 * less)
    for setting in ("train.reference_cache=off", "loss.lambda_anc=0", "train.steps=0"):
        assert plan.reference_cache(clip, override(config, setting))[0] == 0
    gpu = plan.GPUS["h100-80g"]
    (row,) = [x for x in plan.steps(config, gpu, 4, plan.paper_share()) if x.name == "reference"]
    assert row.disk == disk and row.hours is None


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["direct.plan", *arguments])
    return plan_command.main()


@pytest.mark.slow
def test_the_command_states_the_cost_and_what_does_not_fit(monkeypatch, capsys):
    assert run(monkeypatch, "--gpu", "h200-141g") == 0
    said = capsys.readouterr().out
    assert "13 GPU-hours" in said and "they are 800" in said and "gives up" not in said
    assert "DOES NOT FIT" not in said
    train = next(line for line in said.splitlines() if line.startswith("train "))
    assert "host GB" in said and train.split()[3] == "17.0", "12 bytes of 1.42 billion weights"
    full = ("--profile", "wan2.1-t2v-14b", "--set", "train.lora_rank=0", "--gpus", "1")
    assert run(monkeypatch, *full) == 1
    assert "train" in next(x for x in capsys.readouterr().out.splitlines() if "DOES NOT FIT" in x)


def _number(line, after):
    return float(line.split(after)[1].split(" ")[0].replace(",", ""))


@pytest.mark.slow
def test_points_of_a_guidance_sweep_are_priced_without_training(monkeypatch, capsys):
    """A point is the plan's own evaluation of a cell; without guidance it is half its passes."""
    assert run(monkeypatch, "--gpu", "h200-141g", "--cells", "2", "--points", "10") == 0
    lines = capsys.readouterr().out.splitlines()
    evaluate = float(next(x for x in lines if x.startswith("evaluate")).split()[1])
    judged = next(x for x in lines if x.startswith("a trained cell judged"))
    guided, alone = _number(judged, "gain: "), _number(judged, "GPU-hours, ")
    assert guided == evaluate and guided / 2 < alone < guided / 2 + 0.1
    total = _number(next(x for x in lines if x.startswith("2 cells")), ": ")
    again = _number(next(x for x in lines if "10 such points" in x), "at most ")
    assert again - total == pytest.approx(10 * guided, abs=0.6)


@pytest.mark.slow
def test_one_gpu_finishes_an_ablation_within_a_day(monkeypatch, capsys):
    assert run(monkeypatch, "--profile", "wan2.1-1gpu", "--gpu", "h100-80g") == 0
    said = capsys.readouterr().out
    hours = float(said.split("5 cells of one seed: ")[1].split(" ")[0])
    assert 0 < hours < 24 and "data.clips 500 (paper: 11299)" in said


@pytest.mark.slow
def test_another_family_is_planned(monkeypatch, capsys):
    assert run(monkeypatch, "--profile", "ltx-video") == 0
    said = capsys.readouterr().out
    assert "1.92 billion weights, 3,630 tokens a clip" in said and "DOES NOT FIT" not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpus", "0"], "--gpus 0 "),
        (["--gpus", "3"], "does not divide train.batch=8"),
        (
            ["--gpus", "3", "--set", "train.engine=fsdp", "--set", "train.context_parallel=2"],
            "--gpus 3 is not divided by train.context_parallel=2",
        ),
        (["--gpus", "8", "--set", "train.micro_batch=4"], "does not divide train.batch=8"),
        (["--profile", "wan2.1-1gpu", "--gpus", "8"], "the torch engine is for one"),
        (["--share", "-1"], "--share -1 is no share"),
        (["--share", "0"], "--share 0 is no share"),
        (["--cells", "-3"], "--cells -3 is no number"),
        (["--set", "model.frames=80"], "model.frames=80 must be a multiple of 4, plus one"),
        (["--set", "model.height=490"], "model.height=490 must be a multiple of 16"),
        (["--profile", "ltx-video", "--set", "model.height=16"], "must be a multiple of 32"),
    ],
)
def test_what_training_would_refuse_is_not_planned(monkeypatch, arguments, said):
    with pytest.raises(UserError, match=said):
        run(monkeypatch, *arguments)


@pytest.mark.slow
def test_fp32_is_twice_as_large_and_slow(pipeline_folder):
    settings = {"model.pipeline": str(pipeline_folder), "model.frames": 5}
    fp32 = with_values(profile("tiny"), settings)
    bf16 = override(fp32, "model.dtype=bfloat16")
    one, half = counted.count(fp32), counted.count(bf16)
    assert (one.item, half.item) == (4, 2) and one.hidden == 2 * half.hidden
    assert 1.2 * half.kept < one.kept < 2 * half.kept  # modulation is fp32 in both
    weights = [plan.training_memory(c, x, 1)["weights"] for c, x in ((one, fp32), (half, bf16))]
    assert weights == [4 * one.weights, 6 * one.weights]  # autocast's copy
    gpu = plan.GPUS["h100-80g"]
    slow, fast = (list(plan.steps(config, gpu, 1, 0.5))[-2].hours for config in (fp32, bf16))
    assert slow == pytest.approx(2 * fast)


@pytest.mark.slow
def test_a_folder_is_read_and_anything_else_is_one_sentence(monkeypatch, pipeline_folder):
    model = f"model.pipeline={pipeline_folder}"
    config = override(profile("tiny"), model, "model.frames=5")
    clip = counted.count(config)
    assert clip.latent == (4, 2, 8, 8) and clip.tokens == 32 and clip.hidden == 4 * 32 * 24
    with pytest.raises(UserError, match="download it"):
        run(monkeypatch, "--set", f"model.pipeline=someone/else@{'0' * 40}")
    with pytest.raises(UserError, match="h100-80g"):
        run(monkeypatch, "--gpu", "h100")
    with pytest.raises(UserError, match="does not divide"):
        run(monkeypatch, "--gpus", "3")


@pytest.mark.parametrize(("engine", "ranks"), [("torch", 1), ("deepspeed", 4), ("fsdp", 4)])
def test_every_engine_for_several_gpus_is_planned_for_four(engine, ranks):
    assert plan.ranks(override(profile("wan2.1-t2v-1.3b"), f"train.engine={engine}")) == ranks
