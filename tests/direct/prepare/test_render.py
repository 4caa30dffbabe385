"""Hard negatives: the base model's renderings, the same from any worker."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from direct_helpers import tensors_of

from direct import sampling
from direct.common.errors import UserError
from direct.config import Run
from direct.models import pipeline as pipeline_module
from direct.models.families import wan
from direct.prepare import fill, render, shared
from direct.prepare.encode import texts
from direct.train.batch import load_batch


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
    shared.build([Run(config, tmp_path / "one")])
    shared.build([Run(config, tmp_path / "two", workers=2)])
    one, two = tensors_of(tmp_path / "one"), tensors_of(tmp_path / "two")
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_a_cheaper_rendering_has_a_cache_of_its_own(small, tmp_path):
    """Also away from the small world, where the code is no part of the name."""
    names = {
        render.hard_store(Run(small(**values), tmp_path)).folder.name
        for values in (
            {},
            {"hard_sample__steps": 1},
            {"render__solver": "unipc"},
            {"render__cache": 0.2},
            {"render__frames": "half"},
        )
    }
    assert len(names) == 5
    mean = Run(small(loss__hard_negative="mean"), tmp_path)
    assert render.hard_store(mean).folder.name in names, "the mean is of the same latents"


def test_half_the_frames_are_stretched_between_their_own_latents(small, tmp_path, pipeline_folder):
    run = Run(small(model__frames=9, render__frames="half", train__steps=1), tmp_path)
    found = render.hard_negatives(run, ["a ball falls"])(["a ball falls"])
    short = Run(small(model__frames=5, train__steps=1), tmp_path)
    own = render.hard_negatives(short, ["a ball falls"])(["a ball falls"])
    assert found.shape[2] == 3 and own.shape[2] == 2
    torch.testing.assert_close(found[:, :, [0, 2]], own)
    torch.testing.assert_close(found[:, :, 1], own.mean(2))
    assert render.passes(run, []) == pytest.approx(render.passes(short, []) * 2 / 3)
    with pytest.raises(UserError, match=r"model.frames=5 are 2 latents .* of which half is no"):
        render.hard_negatives(Run(small(render__frames="half"), tmp_path), ["a ball falls"])


def test_a_cached_rendering_is_the_prompts_own_and_says_what_it_computed(small, tmp_path):
    prompts = ["a ball falls", "a ball rises", "water is poured"]
    config = small(render__cache=0.9, hard_sample__steps=6, train__steps=1)
    all_run, one_run = Run(config, tmp_path / "all"), Run(config, tmp_path / "one")
    together = render.hard_negatives(all_run, prompts)(prompts)
    alone = render.hard_negatives(one_run, prompts[2:])(prompts[2:])
    assert torch.equal(together[2:], alone)
    assert render.passes(all_run, prompts[2:]) == render.passes(one_run, prompts[2:])
    assert 0 < render.passes(all_run, prompts) < 12, "some of 6 guided steps are spared"
    with pytest.raises(UserError, match="does not say what every hard negative has cost"):
        render.passes(one_run, prompts)


def test_mean_of_the_kept_negatives_is_what_is_contrasted(small, tmp_path):
    config = small(loss__hard_negative="mean", train__prompt_dropout=0.0)
    data = shared.open_shared(Run(config, tmp_path))
    chosen, _, slot = shared.negatives_of(config, 0, np.array([len(p) for p in data.hard_prompts]))
    assert (slot >= 0).all() and max(len(p) for p in data.hard_prompts) > 1
    batch = load_batch(config, data, 0)
    expected = torch.stack([data.hard(data.hard_prompts[i]).mean(0) for i in chosen])
    torch.testing.assert_close(batch.x_hard.cpu(), expected)
