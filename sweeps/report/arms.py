"""Clips of every row of any table, side by side on the table's own page.

`python -m sweeps.run gallery NAME` makes them. All clips of a prompt start from the same noise,
that of the table's first seed. The prompts are chosen by a rule, from the scores alone. What is
shown is kept in `<table>_clips.json`, and is drawn while the table has the numbers it is made from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from direct.common.errors import UserError
from direct.common.files import digest, read_sealed, sealed, write_text
from direct.common.text import plain
from direct.config import Run

from ..schema import METRICS
from ..table import Line, Table
from . import clips
from .gallery import LEGEND, TRUTH, WORDS, decode, result_of, truth

PICKS = ("gain", "median", "loss")
MOST = 48  # clips on a page, or one prompt of every row: some 25 kB each on the tiny profile


def gather(table: Table, root: Path, cache: Path) -> dict[str, Any]:
    """The clips as JSON. A `UserError` where there is nothing to compare, or no clips are left."""
    base, lead, metric, seed = _compared(table)
    lines = [x for x in _judged(table) if seed in x.values[metric].scores.seeds]
    d = _first(lead, metric, seed) - _first(base, metric, seed)
    picks = PICKS[: max(1, min(len(PICKS), MOST // len(lines)))]
    columns = _chosen(d, picks)  # of the table's matrices
    own = {x.row.label: _cell(x, seed) for x in lines}
    results = {label: result_of(cell, root) for label, cell in own.items()}
    prompts = results[base.row.label]["prompts"]
    indices = [prompts.index(table.units[column]) for column in columns]
    videos = {
        label: decode(Run(cell.config, cache, root / cell.id), indices)
        for label, cell in own.items()
    }
    config, examples = own[base.row.label].config, []
    size: tuple[int, int, int] = (0, 0, 0)
    for place, (pick, column, index) in enumerate(zip(picks, columns, indices, strict=True)):
        films = [(TRUTH, *real)] if (real := truth(config, index)) else []
        films += [(label, videos[label][place], _scores(results[label], index)) for label in own]
        drawn, size = clips.drawn(films, config)
        change = f"{METRICS[metric].scale * d[column]:+.{METRICS[metric].decimals}f}"
        why = f"{WORDS[pick].replace('PC', metric)}; {lead.row.label} minus {base.row.label}"
        shown = results[base.row.label]
        caption = shown.get("captions", shown["prompts"])[index]
        examples.append(
            {"prompt": caption, "why": f"{why}: {change}", "clips": list(map(asdict, drawn))}
        )
    words = (
        f"Every row, training seed {seed}; all clips of a prompt start from the same noise. Of "
        f"{len(d)} prompts: {', '.join(WORDS[x].replace('PC', metric) for x in picks)}, from "
        f"{base.row.label} to {lead.row.label}; the rule is blind to the clips. Scores: "
        f"{table.judge}."
    )
    legend = LEGEND if config.evaluate.judge == "world" else ""
    found = {"key": key(table), "caption": f"{words} {legend}", "size": size}
    return found | {"base": base.row.label, "examples": examples}


def key(table: Table) -> str:
    """Of the numbers that the clips are chosen from."""
    return digest(
        {
            line.row.label: [value.scores.matrix.tolist() for value in line.values.values()]
            for line in table.lines
        }
    )


def write(table: Table, found: dict[str, Any], folder: Path) -> Path:
    path = _place(table, folder)
    write_text(path, sealed(found))
    return path


def read(table: Table, folder: Path) -> dict[str, Any] | None:
    """What the table's page shows; None where there are no clips of these numbers."""
    try:
        record = read_sealed(_place(table, folder))
        if record["key"] != key(table):
            return None
        width, height, frames = (int(n) for n in record["size"])
        examples = [
            {
                "prompt": str(x["prompt"]),
                "why": str(x["why"]),
                "base": str(record["base"]),
                "films": [clips.film(clips.clip_of(clip)) for clip in x["clips"]],
            }
            for x in record["examples"]
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    title = plain(f"{table.ablation.place}: clips of every row")
    figure = {"title": title, "examples": examples}
    caption = plain(str(record["caption"]))
    return {"caption": caption, "note": "", "size": (width, height, frames), "figures": [figure]}


def _place(table: Table, folder: Path) -> Path:
    return folder / f"{table.ablation.file}_clips.json"


def _judged(table: Table) -> list[Line]:
    """The rows that have clips, of cells of their own."""
    return [x for x in table.lines if x.values and x.cells and not x.row.best_of]


def _compared(table: Table) -> tuple[Line, Line, str, int]:
    """The baseline, the row of the first contrast with another, their metric and first seed."""
    if table.ablation.measured:
        raise UserError(f"{table.ablation.place} measures training, so it has no clips to show")
    lines = {x.row.label: x for x in _judged(table)}
    base = lines.get(table.ablation.baseline)
    order = [label for label, _ in table.ablation.contrasts] + list(lines)
    for lead in [lines[x] for x in order if x in lines and base and x != base.row.label]:
        metric = "PC" if "PC" in lead.values else next(iter(lead.values))
        both = [x.values[metric].scores.seeds for x in (base, lead) if x]
        if shared := sorted(set(both[0]).intersection(both[1])):
            assert base
            return base, lead, metric, shared[0]
    raise UserError(
        f"{table.ablation.place} has no seed with results of its baseline and another row; run it"
    )


def _first(line: Line, metric: str, seed: int) -> Any:
    """[P] scores of one seed."""
    scores = line.values[metric].scores
    return scores.matrix[scores.seeds.index(seed)]


def _cell(line: Line, seed: int) -> Any:
    return next(cell for cell in line.cells if cell.config.seed == seed)


def _chosen(d: Any, picks: Sequence[str]) -> list[int]:
    """Places in `d`; of equal ones the first. Of few prompts one may be chosen twice."""
    order = np.argsort(-d, kind="stable").tolist()
    places = {"gain": 0, "median": len(order) // 2, "loss": -1}
    return [order[places[pick]] for pick in picks]


def _scores(result: dict[str, Any], index: int) -> dict[str, float]:
    """SA and PC, or a judge's own first two."""
    names = [name for name in clips.SCORES if name in result["scores"]] or [*result["scores"]][:2]
    return {name: result["scores"][name][index] for name in names}
