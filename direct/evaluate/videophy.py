"""VideoPhy (v1): the auto-rater VideoCon-Physics asks whether a clip entails its caption (SA) and
whether it follows the physical laws (PC; it never sees the caption).

A score is P(Yes) / (P(Yes) + P(No)). The authors average these soft scores, and so does the paper;
most later work binarises at 0.5. Both are written. Requests and answers are upstream's own files
(github.com/Hritikbansal/videophy): `entailment_inference.py` reads a CSV of videopath and caption
and appends headerless rows (videopath, question, score), so that running it twice repeats rows; the
last row of a clip counts.
"""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import read_bounded, write_text
from ..data.benchmarks import Prompt
from .rater import means, video_path

OPENING = (
    "The following is a conversation between a curious human and AI assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions.\nHuman: <|video|>\nHuman: "
)
SA = OPENING + 'Does this video entail the description: "{caption}"?\nAI: '
PC = OPENING + "Does this video follow the physical laws?\nAI: "

FILES = {"SA": ("sa_testing.csv", "sa.csv"), "PC": ("physics_testing.csv", "pc.csv")}
ANSWERS = tuple(name for _, name in FILES.values())
SCRIPT = "videocon/training/pipeline_video/entailment_inference.py"
THRESHOLD = 0.5


def request(prompts: Sequence[Prompt], folder: Path) -> None:
    """Writes sa_testing.csv and physics_testing.csv, as upstream's prepare_data.py does."""
    for question, (name, _) in FILES.items():
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["videopath", "caption"])
        for prompt in prompts:
            writer.writerow([video_path(folder, prompt), _question(question, prompt)])
        write_text(Path(folder) / name, text.getvalue())


def how(folder: Path) -> str:
    """What to run by hand, from a checkout of upstream's repository."""
    at = Path(folder).resolve()
    commands = (
        ["python", SCRIPT, "--input_csv", at / asked, "--output_csv", at / said]
        for asked, said in FILES.values()
    )
    lines = (shlex.join([*map(str, command), "--checkpoint", "CHECKPOINT"]) for command in commands)
    return (
        f"in upstream's checkout and environment run: {' && '.join(lines)} (CHECKPOINT: the folder "
        "of videocon_physics)"
    )


def answers(prompts: Sequence[Prompt], folder: Path) -> dict[str, dict[str, float]]:
    """{clip name: {"SA", "PC"}} of the clips that both answer files hold."""
    said = {
        question: _rows(Path(folder) / name, question, {p.name: p for p in prompts})
        for question, (_, name) in FILES.items()
    }
    both = said["SA"].keys() & said["PC"].keys()
    return {name: {question: said[question][name] for question in FILES} for name in both}


def score(answer: dict[str, float]) -> dict[str, float]:
    """Soft SA, PC and their mean; both binarised at 0.5 (`>=`), and their conjunction."""
    sa, pc = answer["SA"], answer["PC"]
    sa_hard, pc_hard = float(sa >= THRESHOLD), float(pc >= THRESHOLD)
    return {
        "SA": sa,
        "PC": pc,
        "AVG": (sa + pc) / 2,
        "SA_hard": sa_hard,
        "PC_hard": pc_hard,
        "Joint": sa_hard * pc_hard,
    }


def summary(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over all prompts and per state of matter, each with its n."""
    states = sorted({record["states_of_matter"] for record in records})
    by_state = {
        state: means([record for record in records if record["states_of_matter"] == state])
        for state in states
    }
    return {"all": means(records), **by_state}


def _question(question: str, prompt: Prompt) -> str:
    return SA.format(caption=prompt.caption) if question == "SA" else PC


def _rows(path: Path, question: str, prompts: dict[str, Prompt]) -> dict[str, float]:
    if not path.exists():
        return {}
    try:
        text = read_bounded(path).decode("utf-8")
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it and rate again") from None
    found: dict[str, float] = {}
    for number, row in enumerate(rows[: None if text.endswith("\n") else -1], 1):  # torn by a kill
        place = f"{path}, row {number}"
        if len(row) != 3:
            raise UserError(f"{place}: {len(row)} fields, not videopath, question and score")
        name = Path(row[0]).stem
        if name not in prompts:
            raise UserError(f"{place}: {row[0]} is not a clip of this request")
        if row[1].strip() != _question(question, prompts[name]).strip():
            raise UserError(
                f"{place}: {row[0]} was asked another question than this request's; "
                "delete the file and rate again"
            )
        found[name] = _number(row[2], place)
    return found


def _number(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise UserError(f"{place}: {text!r} is not a score in [0, 1]; rate this clip again")
    return value
