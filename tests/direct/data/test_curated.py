"""Curated clips in training: each stage's output changes when its input does, and only then."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rehearsal
import torch

from direct.common.errors import UserError
from direct.config import Run
from direct.data import curated, source, video, wisa
from direct.identity import identity
from direct.models import codec
from direct.models.pipeline import load_pipeline
from direct.prepare import encode, perturb, shared
from direct.profiles import profile
from direct.settings import override
from direct.train.batch import load_batch

pytestmark = pytest.mark.slow  # all of them need the place with everything made
CLIPS = 6
SMALL = {
    "data.clips": CLIPS,
    "macro.restarts": 1,
    "macro.clusters": 2,
    "train.steps": 3,
    "macro.exclude_same_law": "false",
    "micro.candidates": 2,
    "micro.min_cosine": -1,
    "hard_sample.steps": 2,
    "evaluate.prompts": 2,
}


def configured(pipeline, **more):
    options = [part for part in rehearsal.settings(pipeline) if part != "--set"]
    values = dict(part.split("=", 1) for part in options) | SMALL | more
    return override(profile(rehearsal.PROFILE), *(f"{name}={x}" for name, x in values.items()))


class Place:
    """A folder with WISA's files and everything that is made from them."""

    def __init__(self, folder: Path, config):
        self.folder, self.config = folder, config
        self.cache = folder / "cache" / config.profile
        self.metadata = folder / "wisa" / "data" / "wisa-80k.json"

    def make(self, word="quickly"):
        """curate, encode, perturb, render; the model appends `word` to a caption."""
        wisa.curate(self.folder / "wisa", curated.home(self.cache))
        clips = source.training(Run(self.config, self.cache))

        def ask(texts, seed):
            captions = [text.split("ORIGINAL: ")[1].split("\n")[0] for text in texts]
            return [(f"{caption} {word} {n % 3}", True) for n, caption in enumerate(captions)]

        perturb.perturb(
            [(clip.id, clip.prompt) for clip in clips],
            curated.perturbed(Run(self.config, self.cache)),
            self.config.micro,
            {word: ask},
            lambda prompts: encode.pool_once(self.config, prompts),
            model=word,
        )
        return self.state()

    def state(self):
        """What each stage made for the clips, as far as training reads it."""
        config = source.pinned(Run(self.config, self.cache))
        data = shared.open_shared(Run(config, self.cache))
        every = np.arange(len(data.samples))
        drawn = shared.drawn_prompts(config, data.hard_prompts)
        batch = load_batch(config, data, 0)
        return {
            "manifest": (curated.home(self.cache) / "manifest.jsonl").read_bytes(),
            "latents": list(map(hashed, data.latents(every))),
            "text": list(map(hashed, data.text([clip.prompt for clip in data.samples]))),
            "kept": data.hard_prompts,
            "hard": list(map(hashed, data.hard(drawn))),
            "batch": [hashed(t) for t in (batch.x, batch.text, batch.x_rand, batch.x_hard)],
            "cell": identity(config),
        }

    def edit(self, change):
        entries = json.loads(self.metadata.read_text())
        change(entries)
        self.metadata.write_text(json.dumps(entries))


def hashed(tensor):
    return hashlib.sha256(tensor.float().numpy().tobytes()).hexdigest()


@pytest.fixture(scope="module")
def made(tmp_path_factory, pipeline_folder):
    """One place with everything made, and what its stages gave."""
    folder = tmp_path_factory.mktemp("scale")
    rehearsal.wisa_folder(folder / "wisa")
    place = Place(folder, configured(pipeline_folder))
    place.edit(lambda entries: entries.__delitem__(slice(CLIPS, None)))
    return place, place.make()


@pytest.fixture
def place(made, tmp_path):
    """A copy to change, and what it gave before; its videos are still read from their first place
    until it is curated again."""
    shutil.copytree(made[0].folder, tmp_path / "copy")
    return Place(tmp_path / "copy", made[0].config), made[1]


def differs(before, after):
    return {name for name in before if before[name] != after[name]}


def test_training_reads_the_files_pixels_and_the_base_models_negatives(made, pipeline_folder):
    place, before = made
    assert len(set(before["latents"])) == len(set(before["text"])) == CLIPS
    assert len(set(before["hard"])) == len(before["hard"]) > 0
    data = shared.open_shared(Run(place.config, place.cache))
    line = data.samples[2].record
    shown = video.read_frames(
        place.folder / "wisa" / line["video"], wisa.subsample(line["frames"])[:5], 16, 16
    )
    pipeline = load_pipeline(str(pipeline_folder), dtype=torch.bfloat16)
    expected = codec.encode_videos(pipeline, shown[None])[0].bfloat16().float()
    assert torch.equal(data.latents([2])[0], expected)
    assert {clip.law for clip in data.samples} == {"rigid body motion", "liquid motion"}


def test_nothing_changes_where_nothing_was_changed(place):
    there, before = place
    assert there.make() == before


def test_another_video_changes_its_latents_and_the_cell(place):
    there, before = place
    path = there.folder / "wisa" / "data" / "videos" / "0" / "clip02.mp4"
    video.write_video(path, rehearsal.moving_ball(90, 18, 32, (9, 200, 200), 5))
    with pytest.raises(UserError, match=r"1 of 6 could not be made.*curate again"):
        (there.cache / "latents").rename(there.folder / "gone")
        curated_elsewhere(there)
        there.state()
    after = there.make()
    assert differs(before, after) <= {"manifest", "latents", "batch", "cell"}
    assert {"manifest", "latents", "cell"} <= differs(before, after)
    assert sum(a != b for a, b in zip(before["latents"], after["latents"], strict=True)) == 1


def curated_elsewhere(there):
    """Makes the copy's report name the copy's own videos."""
    path = curated.home(there.cache) / "report.json"
    report = json.loads(path.read_text()) | {"folder": str(there.folder / "wisa")}
    path.write_text(json.dumps(report))


def test_another_caption_changes_text_and_negatives_and_has_to_be_perturbed(place):
    there, before = place
    there.edit(lambda entries: entries[1].update(captions="a large blue box slides over the wall"))
    wisa.curate(there.folder / "wisa", curated.home(there.cache))
    with pytest.raises(UserError, match=r"present caption; run: .* perturb"):
        there.state()
    after = there.make()
    assert differs(before, after) >= {"manifest", "text", "kept", "cell"}
    assert after["latents"] == before["latents"]


def test_another_language_model_changes_the_hard_negatives_alone(place):
    there, before = place
    planned = source.pinned(Run(there.config, there.cache))
    shutil.rmtree(curated.home(there.cache) / "perturbed")
    after = there.make("gently")
    assert differs(before, after) >= {"kept", "hard", "cell"}
    assert differs(before, after) <= {"kept", "hard", "cell", "batch"}
    again = source.pinned(Run(there.config, there.cache))  # MaNS alone is the same cell as before
    assert again.data == planned.data and again.micro.content != planned.micro.content


def test_other_weights_of_the_base_change_everything_but_the_clips(place, pipeline_folder):
    there, before = place
    other = there.folder / "pipeline"
    shutil.copytree(pipeline_folder, other)
    for part in ("transformer", "vae", "text_encoder"):
        (file,) = (other / part).glob("*.safetensors")
        from safetensors.torch import load_file, save_file

        save_file({k: v * 1.25 for k, v in load_file(file).items()}, file, {"format": "pt"})
    there.config = configured(other)
    after = there.make()
    assert differs(before, after) == {"latents", "text", "hard", "batch", "cell"}


def test_a_cell_does_not_run_on_other_clips_than_it_was_planned_with(place):
    there, _ = place
    pinned = source.pinned(Run(there.config, there.cache))
    assert pinned.data.content and pinned.micro.content
    there.edit(lambda entries: entries[0].update(label="explosion"))
    wisa.curate(there.folder / "wisa", curated.home(there.cache))
    with pytest.raises(UserError, match=f"data.content={pinned.data.content} is not what"):
        shared.open_shared(Run(pinned, there.cache))


def test_a_subset_is_part_of_each_larger_one(made):
    place, _ = made
    ids = [
        [
            clip.id
            for clip in source.training(
                Run(override(place.config, f"data.clips={n}", "macro.clusters=2"), place.cache)
            )
        ]
        for n in (2, 4, 6)
    ]
    assert ids[0] == ids[1][:2] and ids[1] == ids[2][:4] and ids[2] != sorted(ids[2])
    with pytest.raises(UserError, match=r"data.clips=7, but .* has 6 clips"):
        source.training(Run(override(place.config, "data.clips=7"), place.cache))


def test_what_is_missing_is_named_with_the_step_that_makes_it(place):
    there, _ = place
    shutil.rmtree(curated.home(there.cache) / "perturbed")
    with pytest.raises(UserError, match=r"run: python -m direct.prepare perturb"):
        shared.open_shared(Run(there.config, there.cache))
    manifest = curated.home(there.cache) / "manifest.jsonl"
    manifest.write_text(manifest.read_text()[:-9])
    with pytest.raises(UserError, match="is damaged"):
        source.training(Run(there.config, there.cache))
    manifest.unlink()
    with pytest.raises(UserError, match=r"run: python -m direct.prepare curate"):
        source.training(Run(there.config, there.cache))
    assert source.pinned(Run(there.config, there.cache)) == there.config
