"""Every setting explains itself: `python -m sweeps.run settings`."""

import pytest

from direct.common.errors import UserError
from direct.explain import explained, settings_of
from direct.profiles import PROFILES, profile
from direct.settings import override, settings
from sweeps import run


@pytest.mark.parametrize("name", PROFILES)
def test_every_setting_has_a_name_that_set_takes_a_type_and_a_meaning(name):
    config = profile(name)
    found = [setting for section in settings_of(config).values() for setting in section]
    assert {setting.name for setting in found} == set(settings(config)) - {"profile"}
    for setting in found:
        assert len(setting.meaning) > 5 or setting.meaning in ("steps", "pixels"), setting
        again = override(config, f"{setting.name}={setting.value.strip(chr(34))}")
        assert again == config, setting


def test_a_section_is_shown_with_the_profile_s_values():
    text = explained(profile("tiny"), "train")
    assert "  train.learning_rate = 0.0003  (number)\n      of AdamW, constant (App. D)" in text
    assert "train.init = base  (base or sft)" in text and "loss.lambda_rand" not in text
    assert "train.keep_last = true  (true or false)" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_command_lists_all_or_one_and_refuses_what_is_none(capsys):
    assert run.main(["settings"]) == 0
    whole = capsys.readouterr().out
    assert "macro.clusters = 32" in whole and "sample.guidance = 2.0" in whole
    assert run.main(["settings", "loss", "--profile", "ltx-video"]) == 0
    one = capsys.readouterr().out
    assert "loss.lambda_anc = 0.2" in one and "macro.clusters" not in one
    assert run.main(["settings", "run"]) == 0 and "threads = 1" in capsys.readouterr().out
    with pytest.raises(UserError, match="settings lose is not a section; did you mean loss"):
        run.main(["settings", "lose"])
