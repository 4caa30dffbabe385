"""MiNS (Sec. 4.2): hard negatives that differ from a prompt along one axis of physics.

Per prompt: draw perturbed prompts over random axes, keep those within a cosine of the original in
the frozen text encoder's space, take the nearest few. The base model renders them into latents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import noise
from ..common.seed import stable_seed

Perturb = Callable[[str, np.random.Generator], str | None]
Floats = Sequence[float] | np.ndarray
Candidate = tuple[str, str]  # (axis, prompt)

ATTEMPTS = 10  # per candidate wanted, before a prompt is left with fewer


def candidates(
    sample: str, prompt: str, perturb: Perturb, axes: Sequence[str], count: int
) -> list[Candidate]:
    """Up to `count` distinct perturbed prompts of one sample, none of them an echo of the prompt.

    Each attempt draws an axis uniformly; an axis that makes no sense for the clip gives `None` and
    is passed over. Depends on the sample's id and the arguments alone.
    """
    rng = np.random.default_rng(stable_seed(sample, prompt, list(axes), "candidates"))
    seen, found = {normal(prompt)}, []
    for _ in range(ATTEMPTS * count):
        axis = axes[int(rng.integers(len(axes)))]
        changed = perturb(axis, rng)
        if changed is None or normal(changed) in seen:
            continue
        seen.add(normal(changed))
        found.append((axis, changed))
        if len(found) == count:
            break
    return found


def select(
    found: Sequence[Candidate], cosines: Floats, min_cosine: float, keep: int
) -> list[dict[str, Any]]:
    """The `keep` candidates nearest to the prompt among those of cosine >= min_cosine."""
    passed: list[dict[str, Any]] = [
        {"axis": axis, "prompt": prompt, "cosine": round(float(cosine), 6)}
        for (axis, prompt), cosine in zip(found, cosines, strict=True)
        if cosine >= min_cosine
    ]
    return sorted(passed, key=lambda entry: -entry["cosine"])[:keep]


def retention(
    found: Sequence[Sequence[Candidate]],
    cosines: Sequence[Floats],
    kept: Sequence[Sequence[dict[str, Any]]],
    min_cosine: float,
) -> dict[str, Any]:
    """How many candidates each stage left, overall and per axis, and how many prompts got none."""
    made = Counter(axis for candidates in found for axis, _ in candidates)
    passed = Counter(
        axis
        for candidates, values in zip(found, cosines, strict=True)
        for (axis, _), cosine in zip(candidates, values, strict=True)
        if cosine >= min_cosine
    )
    final = Counter(entry["axis"] for entries in kept for entry in entries)
    stages = {"candidates": made, "passed": passed, "kept": final}
    per_prompt = Counter(len(entries) for entries in kept)
    return {
        "min_cosine": min_cosine,
        "prompts": len(kept),
        "prompts_by_kept": {str(count): per_prompt[count] for count in sorted(per_prompt)},
        "prompts_without": per_prompt[0],
        "overall": {stage: sum(counts.values()) for stage, counts in stages.items()},
        "by_axis": {
            axis: {stage: counts[axis] for stage, counts in stages.items()} for axis in sorted(made)
        },
    }


def cosine(z: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosine of z [D] to each of others [N, D], [N] float64."""
    z, others = np.asarray(z, np.float64), np.asarray(others, np.float64)
    others = others.reshape(-1, len(z))  # where there are none, nothing says of what length
    return others @ z / (np.linalg.norm(others, axis=-1) * np.linalg.norm(z))


def draw(seed: int, step: int, counts: np.ndarray) -> np.ndarray:
    """[B] which of its counts[b] kept negatives each sample gets, uniformly; -1 for none."""
    u = noise.uniform(seed, step, "hard", len(counts))
    return np.where(counts > 0, (u * counts).astype(np.int64), -1)


def normal(prompt: str) -> str:
    """The spelling under which two prompts are the same."""
    return " ".join(prompt.lower().split())
