"""python -m benchmarks.report: every implementation side by side; a table and a plot.

Writes benchmarks/results/<device>.{json,md,svg}. All move the same inputs; the limits are measured
beside them. "ours, ..., op" is the operator without checks and autograd; the others have both.
On a CPU every shape is measured in several processes, one after another: where the system lays a
process's pages moves the shares by several percent, and stays for the life of the process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import statistics
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from direct.common.errors import command
from direct.common.files import check_folder, write_json, write_text

from . import cases, measure, options

RESULTS = Path(__file__).with_name("results")
Row = dict[str, Any]


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    add = parser.add_argument
    add(
        "--batches",
        type=options.numbers(options.BATCHES),
        default="1,4,8",
        help="of the paper's shape (1,4,8)",
    )
    add(
        "--seconds",
        type=options.duration,
        default=3.0,
        help="per measurement, over all processes (3)",
    )
    processes = options.number(options.PROCESSES)
    add("--processes", type=processes, default=5 if device == "cpu" else 1, help="(5; on a GPU 1)")
    add(
        "--malloc",
        choices=("default", "kept"),
        default="default",
        help="on a CPU: the C "
        "library's own settings, or freed memory stays with the process (default)",
    )
    add("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    check_folder(arguments.out, "--out")
    shapes = [(batch, *cases.PAPER) for batch in arguments.batches]
    jobs = [
        (device, shape, arguments.seconds / arguments.processes, arguments.malloc)
        for shape in [*shapes, (8, *cases.TINY)]
    ] * arguments.processes
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        runs = pool.starmap(measure_all, jobs, chunksize=1)
    command = " ".join(["python -m benchmarks.report", *sys.argv[1:]])  # no path of this machine
    record = {"machine": machine(device), "command": command, "rows": combined(runs)}
    name = record["machine"]["name"].replace(" ", "_").replace("/", "_")
    name += "_kept" * (arguments.malloc == "kept")
    write_json(arguments.out / f"{name}.json", record)
    write_text(arguments.out / f"{name}.md", table(record))
    plot(record, arguments.out / f"{name}.svg")
    print(table(record))


def measure_all(
    device: str,
    shape: tuple[int, ...],
    budget: float,
    malloc: str,
    chosen: Callable[[str], bool] = lambda name: True,
) -> list[Row]:
    """What one process finds at one shape: a row per variant and implementation of those chosen."""
    sets = measure.rotation(
        lambda seed: cases.inputs(shape, device, seed),
        cases.bytes_moved(shape, "drawn"),  # the variant that needs more sets to leave the caches
    )
    if malloc == "kept":
        measure.keep_memory()  # with the inputs where they would be without it
    rows = []
    for variant in cases.VARIANTS:
        found = cases.implementations(device, variant)
        steps: dict[str, Any] = dict(cases.limits(device, shape, variant, len(sets)))
        for backend in ("cpp", "cuda", "triton"):
            if f"ours, {backend}" in found:
                steps[f"ours, {backend}, op"] = cases.operator_alone(backend, variant)
        steps = {name: step for name, step in (steps | found).items() if chosen(name)}
        taken = measure.seconds(steps, sets, budget)
        for name, step in steps.items():
            seconds = statistics.median(taken[name])
            rows.append(
                {
                    "shape": list(shape),
                    "noise": variant,
                    "name": name,
                    "bytes": cases.bytes_moved(shape, variant),
                    "seconds": seconds,
                    "peak_extra_bytes": measure.peak_extra_bytes(step, sets[0]),
                }
            )
            print(f"{list(shape)} {variant:6} {name:22} {seconds * 1e3:9.3f} ms", file=sys.stderr)
    return rows


def combined(runs: list[list[Row]]) -> list[Row]:
    """One row for all processes' rows of one thing: the seconds of each, and the middle peak."""
    groups: dict[tuple, list[Row]] = {}
    for row in chain.from_iterable(runs):
        groups.setdefault((*row["shape"], row["noise"], row["name"]), []).append(row)
    rows = []
    for same in groups.values():
        peaks = [row["peak_extra_bytes"] for row in same]
        peak = None if None in peaks else statistics.median(peaks)
        seconds = [row["seconds"] for row in same]
        rows.append(same[0] | {"seconds": seconds, "peak_extra_bytes": peak})
    return rows


def machine(device: str) -> dict[str, Any]:
    if device == "cuda":
        name = torch.cuda.get_device_name()
    else:
        lines = (
            Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        )
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else platform.processor() or platform.machine()
    return {
        "name": name,
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def table(record: dict[str, Any]) -> str:
    """Markdown: time, GB/s of the bytes that must move, share of the limit, speed-up."""
    made = record["machine"]
    text = [
        f"{made['name']}, {made['threads']} threads, torch {made['torch']}, bf16.",
        f"Made by `{record['command']}`. Medians over {len(record['rows'][0]['seconds'])} "
        "processes; in brackets the least and the greatest.",
        "",
    ]
    groups: dict[tuple, list[dict]] = {}
    for row in record["rows"]:
        groups.setdefault((tuple(row["shape"]), row["noise"]), []).append(row)
    for (shape, variant), rows in groups.items():
        by_name = {row["name"]: row["seconds"] for row in rows}
        text += [f"### {list(shape)}, noises of the negatives {variant}", ""]
        text += ["| | ms | GB/s | of the limit | against eager fp32 | peak extra MB |"]
        text += ["|---|---|---|---|---|---|"]
        for row in rows:
            seconds, peak = statistics.median(row["seconds"]), row["peak_extra_bytes"]
            faster = statistics.median(_ratios(by_name["eager fp32"], row["seconds"]))
            extra = "" if peak is None else f"{peak / 1e6:.1f}"
            text.append(
                f"| {row['name']} | {seconds * 1e3:.3f} | {row['bytes'] / seconds / 1e9:.1f} "
                f"| {share(_ratios(by_name['limit: same streams'], row['seconds']))} "
                f"| {faster:.1f}x | {extra} |"
            )
        text += ["", *_against_compiled(by_name)]
    return "\n".join(text)


def _against_compiled(by_name: dict[str, list[float]]) -> list[str]:
    """A sentence for each of our operators where both compiled forms were measured."""
    forms = [seconds for name, seconds in by_name.items() if name.startswith("compiled")]
    lines = []
    for name in (n for n in by_name if n.endswith(", op") and forms):
        better = [min(pair) for pair in zip(*forms, strict=True)]
        times = statistics.median(_ratios(better, by_name[name]))
        lines += [f"The better compiled form takes {times:.2f} times as long as {name}.", ""]
    return lines


def _ratios(a: list[float], b: list[float]) -> list[float]:
    """Each within its own process."""
    return [first / second for first, second in zip(a, b, strict=True)]


def share(shares: list[float]) -> str:
    low, middle, high = (f"{f(shares):.0%}" for f in (min, statistics.median, max))
    return middle if low == high else f"{middle} ({low} to {high})"


def plot(record: dict[str, Any], path: Path) -> None:
    """Bars of GB/s per implementation, one panel per shape and variant."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "direct"}  # text as text
    from matplotlib import pyplot

    groups = list(dict.fromkeys((tuple(r["shape"]), r["noise"]) for r in record["rows"]))
    figure, axes = pyplot.subplots(
        len(groups), figsize=(7, 2.4 * len(groups)), squeeze=False, layout="constrained"
    )
    for axis, (shape, variant) in zip(axes[:, 0], groups, strict=True):
        rows = [r for r in record["rows"] if (tuple(r["shape"]), r["noise"]) == (shape, variant)]
        colours = ["tab:blue" if r["name"].startswith("ours") else "silver" for r in rows]
        speeds = [r["bytes"] / statistics.median(r["seconds"]) / 1e9 for r in rows]
        axis.barh([r["name"] for r in rows], speeds, color=colours)
        axis.invert_yaxis()
        axis.set(
            title=f"{list(shape)}, noises {variant}", xlabel="GB/s of the bytes that must move"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    command(main)
