"""MiNS at the paper's scale (Sec. 4.2, App. B): a language model changes one axis of physics.

Per prompt, `candidates` axes are drawn uniformly and the instruction of Fig. S1 is put to the
model. What wraps the caption in a reply is taken off (`reply`). An answer that is no usable caption
(`usable`) is rejected and asked for again; of the others, those within the cosine of Eq. 4 are
kept, nearest first (`micro.select`). The model itself runs in this process (`language.local`) or
behind OpenAI-compatible servers (`server.servers`), to whom the prompts are shared out (`several`).
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..common import spent
from ..common.errors import UserError
from ..common.files import canonical_json, read_journal, write_json, write_text
from ..common.seed import stable_seed
from ..config import Micro
from ..negatives import micro
from .reply import caption
from .several import shared_out
from .usable import fault

# Fig. S1, to the letter; its line breaks inside a sentence are the page's.
DIMENSIONS = {
    "kinematics": (
        "Change the motion time-profile only (speed/acceleration/onset/duration), keeping "
        "material, direction, and magnitude otherwise consistent.\n"
        "Examples: sudden → gradual; fast → slow; constant speed → accelerating; continuous → "
        "pulsed."
    ),
    "forces": (
        "Change the implied dominant force direction/type that governs motion (e.g., "
        "gravity-aligned vs against-gravity, attraction vs repulsion, buoyant rise vs sink), "
        "while keeping objects and timing otherwise similar.\n"
        "Examples: object rises as if buoyant instead of falling; debris pulls inward instead "
        "of expanding outward; liquid flows upward along a surface as if attracted."
    ),
    "material": (
        "Change exactly ONE physical property of an object/substance (viscosity OR elasticity "
        "OR brittleness OR friction OR density OR surface tension), while keeping timing, "
        "direction, and magnitude otherwise similar.\n"
        "Examples: water behaves more viscous (honey-like) without changing the amount; glass "
        "deforms elastically instead of shattering; a surface becomes high-friction so sliding "
        "becomes sluggish."
    ),
    "interaction": (
        "Change how objects interact on contact (stick vs bounce, shatter vs dent, splatter vs "
        "bead, slide vs roll), while keeping the setup unchanged.\n"
        "Examples: ball sticks instead of bouncing; object dents instead of breaking; droplets "
        "bead up instead of spreading."
    ),
    "magnitude": (
        "Change the magnitude of ONE scalar physical quantity (amount/volume, intensity, "
        "amplitude, drop height/impact energy, flow rate), while keeping material, direction, "
        "and timing language otherwise unchanged.\n"
        "Examples: droplet → steady thin stream; small ripple → large wave; gentle spark → "
        "intense flare."
    ),
}
TEMPLATE = """\
You are an expert in physics and video understanding. Given the caption below, generate a \
physics-violating variant by modifying ONLY the {dimension} aspect.

{dimension} is defined as: {description}

Constraints:
❖ Preserve the scene, objects, setting, and camera style — alter only the physical behavior along \
the {dimension} dimension.
❖ Minimize textual changes; keep similar length and wording.
❖ Describe the altered physics directly — do not reference the original behavior.

If the caption is underspecified, infer reasonable defaults for any missing details.

ORIGINAL: {prompt}
Respond with the modified caption only."""

ROUNDS = 3  # how often a rejected answer is asked for again, less one
GROUP = 16  # prompts asked about together and written down together
Answer = tuple[str, bool]  # the text, and whether the model came to an end by itself
Ask = Callable[[Sequence[str], int], Sequence[Answer]]  # (instructions, seed) -> answers
Pairs = Sequence[tuple[str, str]]  # (id, prompt)
Answers = list[list[dict[str, Any]]]  # of each of a group's prompts, as candidates.jsonl has them
Embed = Callable[[Sequence[str]], np.ndarray]  # prompts -> pooled embeddings [N, D]


def perturb(
    prompts: Sequence[tuple[str, str]],
    out: Path,
    settings: Micro,
    models: Mapping[str, Ask],
    embed: Embed,
    *,
    model: str,
    fits: Callable[[str], bool] = lambda text: True,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Perturbs (id, prompt) pairs into `out`; returns the retention statistics per dimension.

    `out`/candidates.jsonl gets a line per prompt with every answer, its axis, cosine and fate, as
    soon as it is known, so that an interrupted run resumes. kept.jsonl and retention.json are
    written last. `models` are the same language model at several places, `model` is its name.
    `fits` says whether the frozen encoder takes a text whole.
    """
    unknown = set(settings.axes) - DIMENSIONS.keys()
    if unknown or not settings.axes:
        raise UserError(f"micro.axes: {sorted(unknown)} unknown; known: {', '.join(DIMENSIONS)}")
    path = Path(out) / "candidates.jsonl"
    done = _resume(path, {**_plain(settings), "model": model})
    todo = [(name, prompt) for name, prompt in prompts if (name, prompt) not in done]
    groups = [todo[start : start + GROUP] for start in range(0, len(todo), GROUP)]
    usable, left = _one_at_a_time(fits), len(todo)

    def answered(group: Pairs, ask: Ask) -> tuple[Pairs, Answers]:
        return group, _answers(group, settings, ask, usable)

    began = time.monotonic()
    with open(path, "a", encoding="utf-8") as handle:
        for group, answers in shared_out(groups, models, answered):
            for line in _settled(group, answers, settings, embed):
                done[line["id"], line["prompt"]] = line
                handle.write(canonical_json(line) + "\n")
            handle.flush()
            now = time.monotonic()
            spent.note(Path(out), "perturb", len(group), now - began, len(models))
            left, began = left - len(group), now
            if progress:
                progress("perturb", len(prompts) - left, len(prompts))
    lines = [done[key] for key in prompts]
    report = statistics(lines, settings.min_cosine)
    write_json(Path(out) / "retention.json", report)
    own = set(prompts)
    others = [line for key, line in done.items() if key not in own]  # of a larger profile
    kept = [
        {"id": line["id"], "prompt": line["prompt"], "kept": _kept(line)}
        for line in (*others, *lines)  # of one id the last counts
    ]
    write_text(Path(out) / "kept.jsonl", "".join(canonical_json(line) + "\n" for line in kept))
    return report


def instruction(axis: str, prompt: str) -> str:
    """Fig. S1 for one dimension and caption."""
    return TEMPLATE.format(dimension=axis.upper(), description=DIMENSIONS[axis], prompt=prompt)


def statistics(lines: Sequence[dict[str, Any]], min_cosine: float) -> dict[str, Any]:
    """`micro.retention` of the usable candidates, and per axis the answers rejected, by reason."""
    usable = [[c for c in line["candidates"] if c["cosine"] is not None] for line in lines]
    rejected: dict[str, Counter[str]] = {}
    for line in lines:
        for c in line["candidates"]:
            if c["cosine"] is None:
                rejected.setdefault(c["axis"], Counter())[c["fate"]] += 1
    report = micro.retention(
        [[(c["axis"], c["prompt"]) for c in found] for found in usable],
        [[c["cosine"] for c in found] for found in usable],
        [_kept(line) for line in lines],
        min_cosine,
    )
    return report | {"rejected": {axis: dict(rejected[axis]) for axis in sorted(rejected)}}


def _one_at_a_time(fits: Callable[[str], bool]) -> Callable[[str], bool]:
    """`fits`, for several threads: a tokenizer is not for two at a time."""
    turn = threading.Lock()

    def alone(text: str) -> bool:
        with turn:
            return fits(text)

    return alone


def _answers(prompts: Pairs, settings: Micro, ask: Ask, fits: Callable[[str], bool]) -> Answers:
    """Every answer to a group's prompts, with the fate of those that are no usable caption."""
    rngs = [np.random.default_rng(stable_seed(*pair, list(settings.axes))) for pair in prompts]
    seen: list[set[str]] = [set() for _ in prompts]
    answers: Answers = [[] for _ in prompts]
    for attempt in range(ROUNDS):
        wanted = [
            (i, settings.axes[int(rngs[i].integers(len(settings.axes)))])
            for i in range(len(prompts))
            for _ in range(settings.candidates - len(seen[i]))
        ]
        if not wanted:
            break
        texts = [instruction(axis, prompts[i][1]) for i, axis in wanted]
        replies = ask(texts, stable_seed(texts, attempt) >> 32)
        for (i, axis), (reply, complete) in zip(wanted, replies, strict=True):
            text = caption(reply, prompts[i][1])
            fate = fault(text, complete, prompts[i][1], seen[i])
            fate = fate or (None if fits(text) else "too long")
            whole = {} if text == reply.strip() else {"reply": reply}
            answers[i].append({"axis": axis, "prompt": text, "cosine": None, "fate": fate} | whole)
            if fate is None:
                seen[i].add(micro.normal(text))
    return answers


def _settled(
    prompts: Pairs, answers: Answers, settings: Micro, embed: Embed
) -> list[dict[str, Any]]:
    """The lines of a group of prompts: every usable answer has its cosine and its fate."""
    usable = [[c for c in found if c["fate"] is None] for found in answers]
    z = embed([prompt for _, prompt in prompts] + [c["prompt"] for found in usable for c in found])
    anchors, rest = z[: len(prompts)], z[len(prompts) :]
    ends = np.cumsum([len(found) for found in usable])
    for anchor, found, near in zip(anchors, usable, np.split(rest, ends[:-1]), strict=True):
        cosines = micro.cosine(anchor, near)
        pairs = [(c["axis"], c["prompt"]) for c in found]
        chosen = micro.select(pairs, cosines, settings.min_cosine, settings.keep)
        kept = {entry["prompt"] for entry in chosen}
        for c, cosine in zip(found, cosines, strict=True):
            c["cosine"] = round(float(cosine), 6)
            missed = "below the cosine" if cosine < settings.min_cosine else "not among the nearest"
            c["fate"] = "kept" if c["prompt"] in kept else missed
    return [
        {"id": name, "prompt": prompt, "candidates": found}
        for (name, prompt), found in zip(prompts, answers, strict=True)
    ]


def _kept(line: dict[str, Any]) -> list[dict[str, Any]]:
    """The kept candidates, nearest first."""
    kept = [c for c in line["candidates"] if c["fate"] == "kept"]
    shown = [{name: c[name] for name in ("axis", "prompt", "cosine")} for c in kept]
    return sorted(shown, key=lambda entry: -entry["cosine"])


def _resume(path: Path, settings: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Lines by (id, prompt) of a journal made with these settings; begins one where none is."""
    lines = read_journal(path)
    if not lines:
        write_text(path, canonical_json({"settings": settings}) + "\n")
        return {}
    if lines[0].get("settings") != json.loads(canonical_json(settings)):
        raise UserError(f"{path} was made with {lines[0].get('settings')}; give another folder")
    for number, line in enumerate(lines[1:], 2):
        if not _is_line(line):
            raise UserError(f"{path}, line {number}: not a clip's candidates; remove that line")
    return {(line["id"], line["prompt"]): line for line in lines[1:]}


def _is_line(line: dict[str, Any]) -> bool:
    """Whether a journal's line has all that is read of it."""
    found = line.get("candidates")
    return (
        isinstance(line.get("id"), str)
        and isinstance(line.get("prompt"), str)
        and isinstance(found, list)
        and all(isinstance(c, dict) and _is_candidate(c) for c in found)
    )


def _is_candidate(c: dict[str, Any]) -> bool:
    cosine = c.get("cosine", "")
    texts = all(isinstance(c.get(name), str) for name in ("axis", "prompt", "fate"))
    return texts and (cosine is None or (type(cosine) in (int, float) and -1.01 < cosine < 1.01))


def _plain(settings: Micro) -> dict[str, Any]:
    names = ("candidates", "min_cosine", "keep", "axes")
    return {name: getattr(settings, name) for name in names}
