"""Table 2's other models: known to diffusers, at a commit, told by name."""

import re

import diffusers
import pytest
import torch

from direct.common.errors import UserError
from direct.models.hub import located
from direct.models.peers import PEERS, named


@pytest.mark.parametrize("name", PEERS)
def test_each_is_a_pipeline_of_diffusers_at_a_commit(name):
    peer = named(name)
    assert hasattr(diffusers, peer.pipeline)
    hub_id, commit = located(peer.repository)
    assert hub_id.count("/") == 1 and re.fullmatch("[0-9a-f]{40}", commit)
    assert 8 <= peer.fps <= 30 and {peer.dtype, peer.vae} <= {
        torch.float16,
        torch.bfloat16,
        torch.float32,
    }


def test_all_differ_in_their_weights():
    assert len({peer.repository for peer in PEERS.values()}) == len(PEERS)


def test_an_unknown_name_is_told_its_neighbours():
    with pytest.raises(UserError, match="peer:mochy names no peer; did you mean mochi"):
        named("mochy")
