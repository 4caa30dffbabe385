"""Published architectures against what the profiles and diffusers' classes say."""

from __future__ import annotations

import json

import diffusers
import pytest

from direct.measure.published import PIPELINES, in_folder
from direct.models import families, pipeline
from direct.profiles import PROFILES, profile
from direct.settings import with_values


def test_every_profile_on_the_hub_has_its_architecture_here():
    hub = {profile(name).model.pipeline.partition("@")[0] for name in PROFILES} - {"tiny"}
    assert hub == set(PIPELINES)


@pytest.mark.parametrize("hub_id", PIPELINES)
def test_a_folder_is_read_as_a_pipeline_of_its_family(hub_id, tmp_path):
    config = with_values(profile("tiny"), {"model.pipeline": f"{hub_id}@{'0' * 40}"})
    there = in_folder(config, tmp_path).model
    family = families.of(PIPELINES[hub_id]["model_index.json"]["_class_name"])
    kind, settings = pipeline.architecture(there, "transformer")
    assert kind is getattr(diffusers, family.TRANSFORMER)
    written = json.loads((tmp_path / "pipeline/transformer/config.json").read_text())
    assert settings.items() >= written.items()
    assert family.strides(pipeline.architecture(there, "vae")[1]) in ((4, 8), (4, 16), (8, 32))


def test_widths_are_those_of_the_papers_tables():
    """Wan 2.1's report, table 2: 1536 x 12 heads x 30 layers and 5120 x 40 x 40."""
    for size, (dim, heads, layers, ffn) in {
        "1.3B": (1536, 12, 30, 8960),
        "14B": (5120, 40, 40, 13824),
    }.items():
        found = PIPELINES[f"Wan-AI/Wan2.1-T2V-{size}-Diffusers"]["transformer/config.json"]
        assert found["num_attention_heads"] * found["attention_head_dim"] == dim
        assert (found["num_attention_heads"], found["num_layers"]) == (heads, layers)
        assert found["ffn_dim"] == ffn


def test_wan_22_has_two_experts_of_one_architecture_or_one_of_3072():
    """Its authors' wan_t2v_A14B.py and wan_ti2v_5B.py."""
    two = PIPELINES["Wan-AI/Wan2.2-T2V-A14B-Diffusers"]
    assert two["transformer/config.json"] == two["transformer_2/config.json"]
    assert families.boundary(two["model_index.json"], "here") == 0.875
    one = PIPELINES["Wan-AI/Wan2.2-TI2V-5B-Diffusers"]["transformer/config.json"]
    assert one["num_attention_heads"] * one["attention_head_dim"] == 3072
    assert (one["num_layers"], one["ffn_dim"], one["in_channels"]) == (30, 14336, 48)


def test_any_other_pipeline_stays_as_it_is(tmp_path):
    config = profile("tiny")
    assert in_folder(config, tmp_path) is config and not list(tmp_path.iterdir())
