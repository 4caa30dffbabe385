"""Plug-ins in a configuration: settings by name; only what is used changes a cell's name."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from direct.common.errors import UserError
from direct.config import Plugins, Run
from direct.explain import explained
from direct.identity import canonical, identity, named, restored
from direct.plugins import carried
from direct.profiles import profile
from direct.settings import override, settings, with_values

TEXT = '''
@plugins.target(weight=0.0)
def still(seen, *, frames: int = 2):
    """The clip at rest.

    frames: how many of them
    """
    return seen.x


@plugins.sampler
def nearest(z, labels, laws):
    return None


@plugins.judge(sim=plugins.Score("Similarity"))
def eye():
    return None


ROWS = [1]
'''


def test_what_is_loaded_but_not_used_changes_no_name(plugged):
    before = {name: identity(profile(name)) for name in ("tiny", "ltx-video")}
    plugged(TEXT)
    assert {name: identity(profile(name)) for name in before} == before
    assert canonical(profile("tiny")).plugins == Plugins()
    assert identity(override(profile("tiny"), "still.frames=5")) == before["tiny"]


def test_what_is_used_is_in_the_name_with_its_settings_and_its_code(plugged):
    plugged(TEXT)
    tiny = profile("tiny")
    on = override(tiny, "still.weight=0.1")
    ids = [identity(c) for c in (tiny, on, override(on, "still.frames=3"))]
    assert len(set(ids)) == 3
    assert carried.values(canonical(on).plugins, "still") == {"frames": 2, "weight": 0.1}
    assert [line.split("=")[0] for line in canonical(on).plugins.content] == ["target still"]
    plugged(TEXT.replace("ROWS = [1]", "ROWS = [1, 2]  # more").replace("at rest", "at peace"))
    assert identity(override(profile("tiny"), "still.weight=0.1")) == ids[1], "words and tables"
    plugged(TEXT.replace("return seen.x", "return seen.eps"))
    assert identity(override(profile("tiny"), "still.weight=0.1")) != ids[1]


def test_a_name_holds_no_path_and_a_configuration_survives_json(plugged):
    path = plugged(TEXT)
    on = canonical(override(profile("tiny"), "still.weight=0.1", "evaluate.judge=eye"))
    assert str(path) not in json.dumps(named(on))
    again = restored(json.loads(json.dumps(asdict(on))))
    assert again == on and identity(again) == identity(on)
    assert carried.where(again.plugins, "still") == str(path)


def test_each_kind_is_used_where_a_setting_names_it(plugged):
    plugged(TEXT)
    tiny = profile("tiny")

    def names(*assignments, of="result"):
        config = canonical(override(tiny, *assignments), of)
        return [name for _, name, _ in carried.contents(config.plugins)]

    assert names("macro.sampling=nearest", "still.weight=0.1") == ["nearest", "still"]
    assert names("macro.sampling=nearest", "loss.lambda_rand=0") == []
    assert names("still.weight=0.1", "train.steps=0") == []
    assert names("still.weight=0.1", of="data") == []
    assert names("evaluate.judge=eye") == ["eye"]
    assert names("evaluate.judge=eye", of="training") == []
    sampled = canonical(override(tiny, "macro.sampling=nearest", "macro.clusters=8"))
    assert sampled.macro.clusters == 8


def test_settings_are_read_changed_and_explained_by_name(plugged):
    plugged(TEXT)
    tiny = profile("tiny")
    on = with_values(tiny, {"still.weight": 1, "loss.lambda_hard": 0.1})
    assert settings(on)["still.weight"] == 1.0 and type(settings(on)["still.weight"]) is float
    text = explained(tiny, "still")
    assert "still: The clip at rest. (plug-in: target)" in text
    assert "still.frames = 2  (whole number)\n      how many of them" in text
    assert "still.weight = 0.0  (number)\n      of the term in the loss; 0 turns it off" in text


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("still.wieght=1", "still.wieght is not a setting; did you mean still.weight"),
        ("stil.weight=1", "no setting 'stil'; did you mean still"),
        ("still.weight=much", "'much' is not of type float"),
        ("still.weight=nan", "still.weight=nan is not a finite number"),
        ("still.weight=-2", "with -2 of plug-ins' targets its curvature is -0.825"),
        ("still.frames=1.5", "'1.5' is not of type int"),
        ("nearest.weight=1", "nearest.weight is not a setting; nearest has no settings"),
        ("macro.sampling=nearst", "did you mean nearest"),
        ("evaluate.judge=eyes", "did you mean eye"),
        ("macro.sampling=eye", "known: batch, nearest, partition, uniform"),
    ],
)
def test_what_is_misspelt_gets_the_nearest_names(plugged, assignment, said):
    plugged(TEXT)
    with pytest.raises(UserError, match=said) as error:
        override(profile("tiny"), assignment)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"still.frames": "many"}, "still.frames='many' is not of type int"),
        ({"still.frames": True}, "still.frames=True is not of type int"),
        ({"macro.sampling": "nearst"}, "macro.sampling=nearst is not known; did you mean nearest"),
        ({"macro.sampeling": "nearest"}, "macro.sampeling is not a setting; did you mean sampling"),
        ({"stil.weight": 0.1}, "stil.weight is not a setting; did you mean still"),
    ],
)
def test_a_row_s_values_are_checked_as_well(plugged, values, said):
    plugged(TEXT)
    with pytest.raises(UserError, match=said):
        with_values(profile("tiny"), values)


OWN = """
import numpy as np
from dataclasses import replace
from direct.data.sample import Sample
from direct.profiles import tiny


def still():
    return np.zeros((17, 32, 32, 3), np.uint8)


def prompts(evaluate):
    return [Sample(f"p{n}", "a ball", "", still) for n in range(evaluate.prompts)]


@plugins.source(evaluation=prompts)
def blank(data, *, more: int = 0):
    return [Sample(f"c{n}", f"a ball {n}", "", still) for n in range(data.clips + more)]


@plugins.profile
def mine():
    base = tiny()
    return replace(base, profile="mine", data=replace(base.data, source="blank", clips=40))
"""


def test_an_error_of_its_prompts_names_the_line(plugged):
    from direct.data import source

    plugged(OWN.replace('    return [Sample(f"p{n}"', '    1 / 0\n    return [Sample(f"p{n}"'))
    said = r"the prompts of the source blank \(mine.py\) failed: ZeroDivisionError: .* \(line 16\)"
    with pytest.raises(UserError, match=said):
        source.evaluation(profile("mine"))


def test_a_file_brings_its_clips_and_its_profile(plugged, tmp_path):
    from direct.data import source

    plugged(OWN)
    config = canonical(profile("mine"))
    assert [name for _, name, _ in carried.contents(config.plugins)] == ["blank", "mine"]
    assert (config.profile, config.data.source, config.data.clips) == ("mine", "blank", 40)
    run = Run(config, tmp_path)
    assert [item.id for item in source.training(run)] == [f"c{n}" for n in range(40)]
    assert len(source.evaluation(config)) == config.evaluate.prompts
    assert source.identity(config) != source.identity(profile("tiny"))
    more = override(profile("mine"), "blank.more=1")
    with pytest.raises(UserError, match=r"gave 41 clips with 41 ids; data.clips=40"):
        source.training(Run(more, tmp_path))
    with pytest.raises(UserError, match="--profile mien is not a profile; did you mean mine"):
        profile("mien")
