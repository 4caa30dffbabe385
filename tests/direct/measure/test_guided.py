"""The gain of the empty prompt, and the angle between a gain and guidance, where both are known."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
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
    0.04 (v + x_bar) with a prompt and 0.01 of it without; "again" adds 0.02, "contrast" besides
    something of length 0.03 at a right angle to a.
    """
    found = small(loss__lambda_rand=0.05, loss__lambda_hard=0.0)
    data = shared.open_shared(Run(found, tmp_path))
    monkeypatch.setattr(shared, "open_shared", lambda run: data)
    x_bar = data.latents(range(len(data.samples))).mean(0)
    empty = data.text([""])[0]
    a, b, c = torch.zeros(3, x_bar.numel()).unbind()
    a[0], b[0], b[1], c[2] = 1.0, 0.6, 0.8, 1.0

    class Stand:
        config = SimpleNamespace(patch_size=(1, 2, 2))

        def __init__(self, name: str) -> None:
            self.adds = {"contrast": (0.01, 0.04), "again": (0.0, 0.02)}.get(name, (0.0, 0.0))
            self.besides = 0.03 * (name == "contrast") * c

        def __call__(self, x_t, timestep, asked, return_dict):
            prompted = [not torch.equal(one, empty) for one in asked]
            rows = [(1 + self.adds[on]) * (a if on else b) + on * self.besides for on in prompted]
            return (torch.stack(rows).view(-1, *x_bar.shape) - x_bar,)

    monkeypatch.setattr(pipeline, "load_transformer", lambda place: Stand(place.parent.name))
    return Run(found, tmp_path, tmp_path / "contrast"), tmp_path / "sft"


def test_both_gains_and_the_angle_to_guidance(stands):
    run, sft = stands
    assert all(math.isnan(level.drawn) for level in guided.measure(run, sft, clips=5))
    levels = guided.measure(run, sft, sft.with_name("again"), clips=5)
    assert [level.t for level in levels] == list(LEVELS)
    for level in levels:
        assert level.prompted == pytest.approx(0.04, rel=1e-3)
        assert level.empty == pytest.approx(0.01, rel=1e-3)
        assert level.cosine == pytest.approx(0.4 / 0.8**0.5, rel=1e-3)
        assert level.rest == pytest.approx(0.03**2 / 0.05**2, rel=1e-2)
        assert level.drawn == pytest.approx((0.02**2 + 0.03**2) / 2 / 0.05**2, rel=1e-2)


def test_folders_that_do_not_belong_together_are_refused(small, tmp_path, monkeypatch, capsys):
    contrast = small(loss__lambda_rand=0.05, loss__lambda_hard=0.0)
    sft = small(loss__lambda_rand=0.0, loss__lambda_hard=0.0)
    drawn = replace(contrast, macro=replace(contrast.macro, seed=1))
    cells = {"contrast": contrast, "sft": sft, "seed": replace(sft, seed=1), "drawn": drawn}
    for name, config in cells.items():
        write_json(tmp_path / name / "config.json", asdict(config))
        (tmp_path / name / "transformer").mkdir()
    found = guided.Level(0.5, 0.04, 0.01, 0.4, 0.36, 0.26)
    monkeypatch.setattr(guided, "measure", lambda run, folder, again: [found])

    def told(*names: str | Path) -> None:
        places = [x if x == "--again" else str(tmp_path / x) for x in names]
        monkeypatch.setattr("sys.argv", ["guided", *places])
        guided.main()

    shown = ["0.5", "0.0400", "0.0100", "0.40", "0.36", "0.26"]
    told("contrast", "sft")
    assert capsys.readouterr().out.splitlines()[2].split() == shown
    told("contrast", "sft", "--again", tmp_path / "drawn")
    with pytest.raises(UserError, match="in more than which negatives are drawn"):
        told("contrast", "sft", "--again", tmp_path / "sft")
    with pytest.raises(UserError, match="without negatives; name the folders in order"):
        told("sft", "contrast")
    with pytest.raises(UserError, match="is not the SFT training of"):
        told("contrast", "seed")
    with pytest.raises(UserError, match="holds no training"):
        told("contrast", "nowhere")
    (tmp_path / "sft" / "config.json").write_text("[]")
    with pytest.raises(UserError, match="is no configuration of a training"):
        told("contrast", "sft")
