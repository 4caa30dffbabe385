"""Several processes as one."""

from __future__ import annotations

import pytest

from direct.common import ranks
from direct.common.errors import UserError


def test_shares_cover_the_batch_in_order_and_impossible_ones_are_refused(monkeypatch):
    monkeypatch.setattr(ranks, "size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        shares += ranks.share(12, 2)
    assert [row for share in shares for row in share] == list(range(12))
    assert {len(share) for share in shares} == {2}
    for batch, micro in ((8, 1), (12, 3)):
        with pytest.raises(UserError, match=r"cannot be shared by 3 ranks"):
            ranks.share(batch, micro)
