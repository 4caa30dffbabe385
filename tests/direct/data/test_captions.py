"""Up-sampled captions: given by the user, named by their content."""

from __future__ import annotations

import json

import pytest

from direct.common.errors import UserError
from direct.data import captions
from direct.profiles import profile
from direct.settings import with_values


def test_up_sampled_captions_are_generated_from_and_none_may_be_missing(tmp_path, monkeypatch):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"a red ball falls": "a small red ball falls fast"}))
    config = with_values(profile("wan2.1-t2v-1.3b"), {"evaluate.captions": "upsampled"})
    with pytest.raises(UserError, match="needs DIRECT_CAPTIONS"):
        captions.prompts(config, ["a red ball falls"])
    monkeypatch.setenv("DIRECT_CAPTIONS", str(path))
    assert captions.prompts(config, ["a red ball falls"]) == ["a small red ball falls fast"]
    with pytest.raises(UserError, match="no up-sampled caption is given for 'a box"):
        captions.prompts(config, ["a box slides"])
    short = profile("wan2.1-t2v-1.3b")
    assert captions.prompts(short, ["a box slides"]) == ["a box slides"]
    named = with_values(config, {"evaluate.content": captions.content(config)})
    path.write_text(json.dumps({"a red ball falls": "another"}))
    with pytest.raises(UserError, match="has changed"):
        captions.prompts(named, ["a red ball falls"])
    path.write_text("[1]")
    with pytest.raises(UserError, match="is not of the form"):
        captions.read(path)


def test_a_caption_without_any_up_sampled_ones_is_itself():
    assert captions.longer_of(None, "a ball") == "a ball"
    assert captions.longer_of({"a ball": "a red ball"}, "a ball") == "a red ball"


def test_short_captions_name_nothing_and_longer_ones_are_named_by_all_of_them(
    tmp_path, monkeypatch
):
    path = tmp_path / "captions.json"
    monkeypatch.setenv(captions.FILE, str(path))
    short = profile("wan2.1-t2v-1.3b")
    longer = with_values(short, {"evaluate.captions": "upsampled"})
    assert captions.content(short) == ""
    names = []
    for given in ({"a": "b", "c": "d"}, {"c": "d", "a": "b"}, {"a": "b"}):
        path.write_text(json.dumps(given))
        names.append(captions.content(longer))
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize("text", ['{"a": 1}', '{"a": ""}', '["a"]', '"a"'])
def test_a_file_of_another_form_is_refused(tmp_path, text):
    (tmp_path / "captions.json").write_text(text)
    with pytest.raises(UserError, match="is not of the form"):
        captions.read(tmp_path / "captions.json")
