"""Adapters by peft: W + (alpha / rank) B A, against that product written out."""

from __future__ import annotations

import pytest
import torch

from direct.models import lora, pipeline
from direct.settings import with_values


@pytest.fixture
def model(small):
    return pipeline.load_transformer(small().model.pipeline)


@pytest.fixture
def config(small):
    return small(train__lora_rank=2, train__lora_alpha=6)


def inputs(model):
    generator = torch.manual_seed(0)
    x = torch.randn(1, 4, 2, 4, 4, generator=generator)
    text = torch.randn(1, 12, model.config.text_dim, generator=generator)
    return x, torch.tensor([300.0]), text


def factors(model):
    """{module: (A, B)} of the adapter."""
    found = {}
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            module, _, rest = name.partition(".lora_")
            found.setdefault(module, {})[rest[0]] = parameter
    return {name: (pair["A"], pair["B"]) for name, pair in found.items()}


def spoil(model):
    """Gives B, which starts at zero, other values."""
    with torch.no_grad():
        for _, b in factors(model).values():
            b.normal_(std=0.1, generator=torch.manual_seed(1))


def test_a_new_adapter_changes_nothing_and_is_alone_trained(model, config):
    before = model(*inputs(model), return_dict=False)[0]
    lora.add(model, config)
    assert torch.equal(model(*inputs(model), return_dict=False)[0], before)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    places = {name.removesuffix(".0").rpartition(".")[2] for name in factors(model)}
    assert places == {"to_q", "to_k", "to_v", "to_out"}
    assert all(a.shape[0] == b.shape[1] == 2 for a, b in factors(model).values())


def test_it_is_drawn_from_the_seed_and_leaves_the_generator_alone(small, config):
    def drawn(config):
        model = pipeline.load_transformer(config.model.pipeline)
        torch.manual_seed(5)
        expected = torch.get_rng_state()
        lora.add(model, config)
        assert torch.equal(torch.get_rng_state(), expected)
        return torch.cat([a.detach().flatten() for a, _ in factors(model).values()])

    first = drawn(config)
    assert torch.equal(first, drawn(config))
    assert not torch.equal(first, drawn(with_values(config, {"seed": 1})))


def test_merged_weights_are_w_plus_alpha_over_rank_b_a(model, config):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    lora.add(model, config)
    spoil(model)
    adapted = model(*inputs(model), return_dict=False)[0].detach()
    expected = dict(before)
    for module, (a, b) in factors(model).items():
        expected[f"{module}.weight"] = before[f"{module}.weight"] + 6 / 2 * (b @ a).detach()
    lora.merge(model)
    merged = dict(model.named_parameters())
    assert merged.keys() == before.keys()
    for name, weight in merged.items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        model(*inputs(model), return_dict=False)[0], adapted, rtol=1e-4, atol=1e-5
    )


def test_the_reference_is_the_base_and_switches_the_adapter_on_again(model, config):
    base = model(*inputs(model), return_dict=False)[0].detach()
    lora.add(model, config)
    spoil(model)
    adapted = model(*inputs(model), return_dict=False)[0]
    assert not torch.allclose(adapted, base, atol=1e-4)
    reference = lora.reference(model)
    assert torch.equal(reference(*inputs(model), return_dict=False)[0], base)
    with pytest.raises(TypeError):
        reference()
    assert torch.equal(model(*inputs(model), return_dict=False)[0], adapted)


def test_a_saved_adapter_is_what_diffusers_loads(model, config, tmp_path, pipeline_folder):
    from diffusers import WanPipeline

    lora.add(model, config)
    spoil(model)
    lora.save_adapter(model, tmp_path)
    loaded = WanPipeline.from_pretrained(pipeline_folder)
    loaded.load_lora_weights(tmp_path)
    torch.testing.assert_close(
        loaded.transformer(*inputs(model), return_dict=False)[0],
        model(*inputs(model), return_dict=False)[0],
        rtol=1e-5,
        atol=1e-6,
    )
