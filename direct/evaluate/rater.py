"""Judges that run outside this process, since their code needs an environment of its own.

The contract is a folder:

    videos/<name>.mp4      one clip per prompt, at the model's own rate (Wan 2.1: 16 a second)
    <request files>        what the judge is asked, in its own upstream format; written by us
    <answer files>         what it said, in its own upstream format; written by the rater
    made.json, asked.json  who made the clips, and which of them the answers are about (`made.py`)

Where an answer is missing, the command in the environment variable `DIRECT_RATER`, if there is one,
is run with the folder as its last argument; else an error says what to run. Every prompt must have
its clip and all its answers: nothing is skipped and no mean is taken over fewer prompts than asked.
A rater that ends early keeps what it wrote; running the same command again resumes. Where a clip
has changed since it was asked about, the answers are set aside and given again.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..common.errors import UserError
from ..data.benchmarks import Prompt
from . import made

COMMAND = "DIRECT_RATER"


def video_path(folder: Path, prompt: Prompt) -> Path:
    return Path(folder).resolve() / "videos" / f"{prompt.name}.mp4"


def missing(prompts: Sequence[Prompt], folder: Path) -> list[Prompt]:
    """The prompts whose clip is not in the folder."""
    return [prompt for prompt in prompts if not video_path(folder, prompt).is_file()]


def rate(judge: ModuleType, prompts: Sequence[Prompt], folder: Path) -> list[dict[str, Any]]:
    """Records {"prompt", "caption", "scores", ...about} of the clips in `folder`, in order.

    `judge` is `videophy` or `worldmodelbench`: it writes the request, reads the answers that are
    there (`{prompt name: answer}`) and scores one of them.
    """
    if absent := missing(prompts, folder):
        raise UserError(
            f"{len(absent)} of {len(prompts)} clips are missing, the first is that of prompt "
            f"{absent[0].id}; generate them before judging"
        )
    made.ask(Path(folder), [video_path(folder, prompt) for prompt in prompts], judge.ANSWERS)
    judge.request(prompts, folder)
    answers = judge.answers(prompts, folder)
    if len(answers) < len(prompts) and os.environ.get(COMMAND):
        _run(_command(), folder)
        answers = judge.answers(prompts, folder)
    gaps = [prompt.id for prompt in prompts if prompt.name not in answers]
    if gaps:
        raise UserError(
            f"{folder}: {len(prompts) - len(gaps)} of {len(prompts)} clips are judged, prompt "
            f"{gaps[0]} is not; {judge.how(folder)}; or set {COMMAND} to a command that is given "
            "the folder"
        )
    return [
        {
            "prompt": prompt.id,
            "caption": prompt.caption,
            "scores": judge.score(answers[prompt.name]),
            **prompt.about,
        }
        for prompt in prompts
    ]


def _command() -> list[str]:
    try:
        return shlex.split(os.environ[COMMAND])
    except ValueError as error:
        raise UserError(f"{COMMAND}={os.environ[COMMAND]}: {error}; fix its quoting") from None


def _run(command: list[str], folder: Path) -> None:
    try:
        status = subprocess.run([*command, str(Path(folder).resolve())], check=False).returncode
    except OSError as error:
        raise UserError(f"{COMMAND}: {command[0]} cannot be run: {error.strerror}") from None
    if status:
        raise UserError(
            f"{COMMAND}: {shlex.join(command)} ended with status {status}; what it wrote in "
            f"{folder} is kept; run the same command again to resume"
        )


def means(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The mean of every score, and `n`."""
    names = records[0]["scores"] if records else []
    total = {name: sum(record["scores"][name] for record in records) for name in names}
    return {"n": len(records), **{name: value / len(records) for name, value in total.items()}}
