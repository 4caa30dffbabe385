"""What a family does not know is refused, not left out: components, options, inputs."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

from direct.common.errors import UserError
from direct.config import Model
from direct.models import families, pipeline
from direct.models.families import wan

TWO_EXPERTS = {  # as Wan 2.2's model_index.json has them
    "transformer_2": ["diffusers", "WanTransformer3DModel"],
    "boundary_ratio": 0.875,
}


@pytest.fixture
def folder(pipeline_folder, tmp_path):
    """edited(file, entries): a copy of the small Wan pipeline whose JSON file has these too."""

    def edited(file, entries):
        path = tmp_path / "copy" / file
        shutil.copytree(pipeline_folder, tmp_path / "copy")
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))
        return str(tmp_path / "copy")

    return edited


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"of_its_own": True}, "WanPipeline with of_its_own=True"),
        ({"text_encoder_2": ["transformers", "CLIPTextModel"]}, "with text_encoder_2"),
    ],
)
def test_a_pipeline_with_more_than_its_family_knows_is_refused_everywhere(folder, entries, said):
    name = folder("model_index.json", entries)
    for ask in (
        pipeline.load_pipeline,
        pipeline.load_transformer,
        lambda name: pipeline.architecture(Model(pipeline=name), "vae"),
        lambda name: pipeline.velocity(Model(pipeline=name)),
    ):
        with pytest.raises(UserError, match=f"{said}.* would be left out; use a pipeline without"):
            ask(name)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"image_dim": 1280, "added_kv_proj_dim": 24}, "added_kv_proj_dim=24, image_dim=1280"),
        ({"in_channels": 9}, "in_channels=9 for 4 out"),
        ({"pooled_projection_dim": 16}, "pooled_projection_dim=16"),
        ({"vace_layers": [0], "new_option": None}, r"vace_layers=\[0\]"),
    ],
)
def test_a_transformer_with_inputs_that_it_would_not_get_is_refused(folder, entries, said):
    name = folder("transformer/config.json", entries)
    for ask in (
        lambda: pipeline.load_transformer(name),
        lambda: pipeline.load_transformer(f"{name}/transformer"),
        lambda: pipeline.architecture(Model(pipeline=name), "transformer"),
    ):
        with pytest.raises(UserError, match=f"is a WanTransformer3DModel with {said}, which"):
            ask()


def test_what_is_null_or_off_asks_for_nothing():
    index = {"_class_name": "WanPipeline", "_diffusers_version": "0.42.1", "vae": ["a", "b"]}
    off = {"transformer_2": [None, None], "boundary_ratio": None, "expand_timesteps": False}
    families.check_pipeline(index | off, "here")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"expand_timesteps": True}, "expand_timesteps=True"),
        (TWO_EXPERTS, "boundary_ratio=0.875, transformer_2"),
    ],
)
def test_what_wan_22_adds_is_known_to_wan_alone(entries, said):
    families.check_pipeline({"_class_name": "WanPipeline"} | entries, "here")
    with pytest.raises(UserError, match=f"is a LTXPipeline with {said}, which is not known"):
        families.check_pipeline({"_class_name": "LTXPipeline"} | entries, "here")


def test_two_experts_have_a_boundary_between_them():
    assert families.boundary({}, "here") is None
    assert families.boundary(TWO_EXPERTS, "here") == 0.875
    for half, said in (
        ({"transformer_2": [None, None]}, "boundary_ratio=0.875 without transformer_2"),
        ({"boundary_ratio": None}, "boundary_ratio=None and transformer_2"),
        ({"boundary_ratio": 1}, "boundary_ratio=1 and transformer_2"),
    ):
        index = {"_class_name": "WanPipeline"} | TWO_EXPERTS | half
        with pytest.raises(UserError, match=f"here has {said}; two experts need both"):
            families.check_pipeline(index, "here")


def test_a_plug_ins_family_may_know_more(monkeypatch):
    own = SimpleNamespace(**vars(wan) | {"PIPELINE": "Mine", "KNOWN": ("extra",)})
    entry = SimpleNamespace(function=lambda: own)
    monkeypatch.setattr(families, "entries", lambda kind: [entry])
    families.check_pipeline({"_class_name": "Mine", "extra": ["a", "b"]}, "here")
    with pytest.raises(UserError, match="is a Mine with other, which"):
        families.check_pipeline({"_class_name": "Mine", "other": ["a", "b"]}, "here")
    own.KNOWN, own.TRANSFORMER = ("image_dim",), "MyTransformer"
    own.CLASSES = {"MyTransformer": lambda image_dim, pooled_projection_dim: None}
    families.check_transformer({"_class_name": "MyTransformer", "image_dim": 8}, "here")
    with pytest.raises(UserError, match="is a MyTransformer with pooled_projection_dim=8"):
        asked = {"_class_name": "MyTransformer", "image_dim": 8, "pooled_projection_dim": 8}
        families.check_transformer(asked, "here")


def test_a_plug_ins_family_without_all_names_is_refused(plugged):
    plugged(
        "from types import SimpleNamespace\n\n\n@plugins.family\n"
        'def mine():\n    return SimpleNamespace(PIPELINE="MyPipeline", VAE="MyVae")\n'
    )
    with pytest.raises(UserError, match=r"the family mine has no TRANSFORMER, strides, .*; return"):
        families.of("MyPipeline")
