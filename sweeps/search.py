"""Choosing the loss's weights on validation prompts: the paper's greedy search, and Optuna's TPE.

    python -m sweeps.run search

Both get the same number of cells, seed by seed, and the same goal, mean AVG. Greedy is App. C's:
the anchor without negatives, then lambda_rand at lambda_hard = 0.01, then lambda_hard, over the
values of Tables S1 to S3. TPE searches all three weights at once. The methods are generators that
yield weights to try and receive scores, so that a search is a function of its results: it is
resumed, and rendered, by running it again over the cells that are there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from direct.common.errors import UserError
from direct.config import Config

from .schema import Ablation, Cell, Row, cells

GRIDS = {"anc": (0.1, 0.2, 0.3), "rand": (0.001, 0.005, 0.02), "hard": (0.005, 0.02, 0.1)}
HARD_MEANWHILE = 0.01  # lambda_hard while lambda_rand is chosen (Table S2)
RANGES = {"anc": (0.02, 1.0), "rand": (5e-4, 0.1), "hard": (2e-3, 0.3)}  # of TPE, logarithmic
ROUNDS = len(GRIDS)  # of TPE too, each as large as a grid: the same budget
TPE_RANDOM = 3  # TPE's first round is random, as many cells as one grid


@dataclass(frozen=True)
class Weights:
    """lambda_anc, lambda_rand and lambda_hard of Eq. 6."""

    anc: float
    rand: float = 0.0
    hard: float = 0.0

    def settings(self) -> dict[str, float]:
        return {
            "loss.lambda_anc": self.anc,
            "loss.lambda_rand": self.rand,
            "loss.lambda_hard": self.hard,
        }

    def __str__(self) -> str:
        return f"anc {self.anc:g}, rand {self.rand:g}, hard {self.hard:g}"


Score = float | None  # mean AVG; None where a cell diverged
Method = Generator[list[Weights], list[Score], Weights]  # returns what it chose
Trial = tuple[Weights, Score]


def greedy() -> Method:
    """App. C: each weight in turn, the ones before it fixed at the best of their grid."""
    chosen = Weights(0.0)
    for name, grid in GRIDS.items():
        tried = [replace(chosen, **{name: value}) for value in grid]
        if name == "rand":
            tried = [replace(weights, hard=HARD_MEANWHILE) for weights in tried]
        chosen = best(list(zip(tried, (yield tried), strict=True)))[0]
    return chosen


def tpe(seed: int = 0) -> Method:
    """Optuna's TPE over all three weights. Same results in, same weights out, to three digits."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=TPE_RANDOM, multivariate=True, constant_liar=True
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    found: list[Trial] = []
    for _ in range(ROUNDS):
        trials = [study.ask() for _ in GRIDS["anc"]]
        tried = [
            Weights(
                **{
                    name: float(f"{trial.suggest_float(name, *bounds, log=True):.3g}")
                    for name, bounds in RANGES.items()
                }
            )
            for trial in trials
        ]
        scores = yield tried
        found += zip(tried, scores, strict=True)
        for trial, score in zip(trials, scores, strict=True):
            state = optuna.trial.TrialState.FAIL if score is None else None
            study.tell(trial, score, state)
    return best(found)[0]


def best(trials: Sequence[Trial]) -> Trial:
    """The trial of the highest score; the first of equals. One that diverged is never it."""
    ranked = [trial for trial in trials if trial[1] is not None]
    if not ranked:
        raise UserError(
            f"all of {', '.join(str(weights) for weights, _ in trials)} diverged; "
            "search with a lower train.learning_rate"
        )
    return max(ranked, key=lambda trial: trial[1] or -math.inf)


@dataclass(frozen=True)
class Outcome:
    """What one method tried, in order, and chose (`None`: it has not ended)."""

    trials: tuple[Trial, ...]
    chosen: Weights | None


def side_by_side(
    methods: dict[str, Method], score: Callable[[list[Weights]], list[Score] | None]
) -> dict[str, Outcome]:
    """Runs the methods a round at a time, so that one call of `score` serves all of them.

    It ends early where `score` gives `None`: results are missing.
    """
    tried: dict[str, list[Trial]] = {name: [] for name in methods}
    chosen: dict[str, Weights] = {}
    asked = {name: next(method) for name, method in methods.items()}
    while asked:
        scores = score([weights for tries in asked.values() for weights in tries])
        if scores is None:
            break
        answers, nexts = iter(scores), {}
        for name, tries in asked.items():
            own = [next(answers) for _ in tries]
            tried[name] += zip(tries, own, strict=True)
            try:
                nexts[name] = methods[name].send(own)
            except StopIteration as stop:
                chosen[name] = stop.value
        asked = nexts
    return {name: Outcome(tuple(trials), chosen.get(name)) for name, trials in tried.items()}


# As cells -----------------------------------------------------------------------------------------

SEEDS = (0,)
METHODS: dict[str, Callable[[], Method]] = {"greedy (App. C)": greedy, "TPE (Optuna)": tpe}


def base_of(base: Config) -> Config:
    """Validation prompts: a search that has seen the evaluation prompts has chosen by them."""
    return replace(base, evaluate=replace(base.evaluate, split="validation"))


def table_of(
    tried: Sequence[Weights], base: Config, seeds: Sequence[int]
) -> tuple[Ablation, list[Cell]]:
    """These weights as the rows of a table of their own, and its cells."""
    rows = tuple(Row(str(weights), dict(weights.settings())) for weights in dict.fromkeys(tried))
    table = Ablation(
        "search",
        "The search",
        "Search of the loss's weights",
        "weights",
        rows,
        baseline=rows[0].label,
        contrasts=(),
    )
    return table, cells(table, base_of(base), seeds)


def scores_of(
    tried: Sequence[Weights], planned: Sequence[Cell], results: dict[str, Any]
) -> list[Score] | None:
    """Mean AVG of each of the weights over seeds and prompts; `None` where a result is missing."""
    if any(cell.id not in results for cell in planned):
        return None
    found: list[Score] = []
    for weights in tried:
        own = [results[cell.id] for cell in planned if cell.row == str(weights)]
        whole = all(result["status"] == "done" for result in own)
        found.append(fmean(fmean(result["scores"]["AVG"]) for result in own) if whole else None)
    return found


def replay(
    base: Config, seeds: Sequence[int], results: Callable[[Ablation, list[Cell]], dict[str, Any]]
) -> dict[str, Outcome]:
    """Both searches. `results(table, cells)` has the cells run, or reads what is there."""

    def score(tried: list[Weights]) -> list[Score] | None:
        table, planned = table_of(tried, base, seeds)
        return scores_of(tried, planned, results(table, planned))

    return side_by_side({name: make() for name, make in METHODS.items()}, score)
