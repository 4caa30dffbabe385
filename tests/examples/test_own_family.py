"""A family of one's own: its pipeline is loaded by its own class, and its velocity is used."""

from __future__ import annotations

import pytest
from outside import EXAMPLES, run

CODE = """
import sys, torch
from direct import plugins
from direct.config import Model
from direct.identity import canonical
from direct.models import pipeline
from direct.plugins import carried
from direct.profiles import profile
from direct.settings import with_values

plugins.load(sys.argv[1]).save("own")
model = profile("tiny").model
own = with_values(profile("tiny"), {"model.pipeline": "own"})
print(type(pipeline.load_pipeline("own")).__name__)
print([name for _, name, _ in carried.contents(canonical(own).plugins)])
g = torch.Generator().manual_seed(0)
inputs = torch.randn(1, 16, 5, 4, 4, generator=g), torch.rand(1, generator=g)
with torch.no_grad():
    found = []
    for name, config in (("tiny", model), ("own", own.model)):
        transformer = pipeline.load_transformer(name)
        x = inputs[0][:, : transformer.config.in_channels]
        x = x.repeat(1, -(-transformer.config.in_channels // 16), 1, 1, 1)
        text = torch.ones(1, 3, transformer.config.text_dim)
        found.append(pipeline.velocity(config)(transformer, x, inputs[1], text))
print(torch.allclose(*found, atol=1e-5), found[0].abs().max().item() > 0)
"""


@pytest.mark.slow
def test_a_pipeline_of_the_family_is_loaded_and_asked_for_its_velocity(tmp_path):
    lines = run(tmp_path, "-c", CODE, str(EXAMPLES / "own_family.py")).splitlines()
    assert lines[-3:] == ["BackwardPipeline", "['backward']", "True True"]
