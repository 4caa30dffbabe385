"""The command line of `python -m direct.prepare`: from WISA-80K to what training reads.

    curate     choose clips: WISA's of 81 or more frames, 16:9, a known law; or your own
    encode     latents of the clips, embeddings of the prompts, the partition of MaNS
    perturb    10 perturbed prompts per clip by a language model, the nearest 3 kept
    render     hard negatives: latents of the perturbed prompts that training will draw
    verify     what is there, what is missing, what is damaged

Each step resumes where it was interrupted. encode and render may run on several machines that share
the folder; each takes shards that no other one has. Everything is kept below OUT/cache.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..common import spent
from ..common.errors import UserError, command
from ..common.files import canonical_json, check_folder
from ..common.progress import show_progress
from ..config import Config, Run
from ..profiles import profile
from ..settings import override, seed_list, with_values

MOST = 1_000  # processes
LLM = "Qwen/Qwen2.5-7B-Instruct@a09a35458c702b33eeacc393d103063234e8bc28"  # App. E's


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m direct.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    step = _step(steps, "curate", _curate)
    which = step.add_mutually_exclusive_group(required=True)
    which.add_argument("--wisa", type=Path, help="wisa-80k.json and the video files")
    which.add_argument("--videos", type=Path, help="a folder of clips of your own")
    step.add_argument(
        "--captions",
        type=Path,
        help="of --videos: CSV or JSON lines with file_name, caption and perhaps law "
        "(default: the folder's metadata.jsonl or metadata.csv)",
    )
    step.add_argument("--min-frames", type=int, help="of --videos (default: 81, as WISA's)")
    step.add_argument("--aspect", help="of --videos, as 4:3, or any (default: 16:9, as WISA's)")
    step.add_argument("--retime", action="store_true", help="--videos: frames at model.fps")
    step.add_argument("--workers", type=int, default=1, help="clips decoded at a time")
    step.add_argument("--seconds", type=float, default=120.0, help="to decode one clip in")
    step = _step(steps, "encode", _encode)
    step.add_argument("--workers", type=int, help="processes (default: one per GPU)")
    step = _step(steps, "perturb", _perturb)
    step.add_argument("--llm", default=LLM, help="folder or hub id, at a commit")
    step.add_argument(
        "--server",
        action="append",
        default=[],
        help="address of an OpenAI-compatible server, as http://host/v1; once for each server",
    )
    step = _step(steps, "render", _render)
    step.add_argument("--workers", type=int, help="processes (default: one per GPU)")
    step.add_argument("--seeds", default="0", help="training seeds whose draws are rendered: 0,1,2")
    step = _step(steps, "verify", _verify)
    step.add_argument("--deep", action="store_true", help="hash every shard again")
    step.add_argument("--seeds", default="0", help="training seeds whose draws are looked for")
    arguments = parser.parse_args()
    return arguments.run(arguments) or 0


def _step(steps: argparse._SubParsersAction, name: str, run: object) -> argparse.ArgumentParser:
    step: argparse.ArgumentParser = steps.add_parser(name)
    step.add_argument("--profile", default="wan2.1-t2v-1.3b")
    step.add_argument("--out", type=Path, default=Path(), help="folder that holds cache/ and runs/")
    step.add_argument("--set", action="append", default=[], help="a setting, as data.clips=2000")
    step.set_defaults(run=run)
    return step


def _run(arguments: argparse.Namespace) -> Run:
    """The configuration, its profile's cache, and by how many processes."""
    config = override(profile(arguments.profile), *arguments.set)
    workers = _workers(getattr(arguments, "workers", 1))
    check_folder(arguments.out, "--out")
    return Run(
        config, arguments.out / "cache" / config.profile, workers=workers, progress=show_progress
    )


def _curate(arguments: argparse.Namespace) -> None:
    from ..data import curated, folder, wisa

    run = _run(arguments)
    out = curated.home(run.cache)
    own = ("captions", "min_frames", "aspect", "retime")
    if arguments.wisa and (given := [name for name in own if getattr(arguments, name)]):
        raise UserError(f"--{given[0].replace('_', '-')} is for --videos; WISA's rule is fixed")
    if not 0 < arguments.seconds < float("inf"):
        raise UserError(f"--seconds {arguments.seconds} is no time to decode in; use 120 or so")
    began = time.monotonic()
    how = (run.workers, arguments.seconds, run.progress, _limit(run.config))
    if arguments.videos:
        frames = wisa.FRAMES if arguments.min_frames is None else arguments.min_frames
        if frames < 1:
            raise UserError(f"--min-frames {frames} is not a number of frames; use 1 or more")
        rate = float(run.config.model.fps) if arguments.retime else 0.0
        rule = wisa.Rule(frames, arguments.aspect or "16:9", rate)
        if rule.shape != "any" and not 0 < rule.aspect < math.inf:  # before any clip is decoded
            raise UserError(f"--aspect {rule.shape} is not as 16:9; or write any")
        report = folder.curate(arguments.videos, arguments.captions, out, rule, *how)
    else:
        report = wisa.curate(arguments.wisa, out, *how)
    spent.note(out, "curate", report["entries"], time.monotonic() - began, run.workers)
    print(canonical_json(report, indent=1))
    if again := report["to_try_again"]:
        late = f"{again} of {report['entries']} clips took longer than {arguments.seconds:g} s"
        print(f"{late} or could not be read; {wisa.AGAIN}", file=sys.stderr)


def _limit(config: Config) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """What becomes of captions that the profile's text encoder does not take whole."""
    from ..data.caption_length import limited, surely_fits

    def fits(text: str) -> bool:
        if surely_fits(text, config.model.text_length):
            return True
        from . import encode  # torch comes with it

        return encode.fits(config, text)

    return lambda described: limited(described, config.data.long_captions, fits)


def _encode(arguments: argparse.Namespace) -> None:
    from ..data import source
    from . import encode, shared

    run = _run(arguments)
    config, samples = run.config, source.training(run)
    wanted = [
        "",
        *(item.prompt for item in samples),
        config.sample.negative_prompt,
        *source.evaluation_texts(config),
    ]
    encode.texts(run, wanted, samples)
    encode.clip_latents(run, samples)
    if config.loss.lambda_rand and config.macro.sampling not in ("uniform", "batch"):
        shared.partition(run, samples)


def _perturb(arguments: argparse.Namespace) -> None:
    from ..data import curated, source
    from . import encode, language, perturb, server

    run = _run(arguments)
    config, clips = run.config, source.training(run)
    encode.check_lengths(config, clips)
    llm: str = arguments.llm
    if arguments.server:
        llm = llm.partition("@")[0]  # a server has its own copy
        models = server.servers(arguments.server, llm)
    else:
        models = {llm: language.local(llm)}
    report = perturb.perturb(
        [(clip.id, clip.prompt) for clip in clips],
        curated.perturbed(run),
        config.micro,
        models,
        lambda prompts: encode.pool_once(config, prompts),
        model=llm,
        fits=lambda text: encode.fits(config, text),
        progress=run.progress,
    )
    print(canonical_json(report, indent=1))


def _render(arguments: argparse.Namespace) -> None:
    from .render import hard_negatives

    run = _run(arguments)
    drawn = _drawn(run, arguments.seeds)
    print(f"{len(drawn)} hard negatives will be drawn", file=sys.stderr)
    hard_negatives(run, drawn)


def _drawn(run: Run, seeds: str) -> list[str]:
    """The perturbed prompts that training with these seeds draws."""
    from ..data import source
    from . import shared

    chosen = seed_list(seeds)
    kept = shared.kept_prompts(run, source.training(run))
    prompts = [[entry["prompt"] for entry in entries] for entries in kept]
    each = [with_values(run.config, {"seed": seed}) for seed in chosen]
    return sorted({prompt for config in each for prompt in shared.drawn_prompts(config, prompts)})


def _verify(arguments: argparse.Namespace) -> int:
    from ..data import source
    from . import encode
    from .encode import clip_key, text_key
    from .render import hard_store

    run = _run(arguments)
    config, samples = run.config, source.training(run)
    evaluated = [item.prompt for item in source.evaluation(config)]
    prompts = ["", config.sample.negative_prompt, *evaluated, *(item.prompt for item in samples)]
    drawn = _drawn(run, arguments.seeds) if config.loss.lambda_hard else []
    wrong = 0
    for name, store, keys in (
        ("embeddings", encode.text_store, {text_key(prompt) for prompt in [*prompts, *drawn]}),
        ("latents", encode.latent_store, {clip_key(sample) for sample in samples}),
        ("hard negatives", hard_store, {text_key(prompt) for prompt in drawn}),
    ):
        damaged = store(run).verify() if arguments.deep else []
        missing = len(store(run).missing(keys))
        print(
            f"{name}: {len(keys) - missing} of {len(keys)} are there, {len(damaged)} shards damaged"
        )
        wrong += missing + len(damaged)
    return 1 if wrong else 0


def _workers(given: int | None) -> int:
    if given is not None and not 1 <= given <= MOST:
        raise UserError(f"--workers {given} is not a number of processes; use 1 to {MOST}")
    if given is None:
        import torch

        return max(1, torch.cuda.device_count())
    return given


if __name__ == "__main__":
    command(main)
