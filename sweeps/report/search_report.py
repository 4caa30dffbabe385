"""The search as a page: what each method tried and chose, side by side, in the sweeps' formats."""

from __future__ import annotations

import argparse
import csv as csv_module
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from direct.common.files import write_text
from direct.config import Config

from .. import search, stats
from ..options import seeds_of, sweep_of
from ..queue.status import listing, told
from ..results import folder, read_all
from ..schema import Ablation, Cell
from ..search import Outcome, Weights
from ..stages import Stages
from ..table import judge_name
from ..work import refuse, work
from .entry import ABSENT, Entry
from .latex import fragment
from .layout import Block, escape_markdown
from .plots import SERIES
from .sheet import as_svg
from .text import formula_safe, markdown_block

if TYPE_CHECKING:
    from .page import Section

TITLE = "Search of the loss's weights: greedy (App. C) and TPE, side by side"
METRICS = ("SA", "PC", "AVG")


def write(
    found: dict[str, Outcome],
    base: Config,
    seeds: Sequence[int],
    results: dict[str, Any],
    target: Path,
) -> list[Path]:
    """`target/search.{md,tex,csv,svg}`."""
    scores, texts = _scores(found, base, seeds, results), _texts(found, base, seeds, results)
    blocks, notes = [_tried(found, scores), _chosen(found, scores)], _notes(found, scores)
    body = [
        f"# {TITLE}",
        escape_markdown(" ".join(texts)),
        *map(markdown_block, blocks),
        "![best AVG so far](search.svg)",
        "\n".join(f"- {escape_markdown(x)}" for x in notes),
    ]
    written = {
        "md": "\n\n".join(body) + "\n",
        "csv": _csv(found, scores),
        "svg": _svg(found),
        "tex": fragment("search", TITLE + ".", [*texts, *notes], blocks),
    }
    paths = []
    for suffix, text in written.items():
        paths.append(target / f"search.{suffix}")
        write_text(paths[-1], text)
    return paths


def main(base: Config, options: argparse.Namespace, stages: Stages, target: Path) -> int:
    """Runs what is missing, a round at a time, and writes the page into the folder `target`."""
    out, seeds = Path(options.out), seeds_of(options) or search.SEEDS
    root = folder(base.profile, out)
    failed: dict[str, str] = {}
    tried: list[Cell] = []

    def made(table: Ablation, planned: list[Cell]) -> dict[str, Any]:
        sweep = sweep_of(table, planned, base, options, stages)
        if options.dry_run:
            refuse(sweep)
            print(listing(sweep))
        else:
            failed.update(work(sweep))
            tried.extend(planned)
        return read_all(root)

    found = search.replay(base, seeds, made)
    if options.dry_run:
        print(f"{search.ROUNDS} rounds as large as this one; later ones follow from its scores")
        return 0
    for path in write(found, base, seeds, read_all(root), target):
        print(path)
    return told(failed, tried)


def again(base: Config, options: argparse.Namespace, out: Path) -> list[Section]:
    """The page of an earlier search, written anew from its results. Where those are not here
    (another version, other seeds), the page stays as it is, and is no part of the report."""
    target, root = out / "reports" / base.profile, folder(base.profile, out)
    if not (target / "search.md").exists():
        return []
    seeds, results = seeds_of(options) or search.SEEDS, read_all(root)
    found = search.replay(base, seeds, lambda table, planned: results)
    if any(outcome.chosen is None for outcome in found.values()):
        return []
    write(found, base, seeds, results, target)
    return [section(found, base, seeds, results, (target / "search.svg").read_text())]


def section(
    found: dict[str, Outcome],
    base: Config,
    seeds: Sequence[int],
    results: dict[str, Any],
    plot: str,
) -> Section:
    """The same as a section of the page."""
    from .page import Section

    scores = _scores(found, base, seeds, results)
    return Section(
        "search",
        TITLE,
        " ".join(_texts(found, base, seeds, results)),
        (_tried(found, scores), _chosen(found, scores)),
        plot,
        tuple(_notes(found, scores)),
    )


Scores = dict[Weights, dict[str, np.ndarray]]  # [S, P] by metric; empty where a cell diverged


def _own(
    found: dict[str, Outcome], base: Config, seeds: Sequence[int], results: dict[str, Any]
) -> dict[Weights, list[dict[str, Any]]]:
    """The results of everything that was tried, one per seed."""
    tried = [weights for outcome in found.values() for weights, _ in outcome.trials]
    if not tried:
        return {}
    _, planned = search.table_of(tried, base, seeds)
    return {
        weights: [results[cell.id] for cell in planned if cell.row == str(weights)]
        for weights in tried
    }


def _scores(
    found: dict[str, Outcome], base: Config, seeds: Sequence[int], results: dict[str, Any]
) -> Scores:
    return {
        weights: {m: np.array([result["scores"][m] for result in own]) for m in METRICS}
        if all(result["status"] == "done" for result in own)
        else {}
        for weights, own in _own(found, base, seeds, results).items()
    }


def _texts(
    found: dict[str, Outcome], base: Config, seeds: Sequence[int], results: dict[str, Any]
) -> list[str]:
    evaluate = base.evaluate
    commits = sorted(
        {
            result["provenance"]["commit"]
            for own in _own(found, base, seeds, results).values()
            for result in own
        }
    )
    budget = sum(map(len, search.GRIDS.values()))
    texts = [
        f"Scores: {judge_name(evaluate.judge)}, {base.profile}, {evaluate.prompts} validation "
        "prompts, never an evaluation prompt; "
        f"training seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}. "
        f"Both methods have {budget} weights to try and the same goal, mean AVG. "
        "Greedy: λ_anc without negatives, then λ_rand at λ_hard = "
        f"{search.HARD_MEANWHILE:g}, then λ_hard. TPE: all three weights on logarithmic "
        f"scales, the first {search.TPE_RANDOM} at random."
    ]
    open_ = [name for name, outcome in found.items() if outcome.chosen is None]
    texts += [f"Incomplete: {', '.join(open_)} lacks results."] * bool(open_)
    return [*texts, f"Commit {', '.join(commits) or 'none'}."]


def _tried(found: dict[str, Outcome], scores: Scores) -> Block:
    """One row per try; each method's weights and scores."""
    columns = [("", "try")]
    for name in found:
        columns += [(name, title) for title in ("λ_anc", "λ_rand", "λ_hard", *METRICS)]
    rows = []
    for index in range(max((len(outcome.trials) for outcome in found.values()), default=0)):
        row = [Entry(str(index + 1))]
        for outcome in found.values():
            row += _try(outcome, index, scores)
        rows.append(row)
    rules = list(range(len(search.GRIDS), len(rows), len(search.GRIDS)))
    return Block("What was tried", columns, rows, rules)


def _try(outcome: Outcome, index: int, scores: Scores) -> list[Entry]:
    if index >= len(outcome.trials):
        return [Entry(ABSENT)] * (3 + len(METRICS))
    weights, _ = outcome.trials[index]
    texts = [f"{value:g}" for value in (weights.anc, weights.rand, weights.hard)]
    texts += [
        f"{100 * scores[weights][m].mean():.2f}" if scores[weights] else "diverged" for m in METRICS
    ]
    bold = weights == outcome.chosen
    return [Entry(text, bold=bold) for text in texts]


def _chosen(found: dict[str, Outcome], scores: Scores) -> Block:
    """What each method chose, with intervals over prompts (and seeds)."""
    rows = []
    for name, outcome in found.items():
        if outcome.chosen is None:
            rows.append([Entry(name), *[Entry(ABSENT)] * (1 + len(METRICS))])
            continue
        own = [stats.estimate(100 * scores[outcome.chosen][m]) for m in METRICS]
        rows.append(
            [
                Entry(name),
                Entry(str(outcome.chosen)),
                *[Entry(f"{d.mean:.2f} ± {d.half:.2f}") for d in own],
            ]
        )
    return Block(
        "What was chosen", [("", "method"), ("", "weights"), *(("", m) for m in METRICS)], rows, []
    )


def _notes(found: dict[str, Outcome], scores: Scores) -> list[str]:
    notes = [
        "Bold: chosen. A score at which weights were chosen is too high by that choice: "
        "Tables S1 to S3 judge the weights on other prompts."
    ]
    (one, a), (two, b) = found.items()
    if a.chosen and b.chosen and a.chosen != b.chosen:
        for metric in METRICS:
            d = stats.estimate(100 * (scores[b.chosen][metric] - scores[a.chosen][metric]))
            notes.append(
                f"{metric}, {two} minus {one}: {d.mean:+z.2f} [{d.low:+z.2f}, "
                f"{d.high:+z.2f}] points, 95 % interval over prompts"
                + (" and seeds." if d.seeds_random else ", one seed.")
            )
    return notes


def _csv(found: dict[str, Outcome], scores: Scores) -> str:
    """One line per method and try, full precision, in the judge's units."""
    out = io.StringIO()
    names = ["method", "try", "lambda_anc", "lambda_rand", "lambda_hard", *METRICS, "chosen"]
    writer = csv_module.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for name, outcome in found.items():
        for index, (weights, _) in enumerate(outcome.trials):
            means = {m: fmean(values.mean(-1).tolist()) for m, values in scores[weights].items()}
            writer.writerow(
                {
                    "method": formula_safe(name),
                    "try": index + 1,
                    "lambda_anc": weights.anc,
                    "lambda_rand": weights.rand,
                    "lambda_hard": weights.hard,
                    **means,
                    "chosen": weights == outcome.chosen,
                }
            )
    return out.getvalue()


def _svg(found: dict[str, Outcome]) -> str:
    """Each try's AVG, and the best so far."""
    return as_svg("search", partial(_tries, found))


def _tries(found: dict[str, Outcome], figure: Any) -> None:
    figure.set_size_inches(5.5, 3)
    figure.subplots_adjust(left=0.12, bottom=0.17, right=0.98, top=0.95)
    ax = figure.subplots()
    for (name, outcome), color, marker in zip(found.items(), SERIES, "os", strict=False):
        values = [np.nan if score is None else 100 * score for _, score in outcome.trials]
        tries = range(1, len(values) + 1)
        ax.scatter(tries, values, s=14, color=color, marker=marker, alpha=0.5, linewidths=0)
        ax.step(tries, np.fmax.accumulate(values), where="post", color=color, label=name)
    ax.set_xlabel("cells trained per seed")
    ax.set_ylabel("AVG, validation prompts")
    ax.grid(axis="y", linewidth=0.3)
    ax.legend(frameon=False, fontsize=8, loc="lower right")
