"""Several processes as one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

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


def test_ranks_that_share_a_clip_have_the_same_rows(monkeypatch):
    monkeypatch.setattr(ranks, "size", lambda: 4)
    found = []
    for rank in range(4):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        found.append([list(rows) for rows in ranks.share(4, 1, together=2)])
    assert found == [[[0], [1]]] * 2 + [[[2], [3]]] * 2
    with pytest.raises(UserError, match=r"context_parallel=3 does not divide 4 ranks"):
        ranks.share(4, 1, together=3)
    with pytest.raises(UserError, match=r"train.batch=3 cannot be shared by 2 groups of 2 ranks"):
        ranks.share(3, 1, together=2)


def test_alone_everything_is_ones_own():
    rows = torch.randn(3, 2)
    assert (ranks.size(), ranks.rank()) == (1, 0)
    assert torch.equal(ranks.gather(rows), rows)
    assert ranks.anyone(True) and not ranks.anyone(False)
    assert ranks.on_first(lambda: "made") == ranks.after_first(lambda: "made") == "made"
    assert ranks.collected("mine") == ["mine"]
    with pytest.raises(ZeroDivisionError), ranks.together():
        _ = 1 / 0
    assert ranks.share(6, 0) == [range(6)] and ranks.share(6, 2) == [
        range(2),
        range(2, 4),
        range(4, 6),
    ]
    ranks.stop()  # of nothing


TWO = """
import json, sys
import torch.distributed as dist, torch
from direct.common import ranks
from direct.common.preempt import Preempted

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)

def failing(error, on):
    try:
        with ranks.together():
            if rank == on:
                raise error
    except Exception as caught:
        return f"{type(caught).__name__}: {caught}"

def work():
    return {"made by": rank}

def find():
    # What the very first call makes, rank 0's, is there at every other call.
    with open(sys.argv[2] + ".made", "a+") as file:
        file.seek(0)
        if not (found := file.read()):
            file.write(f"by {rank}")
    return found

def broken():
    raise OSError("no such shard")

told = {
    "gather of both": ranks.gather(torch.tensor([[5], [6]]), together=2).tolist(),
    "gather": ranks.gather(torch.tensor([[rank, 10 + rank]])).tolist(),
    "anyone": [ranks.anyone(rank == 1), ranks.anyone(False)],
    "first": ranks.on_first(work),
    "collected": ranks.collected({"rank": rank}),
    "after first": ranks.after_first(find),
    "share": [list(part) for part in ranks.share(8, 2)],
    "fails": failing(KeyError("shard"), 1),
    "stops": failing(Preempted("asked"), 0),
    "nobody": failing(None, 7),
}
try:
    ranks.on_first(broken)
except Exception as caught:
    told["broken"] = f"{type(caught).__name__}: {caught}"
print(json.dumps(told))
ranks.stop()
"""


@pytest.mark.slow
def test_two_agree_on_what_each_has_and_on_what_fails(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(rank), str(tmp_path / "meeting")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    first, second = (json.loads(process.communicate(timeout=600)[0]) for process in processes)
    for told in (first, second):
        assert told["gather"] == [[0, 10], [1, 11]] and told["anyone"] == [True, False]
        assert told["first"] == {"made by": 0} and told["nobody"] is None
        assert told["gather of both"] == [[5], [6]]
        assert told["collected"] == [{"rank": 0}, {"rank": 1}] and told["after first"] == "by 0"
        assert told["stops"] == "Preempted: asked"
    assert first["share"] == [[0, 1], [2, 3]] and second["share"] == [[4, 5], [6, 7]]
    assert first["fails"] == "UserError: rank 1: 'shard'" and second["fails"] == "KeyError: 'shard'"
    assert first["broken"] == "OSError: no such shard"
    assert second["broken"] == "UserError: rank 0: no such shard"
