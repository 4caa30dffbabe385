"""Corpora: disjoint prompts, stated shares, pure functions of the seed."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import pytest

from direct.common.errors import UserError
from direct.world import corpus
from direct.world.corpus import IMPOSSIBLE_SHARE, MISCAPTIONED_SHARE
from direct.world.record import SCENES


@pytest.mark.slow
def test_prompts_of_the_corpora_are_disjoint():
    prompts = {
        split: {clip.caption for clip in corpus(split, 300)}
        for split in ("evaluation", "validation", "post_training", "pretraining")
    }
    trained = prompts["post_training"] | prompts["pretraining"]
    assert len(prompts["evaluation"]) == len(prompts["validation"]) == 300
    assert not prompts["evaluation"] & (prompts["validation"] | trained)
    assert not prompts["validation"] & trained


def test_a_corpus_is_a_function_of_its_seed_and_grows_at_its_end():
    some, more = corpus("pretraining", 20), corpus("pretraining", 40)
    for a, b in zip(some, more, strict=False):
        assert (a.id, a.caption, a.kind) == (b.id, b.caption, b.kind)
        assert (a.video() == b.video()).all()
    assert [clip.caption for clip in corpus("pretraining", 20, seed=1)] != [c.caption for c in some]


def test_every_scene_occurs_and_is_shown_in_full():
    clips = corpus("post_training", 300)
    assert {clip.record.scene for clip in clips} == set(SCENES)
    assert all(clip.kind == "right" for clip in clips)
    video = clips[0].video()
    assert video.shape == (17, 32, 32, 3) and video.dtype == np.uint8


@pytest.mark.slow
def test_the_pretraining_corpus_is_flawed_in_the_stated_shares():
    kinds = [clip.kind for clip in corpus("pretraining", 3000)]
    for kind, share in (("impossible", IMPOSSIBLE_SHARE), ("miscaptioned", MISCAPTIONED_SHARE)):
        error = 4 * np.sqrt(share * (1 - share) / len(kinds))
        assert kinds.count(kind) / len(kinds) == pytest.approx(share, abs=error)


def test_an_unknown_split_names_the_nearest():
    with pytest.raises(UserError, match="evaluation"):
        corpus("evalution", 1)


def test_more_prompts_than_the_world_has_are_refused(monkeypatch):
    monkeypatch.setattr(sys.modules["direct.world.corpus"], "PATIENCE", 100)
    with pytest.raises(UserError, match="5000 evaluation prompts asked for"):
        corpus("evaluation", 5000)


@pytest.mark.slow
def test_the_corpus_that_trained_the_base_keeps_its_order_of_draws():
    clips = corpus("pretraining", 1000)
    text = "\n".join(f"{clip.caption} {clip.kind}" for clip in clips)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "503c535eae487358"
