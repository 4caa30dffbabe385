"""The gain of the empty prompt, and the angle between a gain and guidance, where both are known."""

from __future__ import annotations

from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch

from direct.common.errors import UserError
from direct.common.files import write_json
from direct.config import Run
from direct.measure import guided
from direct.measure.gain import LEVELS
from direct.models import pipeline
from direct.prepare import shared


@pytest.fixture
def stands(small, tmp_path, monkeypatch):
    """Stand-ins: v = -x_bar + a with a prompt, -x_bar + b without; a, b of length 1, a.b = 0.6.

    So v + x_bar = a, and v - v_neg = a - b is at the cosine 0.4 / sqrt(0.8) to it. Contrast adds
    0.04 (v + x_bar) with a prompt and 0.01 of it without.
    """
    found = small(loss__lambda_rand=0.05, loss__lambda_hard=0.0)
    data = shared.open_shared(Run(found, tmp_path))
    monkeypatch.setattr(shared, "open_shared", lambda run: data)
    x_bar = data.latents(range(len(data.samples))).mean(0)
    empty = data.text([""])[0]
    a, b = torch.zeros(2, x_bar.numel()).unbind()
    a[0], b[0], b[1] = 1.0, 0.6, 0.8

    class Stand:
        config = SimpleNamespace(patch_size=(1, 2, 2))

        def __init__(self, name: str) -> None:
            self.adds = (0.01, 0.04) if name == "contrast" else (0.0, 0.0)

        def __call__(self, x_t, timestep, asked, return_dict):
            prompted = [not torch.equal(one, empty) for one in asked]
            rows = [(1 + self.adds[on]) * (a if on else b) for on in prompted]
            return (torch.stack(rows).view(-1, *x_bar.shape) - x_bar,)

    monkeypatch.setattr(pipeline, "load_transformer", lambda place: Stand(place.parent.name))
    return Run(found, tmp_path, tmp_path / "contrast"), tmp_path / "sft"


def test_both_gains_and_the_angle_to_guidance(stands):
    run, sft = stands
    levels = guided.measure(run, sft, clips=5)
    assert [level.t for level in levels] == list(LEVELS)
    for level in levels:
        assert level.prompted == pytest.approx(0.04, rel=1e-3)
        assert level.empty == pytest.approx(0.01, rel=1e-3)
        assert level.cosine == pytest.approx(0.4 / 0.8**0.5, rel=1e-3)


def test_folders_that_do_not_belong_together_are_refused(small, tmp_path, monkeypatch, capsys):
    contrast = small(loss__lambda_rand=0.05, loss__lambda_hard=0.0)
    sft = small(loss__lambda_rand=0.0, loss__lambda_hard=0.0)
    cells = {"contrast": contrast, "sft": sft, "seed": replace(sft, seed=1)}
    for name, config in cells.items():
        write_json(tmp_path / name / "config.json", asdict(config))
        (tmp_path / name / "transformer").mkdir()
    monkeypatch.setattr(guided, "measure", lambda run, folder: [guided.Level(0.5, 0.04, 0.01, 0.4)])

    def told(*names: str) -> None:
        places = [str(tmp_path / name) for name in names]
        monkeypatch.setattr("sys.argv", ["guided", *places])
        guided.main()

    told("contrast", "sft")
    assert capsys.readouterr().out.splitlines()[2].split() == ["0.5", "0.0400", "0.0100", "0.40"]
    with pytest.raises(UserError, match="without negatives; name the folders in order"):
        told("sft", "contrast")
    with pytest.raises(UserError, match="is not the SFT training of"):
        told("contrast", "seed")
    with pytest.raises(UserError, match="holds no training"):
        told("contrast", "nowhere")
    (tmp_path / "sft" / "config.json").write_text("[]")
    with pytest.raises(UserError, match="is no configuration of a training"):
        told("contrast", "sft")
