"""WorldModelBench: a judge model answers one question on instruction following (0 to 3), five on
violations of physics and two on common sense (Yes: it shows the fault).

The benchmark has no licence, so its prompts and questions are not part of this package: the file
worldmodelbench.json is the user's, and the questions are asked by upstream's own `evaluation.py`
(github.com/WorldModelBench-Team/WorldModelBench). Its answers are read from `answers.json`, as it
saves them (`answers_cot.json` with its `--cot`), or from `answers.jsonl` with a line per clip:

    {"video": name, "instruction": ["Score: 2"], "physical_laws": [5 strings], "common_sense": [2]}

Upstream passes a fault question when "no" occurs anywhere in the answer, which "not noticeable" or
"cannot know" do too. The columns here are parsed strictly; `*_upstream` are upstream's reading and
`Disagree` counts the questions on which the two differ. An answer that cannot be parsed scores 0,
as upstream's do, and is counted in `Unparsed`. "Frame" is the question about poor aesthetics.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import canonical_json, parse_json, read_bounded, read_json, write_text
from ..data.benchmarks import Prompt
from .rater import means

QUESTIONS = {
    "instruction": ("Instr",),
    "physical_laws": ("Newton", "Mass", "Fluid", "Penetr", "Gravity"),
    "common_sense": ("Frame", "Temp"),
}
ITEMS = tuple(item for items in QUESTIONS.values() for item in items)
PAPER = ("Instr", "Frame", "Temp", "Mass", "Penetr")  # the paper's Total is the sum of its columns
SAVED = ("answers.json", "answers_cot.json")
ANSWERS = (*SAVED, "answers.jsonl")

Answer = dict[str, list[str]]


def request(prompts: Sequence[Prompt], folder: Path) -> None:
    """Writes request.jsonl: {"video", "instruction"} per clip. The questions are upstream's."""
    lines = [
        canonical_json({"video": prompt.name, "instruction": prompt.about["instruction"]})
        for prompt in prompts
    ]
    write_text(Path(folder) / "request.jsonl", "".join(line + "\n" for line in lines))


def how(folder: Path) -> str:
    """What to run by hand, from a checkout of upstream's repository: its prompts are read there."""
    at = Path(folder).resolve()
    command = ["python", "evaluation.py", "--judge", "JUDGE", "--model_name", "direct"]
    command += ["--video_dir", str(at / "videos"), "--save_name", str(at / "answers")]
    there = next((at / name for name in SAVED if (at / name).exists()), None)
    first = f"remove {there}, beside which evaluation.py rates nothing, and " if there else ""
    return (
        f"{first}in upstream's checkout and environment run: {shlex.join(command)} (JUDGE: the "
        "folder of vila-ewm-qwen2-1.5b)"
    )


def answers(prompts: Sequence[Prompt], folder: Path) -> dict[str, Answer]:
    """{clip name: {question group: raw strings}} of the clips that are answered."""
    found: dict[str, Answer] = {}
    lines = Path(folder) / "answers.jsonl"
    saved = [Path(folder) / name for name in SAVED if (Path(folder) / name).exists()]
    if len(saved) > 1:
        raise UserError(f"{folder} holds both {' and '.join(SAVED)}; keep one of them")
    for whole in saved:
        content = read_json(whole)
        if not isinstance(content, dict) or not isinstance(content.get("preds"), dict):
            raise UserError(f"{whole} has no 'preds'; it is not a file that evaluation.py saved")
        found |= content["preds"]
    if lines.exists():
        try:
            text = read_bounded(lines).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{lines} cannot be read ({error}); rate again") from None
        whole_lines = text.split("\n")[:-1]  # a kill tears the last
        for number, line in enumerate(whole_lines, 1):
            entry = _line(line, f"{lines}, line {number}")
            found[entry.pop("video")] = entry
    known = {prompt.name for prompt in prompts}
    for name, answer in found.items():
        if name not in known:
            raise UserError(f"{folder}: an answer for {name}, which is not a clip of this request")
        for group, items in QUESTIONS.items():
            said = answer.get(group) if isinstance(answer, dict) else None
            if not isinstance(said, list) or [type(text) for text in said] != [str] * len(items):
                raise UserError(
                    f"{folder}: {name} needs {len(items)} strings in {group}; rate it again"
                )
    return found


def score(answer: Answer) -> dict[str, float]:
    """Per item (Instr 0-3, the others 1 where the fault is absent), both totals, both parsings."""
    said = {
        item: text
        for group, items in QUESTIONS.items()
        for item, text in zip(items, answer[group], strict=True)
    }
    strict = {item: parse_strict(item, text) for item, text in said.items()}
    upstream = {item: parse_upstream(item, text) for item, text in said.items()}
    values = {item: value or 0.0 for item, value in strict.items()}
    scores = {**values, **_totals(values)}
    scores |= {f"{name}_upstream": value for name, value in _totals(upstream).items()}
    scores["Disagree"] = float(sum(values[item] != upstream[item] for item in ITEMS))
    scores["Unparsed"] = float(sum(value is None for value in strict.values()))
    return scores


def parse_strict(item: str, text: str) -> float | None:
    """The answer's value; `None` where it gives none or contradicts itself.

    Instruction: the last "Score: n" of 0 to 3, or the bare number. Others: the word the answer
    opens with, else its last line's only yes or no; whole words only.
    """
    if item == "Instr":
        bare = re.fullmatch(r"\W*([0-3])(?:\.0)?\W*", text)
        stated = re.findall(r"score\W{0,4}([0-3])(?:\.0)?(?![\d.]*\d)", text, re.IGNORECASE)
        return float(bare[1]) if bare else float(stated[-1]) if stated else None
    opening = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    lines = text.strip().splitlines() or [""]
    words = {word.lower() for word in re.findall(r"\b(yes|no)\b", lines[-1], re.IGNORECASE)}
    word = opening[1].lower() if opening else words.pop() if len(words) == 1 else None
    return None if word is None else float(word == "no")


def parse_upstream(item: str, text: str) -> float:
    """As evaluation.py: the text after the last colon as a number, else 0; "no" as a substring."""
    if item != "Instr":
        return float("no" in text.lower())
    try:
        value = float(text.split(":")[-1].strip(" ."))
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def summary(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over all prompts and per domain, each with its n."""
    domains = sorted({record["domain"] for record in records})
    by_domain = {
        domain: means([record for record in records if record["domain"] == domain])
        for domain in domains
    }
    return {"all": means(records), **by_domain}


def _totals(values: dict[str, float]) -> dict[str, float]:
    """The paper's Total (five columns, 0-7) and the benchmark's own (all eight, 0-10)."""
    return {
        "Total": sum(values[item] for item in PAPER),
        "Official": sum(values[item] for item in ITEMS),
    }


def _line(line: str, place: str) -> dict[str, Any]:
    try:
        entry = parse_json(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or not isinstance(entry.get("video"), str):
        raise UserError(f"{place} is not an object with a 'video'; delete the line and run again")
    return entry
