"""What a pilot says about the seeds and prompts that a table needs.

    python -m sweeps.run lambda_hard --prompts 48          # the pilot
    python -m sweeps.power lambda_hard --prompts 48        # same options: variance components, MDE

For each declared PC contrast: variance components of the paired differences, and the minimum
detectable difference (80 % power, after Holm) over a grid of seeds and prompts, in points.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from direct.common.errors import UserError, command, nearest

from .ablations import ABLATIONS
from .coverage import planned_detectable
from .options import base_of, options_of, planned_cells
from .results import folder, read_all
from .schema import METRICS, Ablation
from .stats import components
from .table import Table
from .tables import build

SEEDS, PROMPTS = (3, 4, 6, 8, 10, 14, 20, 45), (96, 192, 288, 384, 512)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(arguments, __doc__)
    if options.sweep not in ABLATIONS:
        raise UserError(f"{options.sweep} is not a sweep; {nearest(options.sweep, ABLATIONS)}")
    ablation = ABLATIONS[options.sweep]
    if not _declared(ablation):
        able = [other.name for other in ABLATIONS.values() if _declared(other)]
        raise UserError(
            f"{options.sweep} declares no PC contrast; sweeps that do: {', '.join(able)}"
        )
    base = base_of(options)
    runs = folder(base.profile, Path(options.out))
    table = build(ablation, planned_cells(ablation, base, options), read_all(runs))
    found = [text for label in _declared(ablation) if (text := _plan(table, label))]
    if not found:
        raise UserError(
            f"{runs} has no results of {options.sweep} with these options; run a "
            f"pilot, python -m sweeps.run {options.sweep} --prompts 48, and give the "
            "same options here"
        )
    print("\n\n".join(found))
    return 0


def _declared(ablation: Ablation) -> list[str]:
    """Rows with a contrast of PC."""
    return [label for label, metric in ablation.contrasts if metric == "PC"]


def _plan(table: Table, label: str) -> str:
    """One contrast's variance components and its grid; nothing where a row has no results."""
    lines = {line.row.label: line for line in table.lines}
    partner = table.ablation.partner(label)
    value = lines[label].values.get("PC")
    if value is None or value.differences is None:
        return ""
    points = METRICS["PC"].scale * value.differences
    seeds, prompts = points.shape
    if min(seeds, prompts) < 2:
        raise UserError(
            f"{seeds} seeds and {prompts} prompts have results; variance components need 2 of each"
        )
    parts = components(points)
    # Two rows alone are a pool of the contrast's own: so are differences from the base.
    pooled = lines[label].trained and lines[partner].trained
    rows = sum(line.trained for line in table.lines) if pooled else 2
    text = [
        f"PC, {label} minus {partner}, {seeds} seeds x {prompts} prompts: variances in "
        f"points^2: seed {parts.seed:.3f}, prompt {parts.prompt:.3f}, rest {parts.rest:.3f}",
        "seeds" + "".join(f"{f'{P} prompts':>14}" for P in PROMPTS),
    ]
    for S in SEEDS:
        sizes = [planned_detectable(parts, S, P, len(table.family), rows=rows) for P in PROMPTS]
        text.append(f"{S:>5}" + "".join(f"{size:>14.2f}" for size in sizes))
    return "\n".join(text)


if __name__ == "__main__":
    command(main)
