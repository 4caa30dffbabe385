"""The benchmarks' prompts: what is shipped, what the user gives."""

from __future__ import annotations

import pytest

from direct.common.errors import UserError
from direct.data import benchmarks
from direct.data.benchmarks import Prompt
from direct.evaluate import rater


def test_shipped_prompts():
    prompts = benchmarks.videophy()
    states = [prompt.about["states_of_matter"] for prompt in prompts]
    assert len({p.caption for p in prompts}) == len({p.id for p in prompts}) == 344
    counts = {state: states.count(state) for state in set(states)}
    assert counts == {"solid_fluid": 146, "solid_solid": 143, "fluid_fluid": 55}


def test_an_id_that_is_no_plain_name_is_hashed(tmp_path):
    for name in ("../../x", ".hidden", "a b", "x" * 200, "-rf"):
        path = rater.video_path(tmp_path, Prompt(name, ""))
        assert path.parent == tmp_path.resolve() / "videos" and name not in path.name


def test_prompts_file_is_asked_for_and_checked(tmp_path, monkeypatch):
    monkeypatch.delenv(benchmarks.WORLDMODELBENCH, raising=False)
    with pytest.raises(UserError, match=benchmarks.WORLDMODELBENCH):
        benchmarks.worldmodelbench()
    (tmp_path / "x.json").write_text('[{"domain": "d"}]')
    with pytest.raises(UserError, match="first_frame"):
        benchmarks.worldmodelbench(tmp_path / "x.json")


def test_prompts_that_cannot_be_read_and_a_command_with_open_quotes_are_named(
    tmp_path, monkeypatch
):
    with pytest.raises(UserError, match=r"nope\.csv cannot be read"):
        benchmarks.videophy(tmp_path / "nope.csv")
    monkeypatch.setenv(rater.COMMAND, 'judge "here')
    with pytest.raises(UserError, match="fix its quoting"):
        rater._command()
