"""What stands above and below a written table: its title, its caption, its notes."""

from __future__ import annotations

from direct.common.text import plain

from .. import paper, rounds
from ..ablations import ABLATIONS
from ..schema import CHOICE_METRIC, METRICS
from ..table import Table
from ..tables import open_hypotheses
from . import beyond, measured, rendering
from .layout import shows_negatives


def _hypotheses(table: Table) -> str:
    return "1 hypothesis" if len(table.family) == 1 else f"{len(table.family)} hypotheses"


def title(table: Table) -> str:
    """What the table is, in one sentence, and what was changed from the profile."""
    ablation = table.ablation
    again = f"{ablation.place} of the paper, run again: " * (not ablation.ours)
    changed = f" Changed from the profile: {', '.join(ablation.changed)}." * bool(ablation.changed)
    return plain(f"{again}{ablation.title}.{changed}")


def caption(table: Table) -> str:
    """Everything a reader needs to judge the numbers, in a few sentences."""
    return " ".join([title(table), *sources(table)])


def sources(table: Table) -> list[str]:
    """Whose scores these are, of how many runs, and what they can show."""
    ablation = table.ablation
    values = [value for line in table.lines for value in line.values.values()]
    value = max(values, key=lambda value: value.mean.seeds, default=None)
    parts = [
        measured.source(table)
        if ablation.measured
        else f"Our scores ({table.judge}) and the published ones ({paper.SCALE}) come from "
        "different models, judges and scales: compare rows, not scales."
        if ablation.published
        else f"Scores: {table.judge}; the paper prints none."
        if ablation.name in ABLATIONS
        else f"Scores: {table.judge}.",
    ]
    if not ablation.measured:
        parts.append(_sampling(table))
    if value:
        random = value.mean.seeds_random
        parts += [
            f"n = {value.mean.seeds} training seed{'s' if random else ''} × "
            f"{value.mean.prompts} {ablation.unit}.",
            f"± and [ ] are 95 % t intervals over crossed {ablation.unit} and "
            + ("random seeds." if random else f"this one seed (fixed): over {ablation.unit}."),
        ]
    if table.detectable:
        worst, *others = (f"{METRICS['PC'].scale * d:.2f}" for d in table.detectable.values())
        which = (
            f"for “{next(iter(table.detectable))}”, at most {others[0]} for the others "
            if others
            else ""
        )
        parts.append(
            f"Minimum detectable paired PC difference: {worst} points {which}(80 % power, "
            f"after Holm over {_hypotheses(table)})."
        )
    total = {cell.id: line for line in table.lines for cell in line.cells}
    missing = sum(line.missing for line in table.lines)
    if missing:
        parts.append(f"Incomplete: {missing} of {len(total)} cells have no result yet.")
    parts.append(f"Commit {', '.join(table.provenance.get('commit', ['none']))}.")
    return [plain(part) for part in parts]


def _sampling(table: Table) -> str:
    """How the judged clips were sampled: the guidance, steps and gain that the rows have."""
    used = [cell.config.sample for line in table.lines for cell in line.cells]
    guidance, steps, gains = (
        sorted({getattr(sample, name) for sample in used}) for name in ("guidance", "steps", "gain")
    )

    def words(values: list[float]) -> str:
        return ", ".join(f"{value:.3g}" for value in values)

    gain = "no gain" if gains == [0] else f"gain {words(gains)}"
    return f"Clips: guidance {words(guidance)}, {words(steps)} Euler steps, {gain}."


def _looked(table: Table) -> list[str]:
    """The planned looks of a table whose seeds were added in rounds, and what each may spend."""
    planned = table.ablation.rounds
    if not planned:
        return []
    open_, total = len(open_hypotheses(table)), len(table.family)
    spent = ", ".join(f"{level:.4f}" for level in rounds.levels(planned))
    margin = rounds.margin(table.ablation.margin)
    return [
        "Seeds were added in rounds, until all was decided or the last look was taken: looks at "
        f"{', '.join(map(str, planned))} seeds were planned before any result, and look "
        f"{table.looks} is the last that was taken. They spend {spent} of α = {rounds.ALPHA}; a p "
        "value is α over its look's part times the one of that look, the smallest of all "
        f"looks, and is compared with {rounds.ALPHA}. {total - open_} of {total} hypotheses are "
        "decided: by p, or, of scores in %, because they are equivalent within "
        f"{margin:g} point{'s' * (margin != 1)} (docs/coverage.md). "
        "Intervals are of these seeds, and not adjusted for the looks."
    ]


def _chosen(table: Table) -> list[str]:
    """What rows of the best have chosen."""
    chosen = [f"{line.row.label}: {line.chosen}" for line in table.lines if line.chosen]
    if not chosen:
        return []
    trial = next(cell for line in table.lines for cell in line.cells if cell.candidate)
    return [
        f"Chosen by {CHOICE_METRIC} on {trial.config.evaluate.prompts} validation prompts: "
        f"{'; '.join(chosen)}."
    ]


def _gains(table: Table) -> list[str]:
    if not any(line.gain for line in table.lines):
        return []
    return [
        "Gain learnt: the mean over noise levels of the gain on SFT's velocity, about the mean "
        "negative, that the row's training has learnt; in brackets that of the loss's optimum "
        "(docs/theory.md; sweep gain)."
    ]


def _old(table: Table) -> list[str]:
    """What `--accept-old` must not hide."""
    if not (old := table.old):
        return []
    return [
        f"Old results: {old.count} of {old.total} cells were made by other code than is at hand; "
        f"they differ in {', '.join(old.modules)}. --rerun makes them again."
    ]


def notes(table: Table, gains: bool = True) -> list[str]:
    """The legend, and what went wrong; `gains`: whether their column is shown."""
    found = (
        [table.warning] * bool(table.warning)
        + _old(table)
        + beyond.words(table)
        + measured.notes(table)
        + _looked(table)
        + _chosen(table)
        + _gains(table) * gains
        + _legend(table)
        + _about_columns(table)
        + _about_rows(table)
    )
    return [plain(note) for note in found]


def _legend(table: Table) -> list[str]:
    found = [
        "Bold: best. Underlined: second. ≈: not separable from the best (the 95 % interval of "
        "the paired difference from it holds 0)."
        if any(METRICS[m].better for m in table.ablation.metrics)
        else "This table has no ranking.",
    ]
    if table.family:
        found.append(
            f"p: two-sided, adjusted by Holm over the table's one family of {_hypotheses(table)}: "
            "the contrasts that it declared before the run, and what each claim about it "
            "adds to them. Differences without p were not declared."
        )
    seeds = [value.mean.seeds for line in table.lines for value in line.values.values()]
    if max(seeds, default=0) > 1:
        found.append(
            "The variance over seeds is pooled over the table's trained rows, never below "
            "the contrast's own, and critical values are Cochran and Cox's: in simulation "
            "intervals and Holm's test have their nominal coverage and error rates "
            "(docs/coverage.md)."
            if any(table.pools.values())
            else "The variance over seeds is each contrast's own, nothing is pooled; critical "
            "values are Cochran and Cox's (docs/coverage.md)."
        )
    return found


def _about_columns(table: Table) -> list[str]:
    found = []
    if shows_negatives(table):
        found.append(
            "The negatives: Σ p_k² is the share of uniform draws that leaving out the own "
            "cluster changes; law exclusion changes more. Distances are Euclidean, "
            "between pooled prompt embeddings, exact over all allowed pairs."
        )
    if offers := rendering.offers(table):
        lost = rendering.without(offers)
        if lost is not None:
            found.append(
                f"Leaving hard negatives out altogether changes PC by {lost:+z.2f}. That is what a "
                "rendering can lose: where it is below the margin, an equivalent one may have lost "
                "most of it."
            )
        found.append(
            "Passes: forward passes of the transformer that render one hard negative, in passes of "
            "a whole clip (guidance takes two a step; fewer latents and blocks count by their "
            "number). The mean of a prompt's negatives costs as much a negative, and renders all."
        )
    return found


def _about_rows(table: Table) -> list[str]:
    found = []
    if not all(line.cells for line in table.lines):
        found.append(
            "The other models need the profile named in their row, where each runs in its own "
            "diffusers pipeline with its defaults."
        )
    if any(line.row.part != 1 for line in table.lines):
        found.append(
            "The points of a curve are checkpoints of one training run per seed, judged "
            "on the same prompts and the same initial noise. "
            f"{_steps_words(table)}"
        )
    if any(line.row.reference for line in table.lines):
        found.append("*: a reference row of ours, not in the paper's table.")
    if any(line.cells and not line.trained for line in table.lines):
        found.append(
            "The base model is not trained; a seed changes only the initial noise of its clips, "
            "so its variance over seeds is not pooled with that of the trained rows."
        )
    for line in table.lines:
        if line.diverged:
            found.append(
                f"†: {line.row.label} diverged in {len(line.diverged)} of "
                f"{len(line.cells)} runs ({line.diverged[0]}); its numbers are "
                "over the remaining runs, and it is not ranked."
            )
    return found


def _steps_words(table: Table) -> str:
    steps = {
        line.row.label.split(", ")[-1]: line.cells[0].config.train.steps
        for line in table.lines
        if line.row.curve and line.cells
    }
    return "Steps: " + ", ".join(f"{name} {count}" for name, count in steps.items()) + "."
