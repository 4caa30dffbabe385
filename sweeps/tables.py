"""A table as numbers: every value with its interval, n, and paired difference to the baseline.

`build` is a pure function of result files; `report.write.write_table` writes what it found.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from direct.common.errors import UserError
from direct.config import Measure
from direct.identity import identity

from . import mechanism_claims, paper_claims, readings, rounds, stats
from .cell import other_code
from .contrasts import (
    Hypothesis,
    Scores,
    Tested,
    declared,
    difference,
    family,
    hypotheses,
    looked,
    paired,
    undecided,
)
from .paper_claims import Claim
from .results import frame
from .schema import CHOICE_METRIC, METRICS, Ablation, Cell, Row
from .stages import REAL, Stages
from .stats import Array, Pool
from .table import Gain, Line, Old, Table, Value

if TYPE_CHECKING:
    import pandas as pd

CLAIMS = (*paper_claims.CLAIMS, *mechanism_claims.UNGUIDED, *mechanism_claims.MECHANISM)


def build(
    ablation: Ablation,
    cells: list[Cell],
    results: dict[str, dict[str, Any]],
    stages: Stages = REAL,
) -> Table:
    """The table of these cells, as far as they have results."""
    ids = {cell.id for cell in cells}
    own = {name: result for name, result in results.items() if name in ids}
    trials = {cell.id for cell in cells if cell.candidate}
    scored = frame({name: result for name, result in own.items() if name not in trials})
    wide = _wide(scored)
    judged = {name for name, _ in wide}
    lines = [_line(row, [c for c in cells if c.row == row.owner], own) for row in ablation.rows]
    lines = [replace(line, gain=_gain(line, results)) for line in lines]
    scores = {line.row.label: _scores(line, ablation, wide, judged) for line in lines}
    scores |= {line.row.label: scores[line.chosen] for line in lines if line.chosen}
    baseline = scores.get(ablation.baseline, {})
    pools = {
        metric: _pool(own, [by.get(metric) for by in scores.values()])
        for metric, own in baseline.items()
        if not _share_trainings(ablation)
    }
    values = {
        label: {
            metric: _value(own, scores[ablation.partner(label)].get(metric), pools.get(metric))
            for metric, own in by_metric.items()
        }
        for label, by_metric in scores.items()
    }
    values = _ranked(ablation, values, {x.row.label for x in lines if x.diverged}, pools)
    table = Table(
        ablation,
        cells[0].config,
        tuple(replace(x, values=values[x.row.label]) for x in lines),
        pools,
        {},
        _provenance(own),
        tuple(own[name]["samples"] for name in sorted(own) if "samples" in own[name]),
        tuple(sorted(set(scored["prompt"]))),
        _old(cells, own, stages),
    )
    table = tested(table)
    return _at_looks(table, cells, results, stages) if ablation.rounds else table


def _at_looks(
    table: Table, cells: list[Cell], results: dict[str, dict[str, Any]], stages: Stages
) -> Table:
    """The table with p values of the planned looks that are complete, each at its own level."""
    ablation, seeds = table.ablation, sorted({cell.config.seed for cell in cells})
    found: list[tuple[float, dict[Hypothesis, Tested]]] = []
    for n, level in zip(ablation.rounds, rounds.levels(ablation.rounds), strict=True):
        own = [cell for cell in cells if cell.config.seed in seeds[:n]]
        if len(seeds) < n or any(cell.id not in results for cell in own):
            break
        whole = len(seeds) == n  # the table itself, which is built already
        at = table if whole else build(replace(ablation, rounds=()), own, results, stages)
        found.append((level, at.family))
    joined = looked(table.family, found)
    lines = tuple(replace(x, values=_with_p(x, ablation, joined)) for x in table.lines)
    return replace(table, lines=lines, family=joined, looks=len(found))


def tested(table: Table, claims: Sequence[Claim] = CLAIMS) -> Table:
    """The table with the p values of its one family: its own contrasts, and `claims` about it."""
    rows = {
        line.row.label: {metric: value.scores for metric, value in line.values.items()}
        for line in table.lines
        if line.cells
    }
    found = family(hypotheses(table.ablation, claims), rows, table.pools)
    lines = tuple(replace(x, values=_with_p(x, table.ablation, found)) for x in table.lines)
    return replace(
        table, lines=lines, family=found, detectable=_detectable(table.ablation, lines, len(found))
    )


def open_hypotheses(table: Table) -> list[Hypothesis]:
    """Those of the table's family that are neither decided nor equivalent at its last look.

    Equivalent: within the margin by the interval at the look's level over the family's size.
    """
    if not table.looks:
        return list(table.family)
    level = rounds.levels(table.ablation.rounds)[table.looks - 1] / len(table.family)
    margin = rounds.margin(table.ablation.margin)
    return undecided(table.family, margin, level)


def _with_p(line: Line, ablation: Ablation, found: dict[Hypothesis, Tested]) -> dict[str, Value]:
    """The line's values; those of declared contrasts with their adjusted p."""
    p = {
        metric: found[key].p
        for label, metric in ablation.contrasts
        if label == line.row.label and (key := (declared(ablation, label, metric),)) in found
    }
    return {
        metric: replace(value, p_holm=p.get(metric) if value.difference else None)
        for metric, value in line.values.items()
    }


def _wide(scores: pd.DataFrame) -> dict[tuple[str, str], Array]:
    """`{(cell, metric): [P]}`, prompts in one order for all; refuses cells of other prompts."""
    if scores.empty:
        return {}
    wide = scores.pivot(index="prompt", columns=["cell", "metric"], values="value")
    if wide.isna().to_numpy().any():
        cell = wide.columns[wide.isna().any(axis=0)][0][0]
        raise UserError(
            f"cell {cell} was judged on other prompts or metrics than the table's "
            "other cells; remove its folder and run again"
        )
    return {key: wide[key].to_numpy(float) for key in wide.columns}


def _line(row: Row, cells: list[Cell], results: dict[str, dict[str, Any]]) -> Line:
    found = [results.get(cell.id) for cell in cells]
    diverged = tuple(r["reason"] for r in found if r and r["status"] == "diverged")
    trained = bool(cells) and cells[0].config.train.steps > 0
    negatives = next((r["negatives"] for r in found if r and "negatives" in r), None)
    chosen = _chosen(row, cells, results)
    return Line(row, {}, tuple(cells), found.count(None), diverged, trained, negatives, chosen)


def _chosen(row: Row, cells: list[Cell], results: dict[str, dict[str, Any]]) -> str:
    """The best of the row's candidates on validation prompts; "" until all of them are judged."""
    means = {}
    for label in row.best_of:
        own = [results.get(cell.id) for cell in cells if cell.candidate == label]
        scores = [r["scores"][CHOICE_METRIC] for r in own if r and r["status"] == "done"]
        if not own or len(scores) < len(own):
            return ""
        means[label] = float(np.mean(scores))
    return max(means, key=means.__getitem__, default="")


def _gain(line: Line, results: dict[str, dict[str, Any]]) -> Gain | None:
    """From the cells of sweep `gain` that measured this row's training; a reading has none."""
    loss = line.cells[0].config.loss if line.cells else None
    if not loss or line.row.reading or not line.trained or not loss.lambda_rand + loss.lambda_hard:
        return None
    measured = [identity(replace(cell.config, measure=Measure(kind="gain"))) for cell in line.cells]
    found = [results[name]["scores"] for name in dict.fromkeys(measured) if name in results]
    if not found or not all("s" in scores for scores in found):  # a diverged one has no scores
        return None
    return Gain(*(float(np.mean([scores[m] for scores in found])) for m in ("s", "predicted")))


def _scores(
    line: Line, ablation: Ablation, wide: dict[tuple[str, str], Array], judged: Collection[str]
) -> dict[str, Scores]:
    done = [cell for cell in line.cells if cell.id in judged]
    if not done:
        return {}
    seeds = tuple(cell.config.seed for cell in done)
    found = {
        metric: [readings.column(wide, cell.id, line.row, metric) for cell in done]
        for metric in ablation.metrics
    }
    return {
        metric: Scores(np.stack([c for c in columns if c is not None]), seeds, line.trained)
        for metric, columns in found.items()
        if columns[0] is not None
    }


def _share_trainings(ablation: Ablation) -> bool:
    """Whether rows are points of one training run, or one model sampled in several ways: a seed
    moves them together, or not at all alike, and their residual says nothing about the difference
    of two runs at one point. No pool then.
    """
    sampled = (ablation.axis or "").startswith("sample.")
    return sampled or any(row.curve for row in ablation.rows)


def _pool(baseline: Scores, rows: list[Scores | None]) -> Pool | None:
    """The variance over seeds, of the trained rows that have every seed of the baseline."""
    if not baseline.trained:
        return None
    means = {}  # rows of one configuration are one row
    for row in rows:
        if row and row.trained and set(row.seeds) >= set(baseline.seeds):
            m = row.matrix.mean(-1)[[row.seeds.index(seed) for seed in baseline.seeds]]
            means[m.tobytes()] = m
    return stats.pool(np.stack(list(means.values())))


def _value(own: Scores, partner: Scores | None, pool: Pool | None) -> Value:
    seeds = pool.of_row(len(own.seeds)) if pool and own.trained else None
    mean = stats.estimate(own.matrix, seeds)
    d = None if partner is None or partner is own else paired(own, partner)
    if d is None or partner is None:
        return Value(own, mean, None, None, None)
    return Value(own, mean, difference(own, partner, pool), d, None)


Values = dict[str, dict[str, Value]]  # by label, by metric


def _ranked(
    ablation: Ablation, values: Values, diverged: set[str], pools: dict[str, Pool | None]
) -> Values:
    """Marks the best, the second, and what the paired interval does not separate from the best.

    Rows compare as printed: means that round to the same number share a rank.
    """
    for metric in ablation.metrics:
        column = {
            label: by[metric]
            for label, by in values.items()
            if metric in by and label not in diverged
        }
        show = METRICS[metric]
        if not show.better:
            continue
        printed = {k: round(show.scale * v.mean.mean, show.decimals) for k, v in column.items()}
        levels = sorted(set(printed.values()), reverse=show.better > 0)
        if len(levels) < 2:
            continue
        top = max(column, key=lambda label: show.better * column[label].mean.mean)
        for label, value in column.items():
            values[label][metric] = replace(
                value,
                best=printed[label] == levels[0],
                second=printed[label] == levels[1],
                tied=label != top and _inseparable(value, column[top], pools.get(metric)),
            )
    return values


def _inseparable(value: Value, top: Value, pool: Pool | None) -> bool:
    d = difference(top.scores, value.scores, pool)
    return d is not None and d.low <= 0 <= d.high


def _detectable(ablation: Ablation, lines: Sequence[Line], tests: int) -> dict[str, float]:
    """The PC contrasts' minimum detectable differences, the largest first."""
    values = {line.row.label: line.values for line in lines}
    found = {
        label: values[label][metric].difference
        for label, metric in ablation.contrasts
        if metric == "PC" and metric in values.get(label, {})
    }
    sizes = {label: stats.detectable(d, tests) for label, d in found.items() if d}
    return {
        label: size
        for label, size in sorted(sizes.items(), key=lambda item: -item[1])
        if math.isfinite(size)
    }


def _old(cells: list[Cell], results: dict[str, dict[str, Any]], stages: Stages) -> Old | None:
    by_id = {cell.id: cell.config for cell in cells if cell.id in results}
    found = [other_code(results[name], config, stages) for name, config in by_id.items()]
    modules = tuple(sorted({module for differing in found for module in differing}))
    return Old(sum(map(bool, found)), len(found), modules) if modules else None


def _provenance(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Each kind of provenance that the results have, once."""
    kinds: dict[str, list[Any]] = {}
    for name in sorted(results):
        for key, value in results[name]["provenance"].items():
            if value not in kinds.setdefault(key, []):
                kinds[key].append(value)
    return kinds
