"""What training costs on this GPU: a step and a rendered negative at 1.3B, and a whole sweep."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from statistics import median
from typing import Any

import torch

from direct.config import Config, Run
from direct.profiles import profile
from direct.settings import with_values

from .place import NotHere, Place, Record

METHODS = ("fm", "sft", "direct")
STEPS = (1, 4)  # of two renderings; their difference leaves out what a clip costs once


def _need(*packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise NotHere(f"{', '.join(missing)} not installed; pip install {' '.join(missing)}")


def _config(place: Place) -> Config:
    """Wan 2.1 1.3B at the paper's size of clip, for one GPU of 80 GB; in a rehearsal `tiny`."""
    if place.rehearse:
        return with_values(profile("tiny"), {"measure.iterations": 1, "train.batch": 2})
    settings = {
        "train.engine": "torch",
        "train.batch": 1,
        "train.micro_batch": 0,
        "measure.iterations": 3,
    }
    return with_values(profile("wan2.1-t2v-1.3b"), settings)


def cost(place: Place) -> Iterator[Record]:
    """Table S4 (`direct.measure.cost`): random weights, stand-ins of the real sizes."""
    _need("diffusers", "safetensors")
    from direct.measure import cost as measured

    folder = place.folder / "cost"
    config = _config(place)
    blocks = measured.measure(Run(config, folder / "cache", folder, progress=_said))
    scores = {
        name: median(block["scores"][name] for block in blocks) for name in blocks[0]["scores"]
    }
    shutil.rmtree(folder, ignore_errors=True)
    for method in METHODS:
        own = {n.partition(".")[2]: v for n, v in scores.items() if n.startswith(f"{method}.")}
        parts = ", ".join(f"{part} {own[part]:.3f}" for part in measured.PARTS)
        what = f"{method}: {own['memory_gb']:.1f} GB; seconds: {parts}"
        yield {
            "what": what,
            "reading": "seconds a step",
            "value": own["seconds_per_iteration"],
        }
    for reading, name in (("seconds", "seconds_per_iteration"), ("memory", "memory_gb")):
        ratio = scores[f"direct.{name}"] / scores[f"sft.{name}"]
        what = f"batch {config.train.batch}, {_size(config)}"
        yield {"what": what, "reading": f"DiReCT's {reading} over SFT's", "value": ratio}


def _said(stage: str, done: int, total: int) -> None:
    print(f"{stage} {done}/{total}", file=sys.stderr, flush=True)


def negative(place: Place) -> Iterator[Record]:
    """A hard negative, sampled as `direct.prepare.render` does: random weights, a few steps."""
    _need("diffusers", "safetensors")
    from direct import sampling
    from direct.measure import published
    from direct.measure.standin import random_transformer
    from direct.models import families, pipeline

    config = published.in_folder(_config(place), place.folder / "negative")
    dtype = getattr(torch, config.model.dtype)
    with torch.device(place.device):  # drawing 1.4 billion weights takes a CPU half a minute
        base = random_transformer(config).to(place.device, dtype).eval()
    shape = pipeline.latent_shape(config, base, pipeline.vae_config(config.model))
    width = families.of(type(base).__name__).text_dim(base.config)
    text = torch.randn(1, config.model.text_length, width, device=place.device).to(dtype)
    eps = torch.randn(1, *shape, device=place.device)
    velocity = pipeline.velocity(config.model)

    def render(steps: int) -> float:
        settings = replace(config.hard_sample, steps=steps)
        start = time.perf_counter()
        sampling.sample(base, text, text, eps, settings, velocity)
        if place.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    render(1)
    few, more = render(STEPS[0]), render(STEPS[1])
    step = (more - few) / (STEPS[1] - STEPS[0])
    whole = few + (config.hard_sample.steps - STEPS[0]) * step
    what = f"{_size(config)}, {config.hard_sample.steps} steps of {step:.3f} s, from {STEPS[1]}"
    yield {"what": what, "reading": "seconds a rendered negative", "value": whole}


def _size(config: Config) -> str:
    model = config.model
    return f"{model.frames} frames of {model.height} x {model.width}"


# A rehearsal's: one seed, and settings at which a cell takes a second.
LITTLE: dict[str, Any] = {
    "data.clips": 16,
    "train.steps": 2,
    "sample.steps": 1,
    "hard_sample.steps": 1,
    "macro.clusters": 2,
    "macro.restarts": 1,
}


def sweep(place: Place) -> Iterator[Record]:
    """`make lambda_hard` by its own command, in a folder of its own; a later run resumes it."""
    _need("diffusers", "optuna", "pandas", "transformers", "sklearn")
    command = [sys.executable, "-m", "sweeps.run", "lambda_hard", "--rerun"]
    command += ["--out", str(place.folder)]
    if place.rehearse:
        command += ["--seeds=0", "--prompts=2", "--name=rehearsal", "--workers=1"]
        command += [f"--set={name}={value}" for name, value in LITTLE.items()]
    there = before = _cells(place)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=2)
    while process.poll() is None:
        time.sleep(0.2)
        if (now := _cells(place)) != there:
            there, seconds = now, time.perf_counter() - start
            yield {"what": f"after {seconds:.0f} s", "reading": "finished cells", "value": there}
    minutes = (time.perf_counter() - start) / 60
    what = f"sweeps.run lambda_hard, exit status {process.returncode}"
    yield {"what": what, "reading": "agrees", "value": process.returncode == 0}
    reading = "minutes of lambda_hard" + (f" after {before} finished cells" if before else "")
    yield {"what": f"{there} cells", "reading": reading, "value": minutes}


def _cells(place: Place) -> int:
    return sum(1 for _ in place.folder.glob("runs/*/*/result.json"))
