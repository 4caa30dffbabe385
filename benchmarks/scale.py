"""What the paper's scale asks of this machine: reading the cache, drawing negatives, clustering.

    python -m benchmarks.scale                  # the cache and the draws: half a minute
    python -m benchmarks.scale --kmeans         # and k-means of 11,299 x 4096: minutes

Prints one line per measurement with what is asked of it. Close other work first.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from direct.common.errors import command
from direct.negatives import macro
from direct.prepare.store import Store

PROMPTS, DIM, LAWS = 11_299, 4096, 17
CLIP = (16, 21, 60, 104)  # latents of the paper's clips, bf16: 4.2 MB
SHARDS, PER_SHARD, ROUNDS, BATCH = 4, 64, 15, 8


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--kmeans", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for cold in (False, True):
            plain, cache, share = reading(Path(folder), cold)
            print(
                f"cache, {'cold' if cold else 'warm'}: {cache:.2f} GB/s in random order, plain "
                f"sequential read {plain:.2f} GB/s: {100 * cache / plain:.0f} % (90 asked); "
                f"{100 * share:.0f} % of the bytes came from the disk",
                flush=True,
            )
    for prompts in (PROMPTS, 10_000_000):
        print(
            f"MaNS: {draws(prompts):,.0f} draws/s of {prompts:,} prompts, 8 at a time "
            "(100,000 asked)"
        )
    for clusters, minutes in ((32, 3), (128, 10)) if options.kmeans else ():
        print(
            f"k-means, K = {clusters}, 50 restarts of {PROMPTS:,} x {DIM}: "
            f"{kmeans(clusters):.0f} s ({60 * minutes} asked)",
            flush=True,
        )


def reading(folder: Path, cold: bool) -> tuple[float, float, float]:
    """GB/s of plain reads of whole shards, and of batches of clips in random order, the medians of
    rounds that take turns; and the share of all bytes that this system fetched from its disk. cold:
    the page cache is emptied of the shards before each round."""
    paths = sorted(folder.glob("*.safetensors")) or _shards(folder)
    store, keys = Store(folder), [str(n) for n in range(SHARDS * PER_SHARD)]
    for key in keys:
        store[key]  # the first read of a tensor checks its CRC
    buffer = bytearray(max(path.stat().st_size for path in paths))
    rng, size = np.random.default_rng(0), sum(path.stat().st_size for path in paths) / 1e9
    plain, cache, fetched = [], [], _fetched()
    for _ in range(ROUNDS):
        _forget(paths, cold)
        start = time.perf_counter()
        for path in paths:
            with open(path, "rb", buffering=0) as handle:
                while handle.readinto(buffer):
                    pass
        plain.append(size / (time.perf_counter() - start))
        _forget(paths, cold)
        order = rng.permutation(keys)
        start = time.perf_counter()
        for first in range(0, len(order), BATCH):
            store.batch(order[first : first + BATCH])
        cache.append(size / (time.perf_counter() - start))
    share = (_fetched() - fetched) / (2 * ROUNDS * size * 1e9)
    return median(plain), median(cache), share


def _shards(folder: Path) -> list[Path]:
    for shard in range(SHARDS):
        keys = [str(shard * PER_SHARD + n) for n in range(PER_SHARD)]
        Store(folder).write({key: torch.randn(CLIP).bfloat16() for key in keys})
    return sorted(folder.glob("*.safetensors"))


def _forget(paths: list[Path], cold: bool) -> None:
    for path in paths if cold else ():
        with open(path, "rb") as handle:
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _fetched() -> int:
    """Bytes that the block layer has read for this process so far (man 5 proc_pid_io)."""
    return int(re.search(r"^read_bytes: (\d+)", Path("/proc/self/io").read_text(), re.M)[1])


def draws(prompts: int) -> float:
    """Eq. 2's draws per second, their uniform numbers included, for batches of 8."""
    rng = np.random.default_rng(0)
    pools = macro.exclusion(rng.integers(32, size=prompts), rng.integers(LAWS, size=prompts))
    samples, steps = rng.integers(prompts, size=(5000, BATCH)), 5000
    start = time.perf_counter()
    for step in range(steps):
        macro.draw(pools, samples[step], macro.uniforms(0, step, BATCH))
    return steps * BATCH / (time.perf_counter() - start)


def kmeans(clusters: int) -> float:
    """Seconds of the partition of points with broad topics over a decaying spectrum, as pooled
    embeddings have."""
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((200, DIM)) * np.linspace(1, 0.1, 200)[:, None]
    z = rng.standard_normal((PROMPTS, 200)) @ topics + 0.5 * rng.standard_normal((PROMPTS, DIM))
    start = time.perf_counter()
    macro.partition(z, clusters, 50)
    return time.perf_counter() - start


if __name__ == "__main__":
    command(main)
