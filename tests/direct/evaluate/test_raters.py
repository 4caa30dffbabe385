"""Judges outside the process: their file formats, their arithmetic, and that nothing is skipped."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from direct.common.errors import UserError
from direct.config import Run
from direct.data import benchmarks, source, video
from direct.data.benchmarks import Prompt
from direct.data.sample import Sample
from direct.evaluate import judge, rater, videophy, worldmodelbench

DATA = Path(__file__).parents[4] / "shared" / "data" / "videophy"  # beside the checkout

RATER = """
import csv, sys
from pathlib import Path
folder = Path(sys.argv[-1])
limit = int(sys.argv[1])
for asked, said in (("sa_testing.csv", "sa.csv"), ("physics_testing.csv", "pc.csv")):
    rows = list(csv.reader(open(folder / asked, newline="")))[1:][:limit]
    with open(folder / said, "a", newline="") as handle:
        for n, (path, question) in enumerate(rows):
            assert Path(path).is_file()
            score = n / 10 + (0.35 if "entail" in question else 0)
            csv.writer(handle).writerow([path, question, score])
"""


def read_csv(path):
    with open(path, newline="") as handle:
        return list(csv.reader(handle))


@pytest.fixture
def prompts():
    states = ["solid_solid", "solid_fluid", "solid_solid"]
    return [
        Prompt(f"p{n}", f'a "ball" no {n}, falls', {"states_of_matter": state})
        for n, state in enumerate(states)
    ]


@pytest.fixture
def folder(tmp_path, prompts):
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    for prompt in prompts:
        video.write_video(rater.video_path(tmp_path, prompt), frames)
    return tmp_path


@pytest.fixture
def command(tmp_path, monkeypatch):
    script = tmp_path / "rater.py"
    script.write_text(RATER)

    def use(limit):
        monkeypatch.setenv(rater.COMMAND, f"'{sys.executable}' '{script}' {limit}")

    monkeypatch.delenv(rater.COMMAND, raising=False)
    return use


def test_videophy_asks_in_upstreams_files_and_reads_the_answers(prompts, folder, command):
    command(99)
    records = rater.rate(videophy, prompts, folder)
    assert [record["prompt"] for record in records] == ["p0", "p1", "p2"]
    rows = read_csv(folder / "sa_testing.csv")
    assert rows[0] == ["videopath", "caption"] and len(rows) == 4
    assert rows[1][1].endswith('entail the description: "a "ball" no 0, falls"?\nAI: ')
    assert rows[1][0] == str(folder.resolve() / "videos" / "p0.mp4")
    assert records[2]["scores"] == pytest.approx(
        {"SA": 0.55, "PC": 0.2, "AVG": 0.375, "SA_hard": 1, "PC_hard": 0, "Joint": 0}
    )
    summary = videophy.summary(records)
    assert summary["solid_solid"]["n"] == 2 and summary["solid_fluid"]["n"] == 1
    assert summary["all"]["SA"] == pytest.approx((0.35 + 0.45 + 0.55) / 3)
    assert summary["all"]["SA_hard"] == pytest.approx(1 / 3)
    assert summary["solid_solid"]["PC"] == pytest.approx(0.1)


def test_threshold_is_inclusive():
    assert videophy.score({"SA": 0.5, "PC": 0.5})["Joint"] == 1
    assert videophy.score({"SA": 0.5, "PC": 0.4999})["Joint"] == 0


def test_too_few_rows_are_an_error_and_the_same_command_goes_on(prompts, folder, command):
    with pytest.raises(UserError, match=r"0 of 3 clips are judged.*entailment_inference"):
        rater.rate(videophy, prompts, folder)
    command(2)
    with pytest.raises(UserError, match="2 of 3 clips are judged, prompt p2 is not"):
        rater.rate(videophy, prompts, folder)
    command(3)
    assert len(rater.rate(videophy, prompts, folder)) == 3  # p0 and p1 are there twice by now
    assert len((folder / "pc.csv").read_text().splitlines()) == 5 * 4


def test_the_last_of_repeated_rows_counts_and_a_torn_row_does_not(prompts, folder, command):
    command(3)
    rater.rate(videophy, prompts, folder)
    path = str(folder / "videos" / "p1.mp4")
    with open(folder / "pc.csv", "a", newline="") as handle:
        csv.writer(handle).writerow([path, videophy.PC, 0.77])
        handle.write(f'{path},"{videophy.PC}",0.0')
    records = rater.rate(videophy, prompts, folder)
    assert [r["scores"]["PC"] for r in records] == pytest.approx([0, 0.77, 0.2])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["videos/p0.mp4", videophy.PC, "nan"], "not a score"),
        (["videos/p0.mp4", videophy.PC, "1.2"], "not a score"),
        (["videos/p0.mp4", videophy.PC], "2 fields"),
        (["videos/p9.mp4", videophy.PC, "0.5"], "not a clip of this request"),
        (["videos/p0.mp4", "another question?", "0.5"], "another question"),
    ],
)
def test_bad_rows_are_named(prompts, folder, command, row, message):
    with open(folder / "pc.csv", "w", newline="") as handle:
        csv.writer(handle).writerow(row)
    with pytest.raises(UserError, match=rf"row 1: .*{message}"):
        rater.rate(videophy, prompts, folder)


def test_a_missing_clip_is_an_error(prompts, folder, command):
    command(3)
    rater.video_path(folder, prompts[1]).unlink()
    with pytest.raises(UserError, match=r"1 of 3 clips are missing.*p1"):
        rater.rate(videophy, prompts, folder)


def test_a_rater_that_fails_is_named(prompts, folder, monkeypatch):
    monkeypatch.setenv(rater.COMMAND, f"'{sys.executable}' -c 'raise SystemExit(3)'")
    with pytest.raises(UserError, match="status 3"):
        rater.rate(videophy, prompts, folder)
    monkeypatch.setenv(rater.COMMAND, "no-such-program-here")
    with pytest.raises(UserError, match="no-such-program-here cannot be run"):
        rater.rate(videophy, prompts, folder)


def test_an_id_that_is_no_plain_name_is_hashed(tmp_path):
    for name in ("../../x", ".hidden", "a b", "x" * 200, "-rf"):
        path = rater.video_path(tmp_path, Prompt(name, ""))
        assert path.parent == tmp_path.resolve() / "videos" and name not in path.name


def test_shipped_prompts():
    prompts = benchmarks.videophy()
    states = [prompt.about["states_of_matter"] for prompt in prompts]
    assert len({p.caption for p in prompts}) == len({p.id for p in prompts}) == 344
    counts = {state: states.count(state) for state in set(states)}
    assert counts == {"solid_fluid": 146, "solid_solid": 143, "fluid_fluid": 55}


@pytest.mark.skipif(not DATA.exists(), reason="upstream's sample outputs are not here")
def test_upstreams_own_outputs_are_parsed(tmp_path):
    """The seven published examples, through our templates byte for byte."""
    rows = read_csv(DATA / "videocon_physics_sa_testing.csv")
    marks = [row[1].split('description: "')[1].rsplit('"?', 1)[0] for row in rows]
    prompts = [Prompt(Path(r[0]).stem, c) for r, c in zip(rows, marks, strict=True)]
    for question, (_, name) in videophy.FILES.items():
        data = (DATA / f"videocon_physics_{question.lower()}_testing.csv").read_text()
        (tmp_path / name).write_text(data)
    assert [row[1] for row in rows] == [videophy.SA.format(caption=mark) for mark in marks]
    answers = videophy.answers(prompts, tmp_path)
    got = [answers[prompt.name] for prompt in prompts]
    assert [round(a["PC"], 2) for a in got] == [0.94, 0.5, 0.22, 0.13, 0.11, 0.62, 0.59]
    assert [round(a["SA"], 3) for a in got] == [0.007, 0.0, 0.02, 0.009, 0.005, 0.953, 0.0]


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


def test_prompts_file_is_asked_for_and_checked(tmp_path, monkeypatch):
    monkeypatch.delenv(benchmarks.WORLDMODELBENCH, raising=False)
    with pytest.raises(UserError, match=benchmarks.WORLDMODELBENCH):
        benchmarks.worldmodelbench()
    (tmp_path / "x.json").write_text('[{"domain": "d"}]')
    with pytest.raises(UserError, match="first_frame"):
        benchmarks.worldmodelbench(tmp_path / "x.json")


# In a run


def test_a_cell_is_judged_outside(small, tmp_path, monkeypatch, command):
    items = [
        Sample(
            f"videophy-{n}",
            f"a {c} ball falls",
            "",
            source._no_clip,
            source._no_clip,
            {"states_of_matter": "solid_solid"},
        )
        for n, c in enumerate(["red", "blue", "green"])
    ]
    monkeypatch.setattr(source, "evaluation", lambda config: items)
    config = small(train__steps=0, evaluate__prompts=3, evaluate__judge="videophy")
    run = tmp_path / "run"
    with pytest.raises(UserError, match="0 of 3 clips are judged"):
        judge.judge(Run(config, tmp_path / "cache", run))
    assert not (run / "records.jsonl").exists()
    shape = video.probe(run / "videophy" / "videos" / "videophy-1.mp4")
    assert shape == {"frames": 5, "height": 16, "width": 16}
    command(9)
    records = judge.judge(Run(config, tmp_path / "cache", run))
    assert [r["scores"]["PC"] for r in records] == pytest.approx([0, 0.1, 0.2])
    assert judge.judge(Run(config, tmp_path / "cache", run)) == records


def test_an_outside_judge_of_the_worlds_prompts_is_refused_before_a_clip_is_made(tmp_path):
    from direct.profiles import profile
    from direct.settings import override

    config = override(profile("tiny"), "evaluate.judge=videophy", "train.steps=0")
    with pytest.raises(UserError, match="judged by evaluate"):
        judge.judge(Run(config, tmp_path / "cache", tmp_path / "run"))
    assert not list(tmp_path.rglob("*.mp4")) and not list(tmp_path.rglob("*.safetensors"))


def test_prompts_that_cannot_be_read_and_a_command_with_open_quotes_are_named(
    tmp_path, monkeypatch
):
    with pytest.raises(UserError, match=r"nope\.csv cannot be read"):
        benchmarks.videophy(tmp_path / "nope.csv")
    monkeypatch.setenv(rater.COMMAND, 'judge "here')
    with pytest.raises(UserError, match="fix its quoting"):
        rater._command()


def test_the_papers_profile_takes_the_benchmarks_prompts(monkeypatch):
    from direct.profiles import profile
    from direct.settings import override

    config = profile("wan2.1-t2v-1.3b")
    assert [item.prompt for item in source.evaluation(config)] == [
        prompt.caption for prompt in benchmarks.videophy()
    ]
    with pytest.raises(UserError, match=r"345.*344"):
        source.evaluation(override(config, "evaluate.prompts=345"))
    with pytest.raises(UserError, match="validation"):
        source.evaluation(override(config, "evaluate.split=validation"))
    with pytest.raises(UserError, match="videophy or worldmodelbench"):
        source.evaluation(override(config, "evaluate.judge=world"))


def test_command_line(folder, command, monkeypatch, capsys):
    from direct.evaluate.__main__ import main

    (folder / "prompts.csv").write_text(
        'caption,states_of_matter\n"a ball, falling",solid_solid\nwater runs,fluid_fluid\n'
    )
    for n in range(2):
        frames = np.zeros((2, 16, 16, 3), np.uint8)
        video.write_video(folder / "videos" / f"videophy-00{n}.mp4", frames)
    line = ["direct.evaluate", "videophy", "--folder", str(folder)]
    monkeypatch.setattr(sys, "argv", [*line, "--prompts", str(folder / "prompts.csv")])
    with pytest.raises(UserError, match="0 of 2 clips are judged"):
        main()
    command(2)
    main()
    assert "fluid_fluid: n 1  SA 0.45  PC 0.1" in capsys.readouterr().out
    assert len((folder / "records.jsonl").read_text().splitlines()) == 2
