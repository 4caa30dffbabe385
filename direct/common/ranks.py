"""Several processes as one: what they agree on, and what one of them does for all.

Without a process group every function is that of a single rank, at no cost. An error on one rank is
raised on all of them, so that none waits for another that is gone.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from .errors import UserError
from .preempt import Preempted

T = TypeVar("T")
PATIENCE = timedelta(hours=2)  # the longest that one rank may work while the others wait


def start() -> None:
    """Joins the process group that `torchrun` describes; alone, makes one of a single rank."""
    if dist.is_initialized():
        return
    gpu = torch.cuda.is_available()
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group(backend, timeout=PATIENCE)
    else:
        meeting = tempfile.mkdtemp() + "/ranks"  # a file: no port that another run may have taken
        dist.init_process_group(backend, init_method=f"file://{meeting}", rank=0, world_size=1)


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def share(batch: int, micro_batch: int, together: int = 1) -> list[range]:
    """The rows of a global batch that are this rank's, one range per forward pass.

    A sample's place in the global batch decides everything about it: who computes it is nothing.
    together: so many neighbours have the same rows, and compute a clip in parts.
    """
    if size() % together:
        raise UserError(
            f"train.context_parallel={together} does not divide {size()} ranks; choose another"
        )
    groups = size() // together
    width = batch // groups
    micro = micro_batch or width
    if batch % groups or width % micro:
        shared = f"{groups} ranks" if together == 1 else f"{groups} groups of {together} ranks"
        raise UserError(
            f"train.batch={batch} cannot be shared by {shared} in micro-batches of "
            f"train.micro_batch={micro_batch}; choose numbers that divide it"
        )
    first = rank() // together * width
    return [range(start, start + micro) for start in range(first, first + width, micro)]


def gather(rows: Tensor, together: int = 1) -> Tensor:
    """[b, n] of this rank to [B, n] of all, in rank order: that of the global batch.

    together: of so many neighbours, which have the same rows, as in `share`.
    """
    if size() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts[::together])


def collected(value: T) -> list[T]:
    """Every rank's value, in rank order, on every rank."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    dist.all_gather_object(values, value)
    return values


def anyone(flag: bool) -> bool:
    """Whether the flag is set on at least one rank."""
    if size() == 1:
        return flag
    votes = torch.tensor(int(flag))
    dist.all_reduce(votes)
    return bool(votes)


def on_first(work: Callable[[], T]) -> T:
    """What `work()` returns on rank 0, which alone calls it; its error is every rank's error."""
    if size() == 1:
        return work()
    result: list[Any] = [None]
    with together():
        if rank() == 0:
            result = [work()]
    dist.broadcast_object_list(result, src=0, device=torch.device("cpu"))
    return result[0]


def after_first(work: Callable[[], T]) -> T:
    """What `work()` returns here; rank 0 has called it before, and so made what was missing."""
    if size() > 1:
        on_first(lambda: work() is None)
    with together():
        return work()


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A block without communication: where it fails on one rank, every rank raises.

    One that was asked to stop stops all of them.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    if size() > 1:
        mine = None if error is None else (isinstance(error, Preempted), f"{error}")
        for other, told in enumerate(collected(mine)):
            if told is not None and error is None:
                stopped, message = told
                raise Preempted(message) if stopped else UserError(f"rank {other}: {message}")
    if error is not None:
        raise error
