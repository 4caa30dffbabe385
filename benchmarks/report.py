"""python -m benchmarks.report: every implementation in one process; a table and a plot.

Writes benchmarks/results/<device>.{json,md,svg}. All move the same inputs; the limits are measured
beside them. "ours, ..., op" is the operator without autograd's backward; the others include it.
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from direct.files import write_json, write_text

from . import cases, measure

RESULTS = Path(__file__).with_name("results")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--batches", default="1,4,8", help="of the paper's shape (1,4,8)")
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement (3)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shapes = [(int(b), *cases.PAPER) for b in arguments.batches.split(",") if b]
    rows = []
    for shape in [*shapes, (8, *cases.TINY)]:
        for variant in cases.VARIANTS:
            rows += measure_all(device, shape, variant, arguments.seconds)
    command = " ".join(["python -m benchmarks.report", *sys.argv[1:]])  # no path of this machine
    record = {"machine": machine(device), "command": command, "rows": rows}
    name = record["machine"]["name"].replace(" ", "_").replace("/", "_")
    write_json(arguments.out / f"{name}.json", record)
    write_text(arguments.out / f"{name}.md", table(record))
    plot(record, arguments.out / f"{name}.svg")
    print(table(record))


def measure_all(device: str, shape: tuple[int, ...], variant: str, budget: float) -> list[dict]:
    moved = cases.bytes_moved(shape, variant)
    sets = measure.rotation(lambda seed: cases.inputs(shape, device, seed), moved)
    steps: dict[str, Any] = dict(cases.limits(device, shape, variant, len(sets)))
    for backend in ("cpp", "cuda", "triton"):
        if f"ours, {backend}" in cases.implementations(device, variant):
            steps[f"ours, {backend}, op"] = cases.operator_alone(backend, variant)
    steps |= cases.implementations(device, variant)
    rows, taken = [], measure.seconds(steps, sets, budget)
    for name, step in steps.items():
        times = measure.summary(taken[name])
        extra = measure.peak_extra_bytes(step, sets[0])
        rows.append({"shape": list(shape), "noise": variant, "name": name, "bytes": moved, **times}
                    | {"peak_extra_bytes": extra})  # fmt: skip
        print(
            f"{list(shape)} {variant:6} {name:22} {times['median'] * 1e3:9.3f} ms", file=sys.stderr
        )
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
    text = [f"{made['name']}, {made['threads']} threads, torch {made['torch']}, bf16.",
            f"Made by `{record['command']}`.", ""]  # fmt: skip
    groups: dict[tuple, list[dict]] = {}
    for row in record["rows"]:
        groups.setdefault((tuple(row["shape"]), row["noise"]), []).append(row)
    for (shape, variant), rows in groups.items():
        by_name = {row["name"]: row["median"] for row in rows}
        text += [f"### {list(shape)}, noises of the negatives {variant}", ""]
        text += ["| | ms | GB/s | of the limit | against eager fp32 | peak extra MB |"]
        text += ["|---|---|---|---|---|---|"]
        for row in rows:
            share = by_name["limit: same streams"] / row["median"]
            faster = by_name["eager fp32"] / row["median"]
            speed = row["bytes"] / row["median"] / 1e9
            peak = row["peak_extra_bytes"]
            extra = "" if peak is None else f"{peak / 1e6:.1f}"
            text.append(
                f"| {row['name']} | {row['median'] * 1e3:.3f} | {speed:.1f} "
                f"| {share:.0%} | {faster:.1f}x | {extra} |"
            )
        text.append("")
    return "\n".join(text)


def plot(record: dict[str, Any], path: Path) -> None:
    """Bars of GB/s per implementation, one panel per shape and variant."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    groups = list(dict.fromkeys((tuple(r["shape"]), r["noise"]) for r in record["rows"]))
    figure, axes = pyplot.subplots(
        len(groups), figsize=(7, 2.4 * len(groups)), squeeze=False, layout="constrained"
    )
    for axis, (shape, variant) in zip(axes[:, 0], groups, strict=True):
        rows = [r for r in record["rows"] if (tuple(r["shape"]), r["noise"]) == (shape, variant)]
        colours = ["tab:blue" if r["name"].startswith("ours") else "silver" for r in rows]
        speeds = [r["bytes"] / r["median"] / 1e9 for r in rows]
        axis.barh([r["name"] for r in rows], speeds, color=colours)
        axis.invert_yaxis()
        axis.set(
            title=f"{list(shape)}, noises {variant}", xlabel="GB/s of the bytes that must move"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
