"""What the gain of MiNS is about: the prompt's own negatives, or every clip alike.

By theory it is about the mean of the prompt's own negatives (docs/theory.md, T3). A network that
cannot tell what those are may answer with a gain about the mean clip. So v_contrast - v_sft is
regressed on v_sft + x_own and v_sft + x_bar at once: on training clips, and on the world's clips of
prompts that are judged, which nothing was trained on.

    python -m direct.measure.about runs/tiny/CELL runs/tiny/CELL_OF_SFT
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..common.errors import UserError, command
from ..config import Run
from ..data import source
from ..models import pipeline
from ..prepare import means, shared
from ..prepare.encode import clip_latents, texts
from ..prepare.shared import Shared
from ..sampling import batch_size
from ..settings import with_values
from .gain import LEVELS, predicted, reference, spread, velocities
from .guided import pair, parser_of


class Level(NamedTuple):
    """At noise level t: v_contrast - v_sft = own (v_sft + x_own) + mean (v_sft + x_bar) + rest."""

    t: float
    own: float
    mean: float
    r2: float  # 1 - |rest|^2 / |v_contrast - v_sft|^2


@torch.no_grad()
def measure(run: Run, sft_folder: Path, clips: int = 64) -> dict[str, list[Level]]:
    """The two gains of a MiNS run at each of `LEVELS`, by the clips they are measured on.

    "training" and "judged": at most `clips` of each, spread evenly.
    """
    config, data = run.config, shared.open_shared(run)
    judged, x_judged = _judged(run, data, clips)
    chosen = spread(config, data, clips)
    x_bar = reference(config, data, chosen[:1], "pool")
    nets = [pipeline.load_transformer(place / "transformer") for place in (run.folder, sft_folder)]
    size = batch_size(x_bar.shape[1:], nets[0].config.patch_size)

    def levels(data: Shared, chosen: list[int], x_own: Tensor) -> list[Level]:
        found = []
        for k, t in enumerate(LEVELS):
            sums = torch.zeros(3, 3, dtype=torch.float64)
            for start in range(0, len(chosen), size):
                v, v_sft = velocities(config, data, chosen[start : start + size], nets, k)
                terms = v - v_sft, v_sft + x_own[start : start + size], v_sft + x_bar
                rows = torch.stack([term.double().flatten() for term in terms])
                sums += rows @ rows.T
            gains = torch.linalg.solve(sums[1:, 1:], sums[1:, 0])
            own, mean = gains.tolist()
            r2 = float(gains @ sums[1:, 0] / sums[0, 0])
            found.append(Level(t, own, mean, r2))
        return found

    return {
        "training": levels(data, chosen, reference(config, data, chosen)),
        "judged": levels(judged, list(range(len(judged.samples))), x_judged),
    }


def _judged(run: Run, data: Shared, clips: int) -> tuple[Shared, Tensor]:
    """Prompts that are judged with the clips that the world has of them, and their x_own."""
    about = {"sample.gain": predicted(run.config), "sample.gain_about": "negatives"}
    run = replace(run, config=with_values(run.config, about))
    samples = source.evaluation(run.config)
    places = np.linspace(0, len(samples) - 1, min(clips, len(samples))).astype(int)
    samples = [samples[i] for i in places]
    prompts = [item.prompt for item in samples]
    x_own = means.references(run, prompts)
    assert x_own is not None  # there is a gain
    text, latents = texts(run, prompts), clip_latents(run, samples)
    return replace(data, samples=samples, latents=latents, text=text), x_own


def main() -> None:
    options = parser_of("about", __doc__, "hard negatives (MiNS) alone").parse_args()
    config = pair(options.run, options.sft)
    if config.loss.lambda_rand:
        raise UserError(
            f"{options.run} has trained with loss.lambda_rand={config.loss.lambda_rand}, too; give "
            "a training with MiNS alone"
        )
    run = Run(config, options.out / "cache" / config.profile, options.run)
    print(f"predicted gain {predicted(config):.4f}, all of it about the prompt's own negatives")
    print("clips     t     about own negatives  about the mean clip    R2")
    for name, levels in measure(run, options.sft).items():
        for x in levels:
            print(f"{name:<9} {x.t:<5} {x.own:19.4f}  {x.mean:19.4f}  {x.r2:4.2f}")


if __name__ == "__main__":
    command(main)
