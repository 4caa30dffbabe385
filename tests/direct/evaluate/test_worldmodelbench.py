"""WorldModelBench's files, both parsings and its arithmetic."""

from __future__ import annotations

import json

import numpy as np
import pytest

from direct.common.errors import UserError
from direct.data import benchmarks, video
from direct.evaluate import rater, worldmodelbench

# WorldModelBench

ANSWER = {
    "instruction": ["Score: 2"],
    "physical_laws": ["No", "Yes", "No.", "no", "It cannot be known.\nYes"],
    "common_sense": ["Yes", "**No**"],
}


@pytest.mark.parametrize(
    ("item", "text", "strict", "upstream"),
    [
        ("Instr", "Score: 3", 3, 3),
        ("Instr", "2", 2, 2),
        ("Instr", " Score: [1]. ", 1, 0),
        ("Instr", "First step... Score: 2, since the arm moves.", 2, 0),
        ("Instr", "Score: 25", None, 25),
        ("Instr", "It mostly follows", None, 0),
        ("Instr", "Score: nan", None, 0),
        ("Mass", "No", 1, 1),
        ("Mass", "Yes.", 0, 0),
        ("Mass", "Yes, noticeable deformation", 0, 1),
        ("Mass", "There is nothing wrong.\nAnswer: No", 1, 1),
        ("Mass", "I do not know", None, 1),
        ("Mass", "yes or no", 0, 1),
        ("Mass", "Either yes or no", None, 1),
        ("Mass", "", None, 0),
    ],
)
def test_both_parsings(item, text, strict, upstream):
    assert worldmodelbench.parse_strict(item, text) == strict
    assert worldmodelbench.parse_upstream(item, text) == upstream


def test_worldmodelbench_totals_and_disagreements():
    scores = worldmodelbench.score(ANSWER)
    assert {name: scores[name] for name in worldmodelbench.ITEMS} == {
        "Instr": 2,
        "Newton": 1,
        "Mass": 0,
        "Fluid": 1,
        "Penetr": 1,
        "Gravity": 0,
        "Frame": 0,
        "Temp": 1,
    }
    assert scores["Total"] == 2 + 0 + 1 + 0 + 1 and scores["Official"] == 6
    assert scores["Official_upstream"] == 7 and scores["Total_upstream"] == 4  # "cannot", "known"
    assert scores["Disagree"] == 1 and scores["Unparsed"] == 0
    groups = worldmodelbench.QUESTIONS.items()
    silent = worldmodelbench.score({group: ["?"] * len(items) for group, items in groups})
    assert silent["Unparsed"] == 8 and silent["Official"] == 0


@pytest.fixture
def bench(tmp_path):
    entries = [
        {
            "domain": d,
            "subdomain": "s",
            "text_first_frame": f"A robot {n}.",
            "text_instruction": f"It lifts {n}.",
            "first_frame": f"images/{d}_{n}.jpg",
        }
        for n, d in enumerate(["robotics", "human", "human"])
    ]
    path = tmp_path / "worldmodelbench.json"
    path.write_text(json.dumps(entries))
    prompts = benchmarks.worldmodelbench(path)
    for prompt in prompts:
        video.write_video(rater.video_path(tmp_path, prompt), np.zeros((2, 16, 16, 3), np.uint8))
    return tmp_path, prompts


def test_worldmodelbench_prompts_and_answer_files(bench, monkeypatch):
    folder, prompts = bench
    monkeypatch.delenv(rater.COMMAND, raising=False)
    assert prompts[0].caption == "A robot 0. It lifts 0." and prompts[0].name == "robotics_0"
    lines = [json.dumps({"video": prompt.name, **ANSWER}) + "\n" for prompt in prompts]
    (folder / "answers.jsonl").write_text("".join(lines)[:-1])
    with pytest.raises(UserError, match="2 of 3 clips are judged, prompt human_2 is not"):
        rater.rate(worldmodelbench, prompts, folder)
    (folder / "answers.jsonl").write_text("".join(lines))
    records = rater.rate(worldmodelbench, prompts, folder)
    assert worldmodelbench.summary(records)["human"]["n"] == 2
    asked = [json.loads(line) for line in (folder / "request.jsonl").read_text().splitlines()]
    assert asked[1] == {"video": "human_1", "instruction": "It lifts 1."}
    (folder / "answers.jsonl").unlink()  # the same, as upstream's evaluation.py saves it
    saved = {"model_name": "m", "preds": {p.name: ANSWER for p in prompts}, "accs": {}}
    (folder / "answers.json").write_text(json.dumps(saved))
    assert rater.rate(worldmodelbench, prompts, folder) == records
    (folder / "answers.json").rename(folder / "answers_cot.json")  # with its --cot
    assert rater.rate(worldmodelbench, prompts, folder) == records
    (folder / "answers.json").write_text("{}")
    with pytest.raises(UserError, match=r"both answers\.json and answers_cot\.json; keep one"):
        rater.rate(worldmodelbench, prompts, folder)


def test_a_file_that_upstream_would_only_read_is_to_be_removed_first(bench, monkeypatch):
    """evaluation.py rates nothing where its results are there, also where clips lack in them."""
    folder, prompts = bench
    monkeypatch.delenv(rater.COMMAND, raising=False)
    saved = {"preds": {prompts[0].name: ANSWER}}
    (folder / "answers.json").write_text(json.dumps(saved))
    with pytest.raises(UserError, match=r"human_1 is not; remove .*answers\.json, beside which"):
        rater.rate(worldmodelbench, prompts, folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1 is not an object"),
        (json.dumps({"video": "other", **ANSWER}), "other, which is not a clip"),
        (json.dumps({"video": "human_1", **ANSWER, "common_sense": ["No"]}), "2 strings in common"),
        (json.dumps({"video": "human_1"}), "1 strings in instruction"),
    ],
)
def test_bad_worldmodelbench_answers_are_named(bench, line, message):
    folder, prompts = bench
    (folder / "answers.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=message):
        rater.rate(worldmodelbench, prompts, folder)
