"""Looking at the world, and at its judge.

python -m direct.world sheet --split post_training --count 20 --out world.png
python -m direct.world gif --axes --out axes.gif          # each MiNS axis of some records
python -m direct.world validate                            # reports/tiny/world_judge.md
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..common.errors import UserError, command
from ..common.files import check_file, check_folder
from . import sheet as pictures
from .corpus import Clip, corpus
from .impossible import EDITS
from .motion import Array
from .record import AXES, SCENES, caption, perturb
from .render import render

MOST = 500  # clips of a picture: a clip of a sheet takes 110 rows of it, and PNGs have 65,500
ENDINGS = {"sheet": (".png",), "gif": (".gif",)}
POOL = 600  # clips, of 893 different validation prompts, from which edits take theirs


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m direct.world",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("sheet", "gif"):
        one = commands.add_parser(name, help=f"write a {name} of a corpus")
        one.add_argument("--split", default="post_training", help="which corpus")
        one.add_argument("--count", type=int, default=12, help="how many clips")
        one.add_argument("--scene", choices=SCENES, help="clips of this scene alone")
        one.add_argument("--axes", action="store_true", help="each clip with its one-field edits")
        one.add_argument(
            "--impossible", action="store_true", help="each clip with its impossible edits"
        )
        one.add_argument("--out", type=Path, required=True, help="the file to write")
    check = commands.add_parser("validate", help="write world_judge.md")
    check.add_argument(
        "--clips", type=int, default=80, help="validation prompts, and clips of each edit at most"
    )
    check.add_argument(
        "--out", type=Path, default=Path("reports/tiny"), help="the folder to write to"
    )
    check.add_argument("--pipeline", default="tiny", help="whose VAE and model are judged")
    arguments = parser.parse_args()
    if arguments.command == "validate":
        check_folder(arguments.out, "--out")
        validate(arguments)
        return
    if not 1 <= arguments.count <= MOST:
        raise UserError(f"--count {arguments.count} must be 1 to {MOST}")
    check_file(arguments.out, "--out", ENDINGS[arguments.command])
    videos, captions = gather(arguments)
    if arguments.command == "sheet":
        pictures.sheet(arguments.out, videos, captions)
    else:
        pictures.gif(arguments.out, videos)
    print(f"wrote {arguments.out}")


def gather(arguments: argparse.Namespace) -> tuple[list[Array], list[str]]:
    """The videos and captions of a sheet: clips, and their edits where asked for."""
    videos: list[Array] = []
    captions: list[str] = []
    clips = corpus(arguments.split, arguments.count * (40 if arguments.scene else 1))
    chosen = [clip for clip in clips if arguments.scene in (None, clip.record.scene)]
    for clip in chosen[: arguments.count]:
        videos.append(clip.video())
        captions.append(clip.caption + ("" if clip.kind == "right" else f"  [{clip.kind}]"))
        if arguments.axes:
            rng = np.random.default_rng(0)
            edits = {axis: perturb(clip.record, axis, rng) for axis in AXES}
            videos += [render(edit) for edit in edits.values() if edit]
            captions += [f"  {axis}: {caption(edit)}" for axis, edit in edits.items() if edit]
        if arguments.impossible:
            for name, (edit, unit, size, _) in EDITS.items():
                film = edit(clip.record, size, np.random.default_rng(0))
                if film is not None:
                    videos.append(render(clip.record, film))
                    captions.append(f"  {name}, {size:g} {unit}")
    return videos, captions


def validate(arguments: argparse.Namespace) -> None:
    """Reference rows and ROC-AUCs, with the pipeline's VAE and transformer."""
    from ..common.progress import show_progress
    from ..models.pipeline import load_pipeline
    from ..profiles import profile
    from .samples import reconstruct, sampler, untrained
    from .validate import reference_rows, report, separations

    if not 2 <= arguments.clips <= POOL:
        raise UserError(f"--clips {arguments.clips} must be 2 to {POOL}")
    pipeline = load_pipeline(arguments.pipeline)
    config = profile("tiny")
    rebuild = functools.partial(reconstruct, pipeline)
    pool: Sequence[Clip] = corpus("validation", POOL)
    clips = pool[: arguments.clips]
    rows = reference_rows(
        clips,
        {
            "untrained model": sampler(untrained(pipeline), pipeline, config),
            "base model": sampler(pipeline.transformer, pipeline, config),
        },
        rebuild,
    )
    found = separations(pool, len(clips), rebuild, show_progress)
    report(arguments.out, rows, found, len(clips), "the evaluation prompts are not touched.")
    print(f"wrote {arguments.out / 'world_judge.md'}")


if __name__ == "__main__":
    command(main)
