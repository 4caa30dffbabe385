"""The gain of the empty prompt, and the angle between a gain and guidance, where both are known."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from functools import partial
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

    pool = partial(guided.reference, about="pool")  # else of eleven clips, or fewer
    monkeypatch.setattr(guided, "reference", lambda *given: pool(*given[:3]))
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
    drawn = [level.drawn for level in guided.measure(run, sft, sft.with_name("again"), False, 5)]
    assert drawn == pytest.approx([2 * level.drawn for level in levels])


def test_what_is_no_gain_is_measured_about_the_runs_own_negatives(stands, monkeypatch):
    """Where they are elsewhere by e, at a right angle to a: v + x_ref = a + e, |e| = 0.5."""
    run, sft = stands
    real = guided.reference

    def moved(config, data, chosen, about="own"):
        found = real(config, data, chosen).clone()
        if about == "own":
            found.view(len(found), -1)[:, 3] += 0.5
        return found

    monkeypatch.setattr(guided, "reference", moved)
    for level in guided.measure(run, sft, clips=5):
        assert level.prompted == pytest.approx(0.04, rel=1e-3), "about the mean clip"
        assert level.rest == pytest.approx(1 - 0.04**2 / (0.05**2 * 1.25), rel=1e-2)


def test_folders_that_do_not_belong_together_are_refused(small, tmp_path, monkeypatch, capsys):
    contrast = small(loss__lambda_rand=0.05, loss__lambda_hard=0.0)
    sft = small(loss__lambda_rand=0.0, loss__lambda_hard=0.0)
    drawn = replace(contrast, macro=replace(contrast.macro, seed=1))
    mins = small(loss__lambda_rand=0.0, loss__lambda_hard=0.05)
    loss = replace(mins.loss, hard_negative="mean", negative_noise="marginal")
    marginal = replace(contrast, loss=replace(contrast.loss, negative_noise="marginal"))
    cells = {"contrast": contrast, "sft": sft, "seed": replace(sft, seed=1), "drawn": drawn}
    cells |= {"mins": mins, "expected": replace(mins, loss=loss), "marginal": marginal}
    for name, config in cells.items():
        write_json(tmp_path / name / "config.json", asdict(config))
        (tmp_path / name / "transformer").mkdir()
    found = guided.Level(0.5, 0.04, 0.01, 0.4, 0.36, 0.26)
    halved = []
    monkeypatch.setattr(guided, "measure", lambda *given: halved.append(given[3]) or [found])

    def told(*names: str | Path) -> None:
        places = [x if x == "--again" else str(tmp_path / x) for x in names]
        monkeypatch.setattr("sys.argv", ["guided", *places])
        guided.main()

    shown = ["0.5", "0.0400", "0.0100", "0.40", "0.36", "0.26"]
    told("contrast", "sft")
    assert capsys.readouterr().out.splitlines()[2].split() == shown
    told("contrast", "sft", "--again", tmp_path / "drawn")
    told("mins", "sft", "--again", tmp_path / "expected")
    assert halved == [True, True, False]
    with pytest.raises(UserError, match=r"in more than .* and is not MiNS in expectation"):
        told("contrast", "sft", "--again", tmp_path / "marginal")
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
