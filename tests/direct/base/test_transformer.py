"""The miniature's transformer and its text encoder learn together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from direct.base import text, transformer


@pytest.mark.slow
def test_the_transformer_and_its_text_learn_together(tmp_path: Path):
    tokenizer = text.tokenizer()
    tokens = transformer.tokenize(tokenizer, ["a small red ball", "a large blue ball"], 8)
    model, encoder = transformer.build(0), text.encoder(len(tokenizer), 0)
    old = encoder.shared.weight.detach().clone()
    latents = torch.randn(2, 32, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    x, eps, t = latents[:1], torch.zeros(1, 32, 1, 4, 4), torch.tensor([0.5])

    def error():
        with torch.no_grad():
            states = transformer.encode(encoder, tokens[:1])
            v = model(0.5 * x, 1000 * t, states, return_dict=False)[0]
        return (v - (eps - x)).square().mean().item()

    first = error()
    averages = transformer.train(
        model,
        encoder,
        latents,
        tokens,
        steps=40,
        batch=4,
        rate=2e-3,
        shift=2.0,
        seed=0,
        out=tmp_path,
    )
    assert error() < 0.9 * first
    assert not torch.equal(old, encoder.shared.weight)
    assert not any(p.requires_grad for part in averages for p in part.parameters())
    assert (tmp_path / "transformer" / "diffusion_pytorch_model.safetensors").exists()
