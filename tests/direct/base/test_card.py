"""The packaged pipeline's card: its numbers are counted, its settings can be read back."""

import json

import torch
from safetensors.torch import save_file

from direct.base import card
from direct.world.corpus import IMPOSSIBLE_SHARE, MISCAPTIONED_SHARE

SCORES = {"ground truth": {"SA": 1.0, "PC": 0.98765}, "base model": {"SA": 0.5, "PC": 0.25}}


def test_a_card_counts_weights_and_states_shares_settings_and_scores(tmp_path):
    (tmp_path / "vae").mkdir()
    save_file({"a": torch.zeros(1000, 3), "b": torch.zeros(())}, tmp_path / "vae" / "x.safetensors")
    save_file({"c": torch.zeros(7, 2, 1)}, tmp_path / "y.safetensors")
    settings = {"seed": 3, "plan": [(5, 8, 1000)], "losses": {"vae": 0.1}}
    card.write(tmp_path, settings, SCORES)
    text = (tmp_path / "README.md").read_text()
    assert "of 3,015 parameters" in text
    shares = f"{IMPOSSIBLE_SHARE:.0%} of the clips", f"{MISCAPTIONED_SHARE:.0%} a valid motion"
    assert all(share in text.replace("\n", " ") for share in shares)
    shown = json.loads(text.split("```json\n")[1].split("```")[0])
    assert shown == json.loads(json.dumps(settings))
    assert "| ground truth | 1.000 | 0.988 |\n| base model | 0.500 | 0.250 |" in text
    assert "|  | SA | PC |\n| --- | ---: | ---: |" in text


def test_it_begins_with_the_hubs_metadata(tmp_path):
    card.write(tmp_path, {}, SCORES)
    head = (tmp_path / "README.md").read_text().split("---\n")[1]
    assert "library_name: diffusers\n" in head and "license: apache-2.0\n" in head
