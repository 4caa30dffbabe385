"""Figures 1, 5 and S2: clips of Table 1's models side by side, prompts chosen by a rule.

The rule is fixed here, before any clip is seen: the extremes and the median of the paired PC
difference, and prompts drawn at random. All clips of a prompt start from the same noise.
`gallery_files` keeps what is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from direct.common.errors import UserError
from direct.common.files import digest
from direct.common.seed import stable_seed
from direct.config import Config, Run

from ..ablations import ABLATIONS
from ..cell import read_result
from ..schema import Cell
from ..table import judge_name
from . import clips
from .clips import Clip

TRUTH, BASE, SFT = "Ground truth", "Zero-shot", "+ SFT"
RANDOM, DIRECT = "+ Random negatives (ΔFM)", "+ SFT + MaNS + MiNS (DiReCT)"
SHORT = {BASE: "Base", SFT: "SFT", RANDOM: "Random negatives", DIRECT: "DiReCT"}


@dataclass(frozen=True)
class Figure:
    """Which rows of Table 1 stand side by side, and how prompts are chosen for them."""

    name: str
    title: str
    rows: tuple[str, ...]
    against: str  # PC(DiReCT) - PC(this row) orders the prompts
    picks: tuple[str, ...]  # "gain", "median", "loss" or "lot"


FIGURES = (
    Figure(
        "figure_1",
        "Figure 1: the base model and DiReCT",
        (BASE, SFT, DIRECT),
        BASE,
        ("gain", "median", "loss"),
    ),
    Figure(
        "figure_5",
        "Figure 5: other post-training and DiReCT",
        (BASE, SFT, RANDOM, DIRECT),
        SFT,
        ("gain", "loss"),
    ),
    Figure(
        "figure_s2",
        "Figure S2: prompts drawn at random",
        (BASE, SFT, DIRECT),
        BASE,
        ("lot", "lot", "lot"),
    ),
)
WORDS = {
    "gain": "largest gain of PC",
    "median": "median change of PC",
    "loss": "largest loss of PC",
    "lot": "drawn at random",
}
LEGEND = (
    "White: what the judge tracks. Amber, dashed: the nearest motion that a law of the world "
    "admits; where they differ, PC is lower."
)

# Table 1's models that the figures show: their cells are Table 1's cells, of its first seed.
_SHOWN = {row for figure in FIGURES for row in figure.rows}
ABLATION = replace(
    ABLATIONS["sampling"],
    name="gallery",
    title="Clips of Table 1's models",
    contrasts=(),
    rows=tuple(row for row in ABLATIONS["sampling"].rows if row.label in _SHOWN),
    seeds=(0,),
)


@dataclass(frozen=True)
class Example:
    figure: str
    pick: str
    difference: float  # of PC, DiReCT minus the figure's `against`, judge's units
    id: str
    prompt: str
    clips: tuple[Clip, ...]


@dataclass(frozen=True)
class Gallery:
    key: str  # of the results and the rule that it was made from
    judge: str
    seed: int
    prompts: int  # that the rule chose from
    size: tuple[int, int, int]  # width, height, frames of every clip
    cells: tuple[str, ...]
    commits: tuple[str, ...]
    examples: tuple[Example, ...]


def choose(figure: Figure, differences: Sequence[float], taken: set[int], seed: int) -> list[int]:
    """Indices of the figure's prompts, in the order of its picks; none of `taken`.

    `differences`: PC of DiReCT minus PC of the figure's other row, per prompt. Ties go to the
    prompt that comes first. Raises `UserError` where there are fewer prompts than picks.
    """
    free = [i for i in range(len(differences)) if i not in taken]
    if len(free) < len(figure.picks):
        raise UserError(
            f"{figure.name} shows {len(figure.picks)} prompts that no other figure "
            f"has, and {len(free)} are left; use more --prompts"
        )
    lot = iter(np.random.default_rng(stable_seed(figure.name, seed)).permutation(free).tolist())
    order = sorted(free, key=lambda i: (-differences[i], i))
    fixed = {"gain": order[0], "median": order[len(order) // 2], "loss": order[-1]}
    return [fixed[pick] if pick in fixed else next(lot) for pick in figure.picks]


def gather(cells: Sequence[Cell], root: Path, cache: Path, known: Gallery | None = None) -> Gallery:
    """The gallery from finished cells: chosen by their scores, decoded from their latents.

    `known` is returned where it was made from the same results. Raises `UserError` where a cell
    has no result, diverged, or holds neither its clips nor the model that renders them.
    """
    by_row = {cell.row: cell for cell in reversed(cells)}  # of the first seed
    results = {row: result_of(cell, root) for row, cell in by_row.items()}
    key = digest(
        [
            [asdict(figure) for figure in FIGURES],
            {row: result["checksum"] for row, result in results.items()},
        ]
    )
    if known and known.key == key:
        return known
    pc = {row: result["scores"]["PC"] for row, result in results.items()}
    config = by_row[DIRECT].config
    chosen: list[tuple[Figure, str, int, float]] = []
    for figure in FIGURES:
        d = [a - b for a, b in zip(pc[DIRECT], pc[figure.against], strict=True)]
        taken = {index for _, _, index, _ in chosen}
        for pick, index in zip(figure.picks, choose(figure, d, taken, config.seed), strict=True):
            chosen.append((figure, pick, index, d[index]))
    indices = [index for _, _, index, _ in chosen]
    videos = {
        row: decode(Run(cell.config, cache, root / cell.id), indices)
        for row, cell in by_row.items()
    }
    size: tuple[int, int, int] = (0, 0, 0)
    examples = []
    for place, (figure, pick, index, difference) in enumerate(chosen):
        shown = [(TRUTH, *found)] if (found := truth(config, index)) else []
        shown += [
            (SHORT[row], videos[row][place], _scores(results[row], index)) for row in figure.rows
        ]
        drawn, size = clips.drawn(shown, config)
        first = results[DIRECT]
        examples.append(
            Example(
                figure.name,
                pick,
                difference,
                first["prompts"][index],
                first.get("captions", first["prompts"])[index],
                tuple(drawn),
            )
        )
    return Gallery(
        key,
        f"{judge_name(config.evaluate.judge)}, {config.profile}",
        config.seed,
        len(pc[DIRECT]),
        size,
        tuple(cell.id for cell in by_row.values()),
        tuple(sorted({result["provenance"]["commit"] for result in results.values()})),
        tuple(examples),
    )


def result_of(cell: Cell, root: Path) -> dict[str, Any]:
    result = read_result(root / cell.id)
    if result is None or result["status"] != "done":
        state = "has no result" if result is None else "diverged"
        raise UserError(
            f"the cell {cell.id} ({cell.row}) {state}, so it has no clips to show; run its sweep"
        )
    kept = ("samples.safetensors", "transformer")
    if cell.config.train.steps and not any((root / cell.id / name).exists() for name in kept):
        raise UserError(
            f"{root / cell.id} holds neither clips nor a model, only their scores; "
            "remove the folder and run the gallery again"
        )
    return result


def _scores(result: dict[str, Any], index: int) -> dict[str, float]:
    return {metric: result["scores"][metric][index] for metric in clips.SCORES}


def decode(run: Run, indices: Sequence[int]) -> np.ndarray:
    """The cell's clips of these prompts, uint8 [N, T, H, W, 3], as the judge saw them."""
    import torch

    from direct.common.files import load_arrays
    from direct.evaluate.clips import generate
    from direct.models import codec
    from direct.models.pipeline import load_pipeline

    torch.set_num_threads(run.config.threads)
    samples = load_arrays(generate(run))
    assert samples is not None  # just made or found whole
    pipeline = load_pipeline(run.config.model.pipeline, without=("transformer", "text_encoder"))
    return codec.decode_latents(pipeline, samples["latents"][list(indices)])


def truth(config: Config, index: int) -> tuple[np.ndarray, dict[str, float]] | None:
    """What the caption describes, rendered by the world, and its scores; none for a benchmark."""
    if config.data.source != "world":
        return None
    from direct.data import source
    from direct.evaluate.judge import scorer

    item = source.evaluation(config)[index]
    video = item.video()
    scores = scorer(config)(video, item.record)
    return video, {metric: scores[metric] for metric in clips.SCORES}
