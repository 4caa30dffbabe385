"""Table 2's peers: clips by other models' own diffusers pipelines, with those pipelines' defaults.

    python -m sweeps.run sota --profile wan2.1-t2v-1.3b               # all of them, judged, as rows
    python -m direct.peers cogvideox-5b --judge videophy --folder F   # one, by hand
    python -m direct.evaluate videophy --folder F

A cell's `model.pipeline=peer:cogvideox-5b` means one of these.

Size, length, steps and guidance are what the pipeline's `__call__` has as its defaults. A clip's
noise is a function of (seed, prompt id). Running the same command again resumes.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..common import ranks
from ..common.errors import UserError
from ..common.files import check_folder
from ..common.progress import Progress, show_progress, silent
from ..common.seed import stable_seed
from ..config import Run
from ..data import captions
from ..data.benchmarks import PROMPTS, Prompt
from ..data.source import evaluation_texts
from ..data.video import write_video
from ..models import content
from ..models.hub import located
from ..models.peers import PEERS, Peer, named
from ..models.pipeline import device, one_sentence
from . import made
from .judge import prompts_of
from .rater import video_path

SETTINGS = (  # of a pipeline's call, as its defaults have them
    "num_frames",
    "height",
    "width",
    "num_inference_steps",
    "guidance_scale",
    "max_sequence_length",
)


def videos(run: Run) -> None:
    """The clips of a peer's cell where its rater finds them; those that are there are not made.

    Every rank calls it and makes its share.
    """
    config = run.config
    peer = named(config.model.peer)
    if config.evaluate.judge not in PROMPTS:
        raise UserError(
            f"evaluate.judge={config.evaluate.judge} is for the tiny profile's clips; "
            f"{config.model.pipeline} needs one of {', '.join(PROMPTS)}"
        )
    prompts, folder = prompts_of(config), run.folder / config.evaluate.judge
    texts = evaluation_texts(config)
    paths, own = [video_path(folder, prompt) for prompt in prompts], maker(peer, config.seed)
    if ranks.on_first(lambda: made.claimed(folder, own, paths, texts)):
        return
    mine = slice(ranks.rank(), None, ranks.size())
    with ranks.together():
        write(load(peer), peer, prompts[mine], folder, config.seed, texts[mine], run.progress)


def maker(peer: Peer, seed: int, weights: str | None = None) -> dict[str, Any]:
    """Who makes the clips, as `made.claim` notes it. weights: a folder, in place of the hub's."""
    import diffusers

    call = inspect.signature(getattr(diffusers, peer.pipeline).__call__).parameters
    return {
        "pipeline": peer.pipeline,
        "weights": content.of_folder(Path(weights)) if weights else peer.repository,
        "dtype": f"{peer.dtype}, VAE {peer.vae}",
        "settings": {name: call[name].default for name in SETTINGS if name in call},
        "seed": seed,
    }


def load(peer: Peer, source: str | None = None) -> Any:
    """The peer's pipeline from its repository or a folder; from safetensors alone."""
    import diffusers

    source, revision = located(source or peer.repository)
    with one_sentence(source):
        pipeline = getattr(diffusers, peer.pipeline).from_pretrained(
            source,
            revision=revision,
            dtype={"vae": peer.vae, "default": peer.dtype},
            use_safetensors=True,
        )
    pipeline.set_progress_bar_config(disable=True)
    if peer.tiling:
        pipeline.vae.enable_tiling()
    return pipeline.to(device())


def render(pipeline: Any, prompt: str, seed: int, **settings: Any) -> np.ndarray:
    """One clip, uint8 [T, H, W, 3]. settings: of the pipeline's call, in place of its defaults."""
    generator = torch.Generator().manual_seed(seed)
    frames = pipeline(prompt=prompt, generator=generator, output_type="np", **settings).frames[0]
    frames = np.asarray(frames)
    if not np.isfinite(frames).all():
        raise UserError(f"the model gave a picture that is not finite for {prompt[:60]!r}")
    return (frames * 255).round().clip(0, 255).astype(np.uint8)


def write(
    pipeline: Any,
    peer: Peer,
    prompts: Sequence[Prompt],
    folder: Path,
    seed: int,
    texts: Sequence[str],
    progress: Progress = silent,
    **settings: Any,
) -> None:
    """`folder/videos/<prompt>.mp4` of each prompt that has none yet, generated from its text.

    The folder is claimed by what makes them.
    """
    for done, (prompt, text) in enumerate(zip(prompts, texts, strict=True), 1):
        path = video_path(folder, prompt)
        if not made.is_made(path, text):
            clip = render(pipeline, text, stable_seed(seed, prompt.id), **settings)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, clip, peer.fps)
            made.note(path, text)
        progress("generate", done, len(prompts))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m direct.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("peer", choices=sorted(PEERS))
    parser.add_argument("--judge", choices=sorted(PROMPTS), required=True)
    parser.add_argument("--folder", type=Path, required=True, help="for videos/<prompt id>.mp4")
    parser.add_argument("--prompts", type=Path, help="default: the benchmark's own")
    parser.add_argument("--captions", type=Path, help="JSON {caption: up-sampled caption}")
    parser.add_argument("--weights", help="a folder, in place of the hub's repository")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    peer = PEERS[options.peer]
    check_folder(options.folder, "--folder")
    prompts = PROMPTS[options.judge](options.prompts)
    longer = captions.read(options.captions) if options.captions else None
    texts = [captions.longer_of(longer, prompt.caption) for prompt in prompts]
    made.claim(options.folder, maker(peer, options.seed, options.weights))
    pipeline = load(peer, options.weights)
    write(pipeline, peer, prompts, options.folder, options.seed, texts, show_progress)
