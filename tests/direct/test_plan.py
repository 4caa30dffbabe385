"""The planner's numbers against formulas, the real classes on a CPU and what is published."""

from __future__ import annotations

import sys

import pytest
import torch

from direct.common.errors import UserError
from direct.measure import counted, plan
from direct.models import pipeline
from direct.profiles import profile
from direct.settings import override, with_values


def test_the_published_transformers():
    """Wan 2.1's 1.42 and 14.3, LTX-Video's 1.92 billion weights; their clips' tokens."""
    wan, large, ltx = (
        counted.count(profile(name)) for name in ("wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "ltx-video")
    )
    assert wan.weights == wan.trained == 1_418_996_800
    assert large.weights == 14_288_491_584 and large.trained == 40 * 2 * 4 * 32 * 2 * 5120  # LoRA
    assert ltx.weights == 1_923_385_472
    assert wan.latent == large.latent == (16, 21, 60, 104) and wan.tokens == 32_760
    assert ltx.latent == (128, 11, 15, 22) and ltx.tokens == 11 * 15 * 22


def test_flops_by_hand():
    """Of Wan's block: 12 n d^2 for attentions, their scores, the feed-forward's 4 n d f."""
    clip = counted.count(profile("wan2.1-t2v-1.3b"))
    n, m, d, f = 32_760, 512, 1536, 8960
    scores = 30 * (4 * n**2 * d + 4 * n * m * d)
    assert clip.attention == scores
    linear = 30 * (12 * n * d**2 + 4 * m * d**2 + 4 * n * d * f)
    assert linear < clip.linear < 1.001 * linear  # the embedders, too
    assert clip.forward / 85 / 989e12 * 100 == pytest.approx(0.34, abs=0.005)  # with 50 steps x 2


def test_what_a_block_keeps_by_hand():
    """Per token of Wan's block, counted once on a CPU: 68 d + 4 f + 132 bytes in bf16."""
    clip = counted.count(profile("wan2.1-t2v-1.3b"))
    block = 32_760 * (68 * 1536 + 4 * 8960 + 132)
    assert clip.kept / 30 == pytest.approx(block, rel=0.01)
    assert clip.widest == 2 * 32_760 * 8960 and clip.hidden == 2 * 32_760 * 1536
    assert 30 * clip.hidden < clip.checkpointed < 36 * clip.hidden


@pytest.mark.parametrize("rank", [0, 2])
def test_what_is_kept_is_what_a_real_pass_keeps(pipeline_folder, rank):
    """The same hooks around a pass with data, of a model with weights and a real adapter."""
    from direct.models import lora

    values = {
        "model.pipeline": str(pipeline_folder),
        "model.frames": 5,
        "train.lora_rank": rank,
        "model.dtype": "bfloat16",
    }
    config = with_values(profile("tiny"), values)
    clip = counted.count(config)
    transformer = pipeline.load_transformer(pipeline_folder, torch.bfloat16).train()
    transformer.requires_grad_(True)
    if rank:
        lora.add(transformer, config)
    trained = sum(p.numel() for p in transformer.parameters() if p.requires_grad)
    assert clip.trained == trained
    x = torch.randn(1, *clip.latent).bfloat16()
    text = torch.randn(1, config.model.text_length, clip.text_dim).bfloat16()
    inputs = (transformer, x, torch.ones(1), text)
    linear, attention, kept = counted.forward(pipeline.velocity(config.model), inputs)
    assert clip.attention == attention
    adapter = 2 * trained * clip.tokens if rank else 0  # left out: an adapter is small beside dim
    assert clip.linear <= linear <= clip.linear + 1.5 * adapter
    assert clip.kept == pytest.approx(sum(kept), rel=0.1 if rank else 0.02)


def test_draws_are_those_of_the_sampler():
    from direct.prepare import shared

    config = with_values(profile("wan2.1-1gpu"), {"data.clips": 300, "train.steps": 130})
    kept = [[f"{clip} {slot}" for slot in range(3)] for clip in range(300)]
    real = len(shared.drawn_prompts(config, kept))
    assert 300 < real < 900 and plan.drawn(config) == pytest.approx(real, rel=0.04)


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


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["direct.plan", *arguments])
    return plan.main()


def test_the_command_states_the_cost_and_what_does_not_fit(monkeypatch, capsys):
    assert run(monkeypatch, "--gpu", "h200-141g") == 0
    said = capsys.readouterr().out
    assert "13 GPU-hours" in said and "they are 800" in said and "gives up" not in said
    assert "DOES NOT FIT" not in said
    full = ("--profile", "wan2.1-t2v-14b", "--set", "train.lora_rank=0", "--gpus", "1")
    assert run(monkeypatch, *full) == 1
    assert "train" in next(x for x in capsys.readouterr().out.splitlines() if "DOES NOT FIT" in x)


def test_one_gpu_finishes_an_ablation_within_a_day(monkeypatch, capsys):
    assert run(monkeypatch, "--profile", "wan2.1-1gpu", "--gpu", "h100-80g") == 0
    said = capsys.readouterr().out
    hours = float(said.split("5 cells of one seed: ")[1].split(" ")[0])
    assert 0 < hours < 24 and "data.clips 500 (paper: 11299)" in said


def test_another_family_is_planned(monkeypatch, capsys):
    assert run(monkeypatch, "--profile", "ltx-video") == 0
    said = capsys.readouterr().out
    assert "1.92 billion weights, 3,630 tokens a clip" in said and "DOES NOT FIT" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpus", "0"], "--gpus 0 "),
        (["--gpus", "3"], "does not divide train.batch=8"),
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


def test_a_transformers_own_folder_is_no_pipeline(pipeline_folder):
    config = override(profile("tiny"), f"model.pipeline={pipeline_folder}/transformer")
    with pytest.raises(UserError, match="has no vae; give a whole pipeline's folder"):
        counted.count(config)


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
