"""What a step reads: a pure function of (seed, step, place in the global batch)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from direct import noise
from direct.common.errors import UserError
from direct.config import Run
from direct.plugins import carried
from direct.prepare import shared
from direct.settings import with_values
from direct.train.batch import load_batch, load_passes


@pytest.mark.slow
def test_batch_is_a_pure_function_of_the_step_and_variants_share_it(small, tmp_path):
    config = small(train__prompt_dropout=0.4)
    data = shared.open_shared(Run(config, tmp_path))
    a, b = load_batch(config, data, 3), load_batch(config, data, 3)
    assert all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("x", "t", "text", "x_hard")
    )
    other = small(train__prompt_dropout=0.4, loss__lambda_hard=0.1, macro__sampling="uniform")
    c = load_batch(other, shared.open_shared(Run(other, tmp_path)), 3)
    assert torch.equal(a.x, c.x) and torch.equal(a.t, c.t) and torch.equal(a.key, c.key)
    assert torch.equal(a.x_hard, c.x_hard) and torch.equal(a.text, c.text)
    assert not torch.equal(load_batch(config, data, 4).x, a.x)


@pytest.mark.slow
def test_dropped_prompts_are_empty_and_not_contrasted(small, tmp_path):
    config = small(train__prompt_dropout=0.5, train__batch=8)
    data = shared.open_shared(Run(config, tmp_path))
    empty, seen = data.text([""])[0], 0
    for step in range(4):
        batch = load_batch(config, data, step)
        dropped = torch.tensor([torch.equal(text, empty) for text in batch.text])
        assert torch.equal(batch.weight[:, 1] == 0, dropped)
        assert (batch.weight[dropped, 2] == 0).all()
        assert (batch.weight[:, [0, 3]] == 1).all()
        seen += int(dropped.sum())
    assert 0 < seen < 32


@pytest.mark.slow
def test_clip_without_kept_negatives_is_not_contrasted_on_that_term(small, tmp_path):
    config = small(train__prompt_dropout=0.0)
    data = shared.open_shared(Run(config, tmp_path))
    bare = replace(data, hard_prompts=[[] if i % 2 else p for i, p in enumerate(data.hard_prompts)])
    chosen, _, slot = shared.negatives_of(config, 0, np.array([len(p) for p in bare.hard_prompts]))
    batch = load_batch(config, bare, 0)
    assert batch.weight[:, 2].tolist() == [float(i % 2 == 0) for i in chosen]
    assert batch.weight[:, 1].tolist() == [1.0] * 4
    assert (batch.x_hard[torch.from_numpy(slot < 0)] == 0).all()


@pytest.mark.slow
def test_in_batch_negatives_are_other_samples_with_their_own_noise(small, tmp_path):
    config = small(macro__sampling="batch")
    batch = load_batch(config, shared.open_shared(Run(config, tmp_path)), 0)
    eps = noise.normal(batch.key, batch.x.shape)
    for b in range(4):
        others = [o for o in range(4) if o != b and torch.equal(batch.x[o], batch.x_rand[b])]
        assert any(torch.equal(eps[o], batch.eps_rand[b]) for o in others)


@pytest.mark.slow
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


@pytest.mark.slow
def test_passes_are_the_batch_cut_in_order(small, tmp_path):
    config = small(train__micro_batch=1)
    data = shared.open_shared(Run(config, tmp_path))
    whole, passes = load_batch(config, data, 1), load_passes(config, data, 1)
    assert [len(part.x) for part in passes] == [1, 1, 1, 1]
    for name in ("x", "t", "key", "text", "x_rand", "x_hard", "weight"):
        assert torch.equal(
            torch.cat([getattr(part, name) for part in passes]), getattr(whole, name)
        )


def test_terms_that_are_off_have_no_tensors(small, tmp_path):
    config = small(loss__lambda_rand=0.0, loss__lambda_hard=0.0)
    batch = load_batch(config, shared.open_shared(Run(config, tmp_path)), 0)
    assert batch.x_rand is batch.eps_rand is batch.x_hard is None
    assert batch.x.shape == (4, 4, 2, 4, 4) and batch.weight.shape == (4, 4)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["partition", "uniform", "batch"])
def test_other_draws_of_the_negatives_change_nothing_else(small, tmp_path, sampling):
    config = small(macro__sampling=sampling)
    data = shared.open_shared(Run(config, tmp_path))
    again = replace(config, macro=replace(config.macro, seed=1))
    differs = False
    for step in range(3):
        one, other = load_batch(config, data, step), load_batch(again, data, step)
        for name in ("x", "t", "text", "key", "weight", "x_hard"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        differs |= not torch.equal(one.x_rand, other.x_rand)
    assert differs


SAMPLER = """
@plugins.sampler
def next_one(z, labels, laws, *, by: int = 1):
    assert z.shape[0] == len(labels) == len(laws) == 12 and z.ndim == 2
    return lambda samples, u: (samples + by) % 12 if by < 12 else samples + by
"""


@pytest.mark.slow
def test_a_plug_in_draws_negatives(small, tmp_path, plugged):
    plugged(SAMPLER)
    config = replace(small(loss__lambda_hard=0.0), plugins=carried.at_hand())
    config = with_values(config, {"macro.sampling": "next_one", "next_one.by": 3})
    data = shared.open_shared(Run(config, tmp_path))
    batch, (chosen, _, _) = (
        load_batch(config, data, 2),
        shared.negatives_of(config, 2, np.zeros(12)),
    )
    assert torch.equal(batch.x_rand, data.latents((chosen + 3) % 12))
    wrong = with_values(config, {"next_one.by": 12})
    data = shared.open_shared(Run(wrong, tmp_path))
    with pytest.raises(UserError, match=r"next_one drew \d+ .. \d+; .* \[4\] in 0 .. 11"):
        load_batch(wrong, data, 2)
