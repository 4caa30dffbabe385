"""A clip of any finished run, for any prompt: with the run's own model, sampler and settings.

    python -m direct.generate --run runs/tiny/0123456789ab --prompt "a red ball falls"
    python -m direct.generate --run DIR --prompt "..." --seed 3 --out clip.gif

The folder is one that training has left: its config.json, and its transformer/ unless it is the
base model itself (train.steps=0).
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import torch

from . import plugins
from .common.errors import UserError, command
from .common.files import check_file, read_json
from .config import Config
from .data.video import write_gif, write_video
from .identity import restored
from .models import clip, codec, experts, pipeline
from .settings import override
from .valid import RANGES

LARGEST_SEED = RANGES["seed"][1]
WRITERS = {".mp4": write_video, ".gif": write_gif}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m direct.generate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", type=Path, required=True, help="a finished run's folder")
    parser.add_argument("--prompt", required=True, help="what the clip shows")
    parser.add_argument("--seed", type=int, default=0, help="of the initial noise (default: 0)")
    parser.add_argument("--out", type=Path, help=".mp4 or .gif (default: PROMPT-SEED.mp4, here)")
    parser.add_argument("--set", action="append", default=[], help="as sample.guidance=3")
    options = parser.parse_args()
    words = re.sub(r"[^a-z0-9]+", "-", options.prompt.lower()).strip("-")[:48] or "clip"
    out: Path = options.out or Path(f"{words}-{options.seed}.mp4")
    check_file(out, "--out", WRITERS)
    if not 0 <= options.seed <= LARGEST_SEED:
        raise UserError(f"--seed {options.seed} must be 0 to {LARGEST_SEED}")
    config = override(read_config(options.run), *options.set)
    video = generate(config, options.run, options.prompt, options.seed)
    WRITERS[out.suffix](out, video, config.model.fps)
    print(out)


def read_config(run: Path) -> Config:
    """The configuration of a run's folder, its plug-ins loaded; a `UserError` where it has none."""
    path = run / "config.json"
    if not path.is_file():
        raise UserError(f"--run {run} has no config.json; give the folder of a finished run")
    try:
        config: Config = restored(read_json(path))
    except (TypeError, KeyError, AttributeError):
        raise UserError(f"{path} is not the configuration of a run; restore it") from None
    return plugins.need(config)


def generate(config: Config, run: Path, prompt: str, seed: int) -> np.ndarray:
    """The clip, uint8 [T, H, W, 3]: the same for the same prompt and seed on the same machine."""
    settings, model = config.sample, config.model
    if model.peer:
        raise UserError(f"model.pipeline={model.pipeline} is another model's; use direct.peers")
    if settings.gain and settings.gain_about != "zero":
        raise UserError(
            f"sample.gain={settings.gain} is about training clips or negatives, which a run's "
            "folder does not hold; add --set sample.gain=0"
        )
    trained = run / "transformer"
    if config.train.steps and not trained.is_dir():
        raise UserError(f"{trained} is missing: the run is not finished; train it first")
    experts.check(config)
    torch.set_num_threads(config.threads)
    dtype = getattr(torch, model.dtype)

    # One part of the pipeline after another: at the paper's scale they do not fit side by side.
    encoder = pipeline.load_pipeline(model.pipeline, dtype, ("transformer", "vae"))
    texts = [prompt, settings.negative_prompt]
    text, _ = codec.encode_prompts(encoder, texts, model.text_length)
    del encoder
    transformer = (
        experts.whole(config, pipeline.load_transformer(trained, dtype))
        if config.train.steps
        else experts.base(model, dtype)
    )
    z = clip.latents(config, transformer, text, prompt, seed)
    del transformer
    return clip.decoded(model, z)


if __name__ == "__main__":
    command(main)
