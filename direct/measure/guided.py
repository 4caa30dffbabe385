"""How a trained gain meets guidance: two things that docs/theory.md, 3 takes as given.

T5 has guidance multiply the gain, since the empty prompt is not contrasted. What the empty prompt
learns of it all the same is taken off again, guidance - 1 times. T7 has the gain act as stronger
guidance, since the reference clip answers as the empty prompt does. Then v + x_bar points where
v - v_neg does. And how much of what is no gain, 1 - R2, comes from which negatives were drawn: half
the squared distance to a training that draws others, or all of it to MiNS in expectation, which
draws none (loss.hard_negative=mean, loss.negative_noise=marginal; docs/theory.md, 6).

    python -m direct.measure.guided runs/tiny/CELL runs/tiny/CELL_OF_SFT
    python -m direct.measure.guided runs/tiny/CELL runs/tiny/CELL_OF_SFT --again runs/tiny/OTHER
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from ..common.errors import UserError, command
from ..common.files import read_json
from ..config import Config, Macro, Run
from ..identity import canonical, identity, restored
from ..models import pipeline
from ..prepare import shared
from ..sampling import batch_size
from .gain import (
    LEVELS,
    from_products,
    predicted,
    products,
    reference,
    spread,
    velocities,
    without_contrast,
)


class Level(NamedTuple):
    """At noise level t, over all elements of the clips; both gains are about the mean clip."""

    t: float
    prompted: float  # the gain learnt with the clips' prompts
    empty: float  # and with the empty prompt
    cosine: float  # of v + x_bar and v - v_neg, for the SFT run's velocities
    rest: float  # 1 - R2 of a gain about the mean of its own negatives: what was learnt besides
    drawn: float  # of all that was learnt, what other draws change; nan without a third run


@torch.no_grad()
def measure(
    run: Run, sft_folder: Path, again: Path | None = None, drawn_too: bool = True, clips: int = 64
) -> list[Level]:
    """What a run and the SFT run of a folder show at each of `LEVELS`, as `gain.measure` does.

    again: the folder of a training that differs from the run in the draws of its negatives;
    drawn_too: whether it has draws of its own, which add as much to the distance as the run's.
    """
    config, data = run.config, shared.open_shared(run)
    chosen = spread(config, data, clips)
    mean, about = reference(config, data, chosen[:1], "pool"), reference(config, data, chosen)
    places = [run.folder, sft_folder, *([again] if again else [])]
    nets = [pipeline.load_transformer(place / "transformer") for place in places]
    size = batch_size(mean.shape[1:], nets[0].config.patch_size)
    found = []
    for k, t in enumerate(LEVELS):
        sums, drawn = torch.zeros(4, 3, dtype=torch.float64), 0.0 if again else math.nan
        for start in range(0, len(chosen), size):
            some = chosen[start : start + size]
            x_bar = mean.expand(len(some), *mean.shape[1:])
            v, v_sft, *other = velocities(config, data, some, nets, k)
            empty, v_neg = velocities(config, data, some, nets[:2], k, prompted=False)
            twice = v_neg + 2 * (v_sft - v_neg)  # guidance 2: v_sft, and once more v_sft - v_neg
            pairs = (v, v_sft, x_bar), (empty, v_neg, x_bar), (twice, v_sft, x_bar)
            own = v, v_sft, about[start : start + size]
            sums += torch.stack([products(*three) for three in (*pairs, own)])
            drawn += sum((v - w).double().square().sum().item() for w in other)
        prompted, of_empty, guidance, gain = map(from_products, sums)
        cosine = math.copysign(math.sqrt(guidance.r2), guidance.s)
        learnt = sums[0, 2].item()  # |v - v_sft|^2
        share = drawn / learnt / (2 if drawn_too else 1)
        found.append(Level(t, prompted.s, of_empty.s, cosine, 1 - gain.r2, share))
    return found


def main() -> None:
    parser = parser_of("guided", __doc__, "negatives")
    parser.add_argument(
        "--again", type=Path, help="folder of the same training with other draws, or in expectation"
    )
    options = parser.parse_args()
    config = pair(options.run, options.sft)
    again = trained(options.again) if options.again else config
    expected = _in_expectation(config)
    if _drawn_alike(again) not in (_drawn_alike(config), _drawn_alike(expected)):
        raise UserError(
            f"{options.again} differs from {options.run} in more than which negatives are drawn "
            "(macro), and is not MiNS in expectation; give one that is"
        )
    drawn_too = _drawn_alike(again) == _drawn_alike(config)
    run = Run(config, options.out / "cache" / config.profile, options.run)
    print(f"predicted gain {predicted(config):.4f}; means over clips of seed {config.seed}")
    print(
        "t     gain with prompts  of the empty prompt  cosine of v + x_bar and v - v_neg  1 - R2  "
        "drawn"
    )
    for x in measure(run, options.sft, options.again, drawn_too):
        print(
            f"{x.t:<5} {x.prompted:17.4f}  {x.empty:19.4f}  {x.cosine:33.2f}  {x.rest:6.2f}  "
            f"{x.drawn:5.2f}"
        )


def parser_of(name: str, description: str | None, negatives: str) -> argparse.ArgumentParser:
    """The command line of a measure that takes a training and its SFT twin."""
    parser = argparse.ArgumentParser(
        prog=f"python -m direct.measure.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help=f"folder of a training with {negatives}")
    parser.add_argument("sft", type=Path, help="folder of the same training without them")
    parser.add_argument("--out", type=Path, default=Path(), help="holds cache/")
    return parser


def pair(run: Path, sft: Path) -> Config:
    """The configuration of a training; a `UserError` unless the other folder is its SFT twin's."""
    config = trained(run)
    if not config.loss.lambda_rand + config.loss.lambda_hard:
        raise UserError(f"{run} has trained without negatives; name the folders in order")
    if _training(trained(sft)) != _training(without_contrast(config)):
        raise UserError(
            f"{sft} is not the SFT training of {run}: besides the negatives' weights all settings "
            "of training must agree, the seed too"
        )
    return config


def trained(folder: Path) -> Config:
    """The configuration of a folder with trained weights; a `UserError` where it has none."""
    path = folder / "config.json"
    if not (folder / "transformer").is_dir() or not path.is_file():
        raise UserError(f"{folder} holds no training; python -m direct.train --folder makes one")
    try:
        return restored(read_json(path))
    except (TypeError, KeyError, AttributeError):
        raise UserError(f"{path} is no configuration of a training") from None


def _in_expectation(config: Config) -> Config:
    """The same training without draws, where hard negatives are all that it draws."""
    if config.loss.lambda_rand:
        return config
    loss = replace(config.loss, hard_negative="mean", negative_noise="marginal")
    return replace(config, loss=loss)


def _drawn_alike(config: Config) -> str:
    return _training(replace(config, macro=Macro()))


def _training(config: Config) -> str:
    return identity(canonical(config, "training"))


if __name__ == "__main__":
    command(main)
