"""A clip of a finished run: written as asked, the same twice, refused in one sentence."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from direct import generate
from direct.common.errors import UserError
from direct.common.files import write_json
from direct.data.video import probe
from direct.models.pipeline import load_transformer

PROMPT = "a red ball falls"


@pytest.fixture
def finished(small, tmp_path):
    """A run's folder, whose transformer is not the base's."""
    config = small()
    write_json(tmp_path / "config.json", dataclasses.asdict(config))
    model = load_transformer(config.model.pipeline)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    model.save_pretrained(tmp_path / "transformer", safe_serialization=True)
    return tmp_path


@pytest.mark.slow
def test_the_clip_is_the_run_s_own_and_written_as_asked(finished, monkeypatch, capsys):
    for name in ("a.mp4", "b.gif"):
        arguments = ["generate", "--run", str(finished), "--prompt", PROMPT]
        monkeypatch.setattr(sys, "argv", [*arguments, "--out", str(finished / name)])
        generate.main()
        assert capsys.readouterr().out.strip() == str(finished / name)
    assert probe(finished / "a.mp4") == {"frames": 5, "height": 16, "width": 16}
    with Image.open(finished / "b.gif") as image:
        assert image.n_frames <= 5 and image.size == (16, 16)

    config = generate.read_config(finished)
    one = generate.generate(config, finished, PROMPT, 0)
    assert np.array_equal(one, generate.generate(config, finished, PROMPT, 0))
    assert not np.array_equal(one, generate.generate(config, finished, PROMPT, 1))
    base = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=0))
    assert not np.array_equal(one, generate.generate(base, finished, PROMPT, 0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--out", "clip.avi"], r"must end in \.mp4 or \.gif"),
        (["--run", "nowhere"], "nowhere has no config.json"),
        (["--set", "sample.gain=0.1"], "is about training clips or negatives"),
        (["--set", "sample.guidnce=1"], "did you mean guidance"),
    ],
)
def test_what_cannot_be_generated_is_one_sentence(finished, monkeypatch, change, said):
    arguments = ["generate", "--run", str(finished), "--prompt", PROMPT, *change]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(UserError, match=said) as error:
        generate.main()
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_run_that_is_not_finished_says_so(finished):
    (finished / "transformer").rename(finished / "elsewhere")
    with pytest.raises(UserError, match="transformer is missing: the run is not finished"):
        generate.generate(generate.read_config(finished), finished, PROMPT, 0)
