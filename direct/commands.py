"""The command line of `python -m direct.prepare`: the steps that turn WISA-80K into training data.

Each step resumes where it was cut short. `python -m direct.prepare STEP --help` lists its options.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .errors import UserError
from .files import canonical_json


def prepare() -> None:
    parser = argparse.ArgumentParser(prog="python -m direct.prepare", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("curate", help="choose clips: 81 or more frames, 16:9, a known law")
    step.add_argument("--wisa", type=Path, required=True, help="wisa-80k.json and the mp4 files")
    step.add_argument("--out", type=Path, required=True, help="for manifest.jsonl and report.json")
    step.add_argument("--workers", type=int, default=1, help="clips decoded at a time")
    step.set_defaults(run=_curate)
    step = steps.add_parser("perturb", help="10 perturbed prompts a clip, the nearest 3 kept")
    step.add_argument("--manifest", type=Path, required=True, help="of curate: id and caption")
    step.add_argument("--out", type=Path, required=True, help="for kept.jsonl and retention.json")
    step.add_argument("--llm", default="Qwen/Qwen2.5-7B-Instruct", help="folder or hub id")
    step.add_argument("--server", help="address of an OpenAI-compatible server, as http://host/v1")
    step.add_argument("--profile", default="wan2.1-t2v-1.3b", help="whose text encoder measures")
    step.add_argument("--set", action="append", default=[], help="a setting, as micro.keep=3")
    step.set_defaults(run=_perturb)
    arguments = parser.parse_args()
    arguments.run(arguments)


def _curate(arguments: argparse.Namespace) -> None:
    from .data import wisa

    report = wisa.curate(arguments.wisa, arguments.out, arguments.workers, progress=_tell)
    print(canonical_json(report, indent=1))


def _perturb(arguments: argparse.Namespace) -> None:
    from .config import override, profile
    from .data import encode
    from .negatives import language, perturb

    config = override(profile(arguments.profile), *arguments.set)
    if not arguments.manifest.is_file():
        raise UserError(f"--manifest {arguments.manifest} is no file; make it with the step curate")
    clips = [json.loads(line) for line in arguments.manifest.read_text("utf-8").splitlines()]
    if arguments.server:
        ask = language.server(arguments.server, arguments.llm)
    else:
        ask = language.local(arguments.llm)
    report = perturb.perturb(
        [(clip["id"], clip["caption"]) for clip in clips],
        arguments.out,
        config.micro,
        ask,
        lambda prompts: encode.pool_once(config, prompts),
        model=arguments.llm,
        fits=lambda text: encode.fits(config, text),
        progress=_tell,
    )
    print(canonical_json(report, indent=1))


def _tell(stage: str, done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{stage} {done}/{total}", end=end, file=sys.stderr, flush=True)
