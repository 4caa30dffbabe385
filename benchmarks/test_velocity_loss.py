"""python -m pytest benchmarks: each implementation at the paper's shape and the tiny profile's.

GB/s and the share of the same-streams limit stand in each benchmark's extra_info (--benchmark-json)
and in the table that `python -m benchmarks.report` writes. BENCHMARK_BATCHES=1 narrows the batches.
"""

import os

import pytest
import torch

from benchmarks import cases, measure

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCHES = [int(b) for b in os.environ.get("BENCHMARK_BATCHES", "1,4,8").split(",")]
SHAPES = [(b, *cases.PAPER) for b in BATCHES] + [(8, *cases.TINY)]
LIMIT = "limit: same streams"
NAMES = [LIMIT, "limit: copy", *cases.implementations(DEVICE, "given")]
limits: dict[tuple, float] = {}  # median seconds by shape and variant: the limit's turn is first


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", cases.VARIANTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_and_backward(benchmark, shape, variant, name):
    bytes_moved = cases.bytes_moved(shape, variant)
    sets = measure.rotation(lambda seed: cases.inputs(shape, DEVICE, seed), bytes_moved)
    steps = cases.implementations(DEVICE, variant) | cases.limits(DEVICE, shape, variant, len(sets))
    turn = iter(range(1 << 60))

    def call():
        steps[name](sets[next(turn) % len(sets)])
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    benchmark.group = f"{list(shape)}, negatives' noises {variant}"
    benchmark.pedantic(call, rounds=10, warmup_rounds=2)
    if benchmark.stats:
        median = benchmark.stats["median"]
        benchmark.extra_info |= {"bytes": bytes_moved, "GB/s": round(bytes_moved / median / 1e9, 2)}
        if name == LIMIT:
            limits[shape, variant] = median
        if (shape, variant) in limits:
            benchmark.extra_info["of the limit"] = round(limits[shape, variant] / median, 3)
