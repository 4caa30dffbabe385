"""What a pilot says about the seeds and prompts that a table needs.

    python -m sweeps.run lambda_hard --prompts 48          # the pilot
    python -m sweeps.power lambda_hard --prompts 48        # same options: variance components, MDE

For each declared PC contrast: variance components of the paired differences, and the minimum
detectable difference (80 % power, after Holm) over a grid of seeds and prompts, in points.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from direct.errors import UserError, command, nearest

from .ablations import ABLATIONS
from .coverage import planned_detectable
from .options import base_of, options_of, planned_cells
from .results import folder, read_all
from .schema import METRICS
from .stats import components
from .tables import build

SEEDS, PROMPTS = (3, 4, 6, 8, 10), (96, 192, 288, 384, 512)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(arguments)
    if options.sweep not in ABLATIONS:
        raise UserError(f"{options.sweep} is not a sweep; {nearest(options.sweep, ABLATIONS)}")
    ablation = ABLATIONS[options.sweep]
    base = base_of(options)
    table = build(ablation, planned_cells(ablation, base, options),
                  read_all(folder(base.profile, Path(options.out))))
    lines = {line.row.label: line for line in table.lines}
    for label, metric in ablation.contrasts:
        partner = ablation.partner(label)
        value = lines[label].values.get(metric)
        if metric != "PC" or value is None or value.differences is None:
            continue
        points = METRICS[metric].scale * value.differences
        if min(points.shape) < 2:
            raise UserError(f"{points.shape[0]} seeds and {points.shape[1]} prompts have results; "
                            "variance components need 2 of each")
        parts = components(points)
        # Two rows alone are a pool of the contrast's own: so are differences from the base.
        pooled = lines[label].trained and lines[partner].trained
        rows = sum(line.trained for line in table.lines) if pooled else 2
        print(f"\n{metric}, {label} minus {partner}, {points.shape[0]} seeds x "
              f"{points.shape[1]} prompts: variances in points^2: seed {parts.seed:.3f}, "
              f"prompt {parts.prompt:.3f}, rest {parts.rest:.3f}")
        print("seeds" + "".join(f"{f'{P} prompts':>14}" for P in PROMPTS))
        for S in SEEDS:
            sizes = [planned_detectable(parts, S, P, len(ablation.contrasts), rows=rows)
                     for P in PROMPTS]
            print(f"{S:>5}" + "".join(f"{size:>14.2f}" for size in sizes))
    return 0


if __name__ == "__main__":
    command(main)
