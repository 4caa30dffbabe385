"""Hard negatives: the base model's renderings, the same from any worker."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from direct_helpers import tensors_of

from direct import sampling
from direct.config import Run
from direct.models import pipeline as pipeline_module
from direct.models.families import wan
from direct.prepare import fill, shared
from direct.prepare.encode import texts


def test_hard_negative_is_the_base_models_rendering_of_its_prompt(small, tmp_path, pipeline_folder):
    config = small()
    data = shared.open_shared(Run(config, tmp_path))
    prompt = shared.drawn_prompts(config, data.hard_prompts)[0]
    base = pipeline_module.load_transformer(str(pipeline_folder))
    eps = sampling.initial_noise(0, [prompt], (4, 2, 4, 4), sampling.HARD)
    text = texts(Run(config, tmp_path), [prompt, ""])
    settings = config.hard_sample
    expected = sampling.sample(
        base, text([prompt]), text([""]), eps, settings, wan.velocity(None, None)
    )
    torch.testing.assert_close(data.hard([prompt]), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_workers_render_the_same(small, tmp_path, many_shards, monkeypatch):
    """A thread stands for the processes here: starting those takes as long as all other tests."""
    monkeypatch.setattr(fill, "SHARDS_PER_WORKER", 0)
    monkeypatch.setattr(fill, "ProcessPoolExecutor", lambda n, *_: ThreadPoolExecutor(1))
    config = pickle.loads(pickle.dumps(small(train__steps=2)))
    shared.build(Run(config, tmp_path / "one"))
    shared.build(Run(config, tmp_path / "two", workers=2))
    one, two = tensors_of(tmp_path / "one"), tensors_of(tmp_path / "two")
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
