"""What a run of an experiment would refuse, as far as that can be known before any work.

A dry run and a real one ask the same. Settings are checked one by one where they are read
(`direct.settings`); here are what they come to in a table, the judge, and the pipeline's folder.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from direct.common.errors import UserError
from direct.common.files import read_json
from direct.config import Config, Model
from direct.data import source
from direct.models import hub
from direct.profiles import PROFILES
from direct.settings import settings
from direct.train import trackers

from .experiments import Experiment
from .queue import on_ray
from .queue.sweep import Sweep
from .schema import MEASURED, Cell, given

# What decides which prompts are judged; their scores are compared one by one.
PROMPTS = ("evaluate.judge", "evaluate.prompts", "evaluate.split", "data.source", "data.seed")


def check(experiment: Experiment) -> None:
    """Raises the `UserError` that a run of the experiment would end with."""
    judged = [cell for cell in experiment.cells if cell.config.measure.kind == "scores"]
    if not experiment.cells:
        raise UserError(
            f"no row of {experiment.name} runs on profile {experiment.base.profile}; choose the "
            "profile that its rows name"
        )
    for cell in experiment.cells:
        trackers.check(cell.config)
    if experiment.own:
        _check_difference(experiment)
        _check_metrics(experiment)
    _check_prompts([cell for cell in judged if not cell.candidate])
    asked = {(_asked(c.config), c.config.train.steps > 0): c.config for c in experiment.cells}
    for config in asked.values():
        _check_pipeline(config)
    for evaluated in {(c.config.evaluate, c.config.data): c.config for c in judged}.values():
        if evaluated.data.source != "world" or evaluated.evaluate.judge != "world":
            source.evaluation(evaluated)


def check_machine(sweep: Sweep) -> None:
    """Raises the `UserError` of what the workers need and is not here."""
    if sweep.workers.launcher == "ray":
        on_ray.check()
    if sweep.workers.launcher:  # the devices are elsewhere
        return
    workers, wanted = sweep.workers, sweep.workers.count * sweep.workers.gpus
    if wanted and (found := sweep.stages.gpus()) < wanted:
        raise UserError(
            f"--gpus-per-cell {workers.gpus} with {workers} needs {wanted} GPUs, and this process "
            f"may use {found}; lower one of the two, or leave --gpus-per-cell out"
        )
    for name in {cell.config.loss.backend for cell in sweep.cells} - {"auto", "eager"}:
        from direct.loss.checks import check_backend  # torch comes with it

        check_backend(name)


def _check_difference(experiment: Experiment) -> None:
    """A table whose rows are all one cell compares a model with itself."""
    rows = [row for row in experiment.table.rows if not row.reading]
    if len(rows) > 1 and len({cell.id for cell in experiment.cells}) == len(experiment.seeds):
        raise UserError(
            f"{experiment.name}: its rows are one and the same configuration; "
            f"{', '.join(sorted(rows[-1].values)) or 'nothing'} cannot change a result here"
        )


def _check_metrics(experiment: Experiment) -> None:
    """A contrast on a metric that the judge does not give would be a dash in the table."""
    judge = experiment.cells[0].config.evaluate.judge
    if experiment.table.measured:
        return
    found = given(judge)
    for label, metric in experiment.table.contrasts:
        if metric not in MEASURED and metric not in found:
            raise UserError(
                f"{experiment.name}: evaluate.judge={judge} gives no {metric}, which the contrast "
                f"of {label!r} is on; it gives {', '.join(found)}, which --grid and a table of "
                "your own show"
            )


def _check_prompts(cells: list[Cell]) -> None:
    if not cells:
        return
    first, own = cells[0], settings(cells[0].config)
    for cell in cells:
        config = cell.config
        if (config.evaluate, config.data) == (first.config.evaluate, first.config.data):
            continue
        other = settings(config)
        if name := next((name for name in PROMPTS if own[name] != other[name]), ""):
            raise UserError(
                f"row {cell.row!r} has {name}={other[name]} and row {first.row!r} has {own[name]}: "
                "rows are compared prompt by prompt; give all of them the same, by --set"
            )


def _check_pipeline(config: Config) -> None:
    """The folder is a pipeline's; sizes of clips and experts fit it. A profile's own do."""
    make = PROFILES.get(config.profile)
    if make and _asked(config) == _asked(make()):
        return
    if config.model.peer:
        from direct.models import peers

        peers.named(config.model.peer)
        return
    folder, revision = hub.located(config.model.pipeline)
    if revision is None:
        _check_sizes(config.model, Path(folder))
        from direct.models import experts  # torch comes with it

        experts.check(config)


def _asked(config: Config) -> tuple[Any, ...]:
    """What is asked of a pipeline."""
    low = config.sample.guidance_low, config.hard_sample.guidance_low
    return config.model, config.train.expert, low


def _check_sizes(model: Model, folder: Path) -> None:
    from direct.models import families  # torch comes with it

    transformer, vae = (_part(folder, part) for part in ("transformer", "vae"))
    family = families.of(str(transformer.get("_class_name")))
    try:
        with suppress(KeyError):  # what a file leaves out, its class knows: seen when it is loaded
            _check_multiples(model, family, transformer, vae)
    except UserError:
        raise
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        raise UserError(
            f"model.pipeline={folder}: the sizes in its config.json files are none; restore them"
        ) from None


def _part(folder: Path, part: str) -> dict[str, Any]:
    path = folder / part / "config.json"
    for wanted in (folder / "model_index.json", path):
        if not wanted.exists():
            raise UserError(
                f"model.pipeline={folder} is not a pipeline's folder: it has no "
                f"{wanted.relative_to(folder)}; save one there, or name another"
            )
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"model.pipeline={folder}: {path} is not an object; restore it")
    return found


def _check_multiples(model: Model, family: ModuleType, transformer: Any, vae: Any) -> None:
    (temporal, spatial), patch = family.strides(vae), family.patch(transformer)
    if (model.frames - 1) % temporal:
        raise UserError(f"model.frames={model.frames} must be a multiple of {temporal}, plus one")
    for name, stride in (("height", spatial * patch[1]), ("width", spatial * patch[2])):
        if getattr(model, name) % stride:
            raise UserError(f"model.{name}={getattr(model, name)} must be a multiple of {stride}")
