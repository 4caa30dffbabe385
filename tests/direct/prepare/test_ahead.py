"""What is counted ahead is what is made: held to the stores' own contents."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from direct_helpers import Killed, tensors_of

from direct.config import Run
from direct.prepare import shared
from direct.prepare.ahead import ahead


class Made:
    """Counts the items that `build` reports, by stage."""

    def __init__(self):
        self.items, self.last = {}, {}

    def __call__(self, stage, done, total):
        before = self.last.get(stage, 0)
        self.items[stage] = self.items.get(stage, 0) + (done - before if done > before else done)
        self.last[stage] = 0 if done == total else done


@pytest.mark.slow
def test_what_is_counted_ahead_is_made_and_then_nothing_is_left(small, tmp_path):
    made = Made()
    configs = [replace(small(train__steps=2), seed=seed) for seed in (0, 1)]
    runs = [Run(config, tmp_path, progress=made) for config in configs]
    counted = ahead(runs)
    shared.build(runs)
    del made.items["partition"]  # a single k-means
    assert counted["latents"] == made.items["latents"] == len(tensors_of(tmp_path / "latents"))
    assert counted["perturb"] == made.items["perturb"] > 0
    # How many perturbed prompts a clip keeps is not known before they are encoded.
    rendered = made.items["render"]
    assert rendered == len(tensors_of(tmp_path / "hard"))
    assert rendered <= counted["render"] <= 3 * rendered
    assert counted["text"] - counted["render"] == made.items["text"] - rendered
    assert ahead(runs) == {}
    shutil.rmtree(tmp_path / "hard")
    assert ahead(runs) == {"render": rendered}


@pytest.mark.slow
def test_after_a_kill_what_is_left_is_counted(small, tmp_path, many_shards):
    config = small()

    def kill(stage, done, total):
        if (stage, done) == ("render", 4):
            raise Killed

    with pytest.raises(Killed):
        shared.build([Run(config, tmp_path, progress=kill)])
    there, counted = len(tensors_of(tmp_path / "hard")), ahead([Run(config, tmp_path)])
    shared.build([Run(config, tmp_path)])
    assert there and counted == {"render": len(tensors_of(tmp_path / "hard")) - there}


def test_without_training_prompts_alone_are_counted_and_a_cost_needs_nothing(small, tmp_path):
    zero_shot = small(train__steps=0)
    texts = shared.judged_texts(zero_shot)
    assert ahead([Run(zero_shot, tmp_path)]) == {"text": len(set(texts))}
    assert ahead([Run(small(measure__kind="cost"), tmp_path)]) == {}
