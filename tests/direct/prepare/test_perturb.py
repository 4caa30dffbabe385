"""Perturbing prompts with a language model: template, rejections, resuming."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from direct.common.errors import UserError
from direct.config import Micro
from direct.prepare import perturb, server

PAPER = Path(__file__).parents[4] / "shared" / "paper" / "direct.txt"  # beside the checkout


def flat(text):
    return re.sub(r"\s+", " ", text.replace("- ", "-").replace("-\n", "-"))


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text is not here")
def test_the_template_is_the_papers():
    paper = flat(PAPER.read_text())
    for axis, description in perturb.DIMENSIONS.items():
        assert flat(f"{axis.upper()}: {description}") in paper
    body = perturb.TEMPLATE.format(
        dimension="{dimension}", description="{dimension_description}", prompt="{original_prompt}"
    )
    assert flat(body) in paper


def test_the_instruction_names_the_dimension_and_the_caption():
    text = perturb.instruction("material", 'a "{brace}" ball')
    assert "modifying ONLY the MATERIAL aspect" in text and "viscosity OR" in text
    assert text.endswith('ORIGINAL: a "{brace}" ball\nRespond with the modified caption only.')
    assert "Change the motion time-profile" not in text


# The whole step, with an embedding whose cosines are known: the prompt's last word is its angle


def embed(prompts):
    words = [prompt.split()[-1] for prompt in prompts]
    angle = np.array([float(word) if re.fullmatch(r"[\d.]+", word) else 0.0 for word in words])
    return np.stack([np.cos(angle), np.sin(angle)], 1)


class Script:
    """Answers that differ from each other: every third one is a refusal."""

    def __init__(self, stop=None):
        self.asked, self.stop = [], stop

    def __call__(self, instructions, seed):
        if self.stop is not None and len(self.asked) >= self.stop:
            raise UserError("the server died")
        answers = []
        for text in instructions:
            n = (seed + len(answers)) % 3
            caption = text.split("ORIGINAL: ")[1].split("\n")[0]
            angle = 0.001 * (seed % 1000) / 1000 + 0.1 * len(answers)
            answers.append(("I'm sorry." if n == 0 else f"{caption} oddly {angle}", True))
        self.asked.append(list(instructions))
        return answers


PROMPTS = [(f"clip{n}", f"a ball number {n} falls") for n in range(40)]
SETTINGS = Micro(candidates=10, min_cosine=0.87, keep=3)


def run(out, ask, prompts=PROMPTS, **more):
    return perturb.perturb(prompts, out, SETTINGS, {"m": ask}, embed, model="m", **more)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_candidate_is_recorded_with_its_fate(tmp_path):
    report = run(tmp_path, Script())
    header, *lines = read(tmp_path / "candidates.jsonl")
    assert header["settings"]["model"] == "m"
    assert [line["id"] for line in lines] == [name for name, _ in PROMPTS]
    for line, kept in zip(lines, read(tmp_path / "kept.jsonl"), strict=True):
        usable = [c for c in line["candidates"] if c["cosine"] is not None]
        assert len(usable) <= 10 and all(c["axis"] in perturb.DIMENSIONS for c in usable)
        for c in usable:
            angle = float(c["prompt"].split()[-1])
            assert c["cosine"] == pytest.approx(np.cos(angle), abs=1e-6)
            assert (c["fate"] == "below the cosine") == (np.cos(angle) < 0.87)
        near = sorted((c for c in usable if c["cosine"] >= 0.87), key=lambda c: -c["cosine"])[:3]
        assert kept["kept"] == [{k: c[k] for k in ("axis", "prompt", "cosine")} for c in near]
        fates = {c["fate"] for c in line["candidates"] if c["cosine"] is None}
        assert fates <= {"refusal", "repeat"}
    every = [c for line in lines for c in line["candidates"]]
    assert (
        sum(report["rejected"][axis].get("refusal", 0) for axis in report["rejected"])
        == sum(c["fate"] == "refusal" for c in every)
        > 0
    )
    assert report["overall"]["kept"] == sum(c["fate"] == "kept" for c in every) > 0
    material = report["by_axis"]["material"]
    assert material["passed"] == sum(
        c["axis"] == "material" and c["fate"] in ("kept", "not among the nearest") for c in every
    )
    assert json.loads((tmp_path / "retention.json").read_text()) == report


def test_dimensions_are_drawn_uniformly(tmp_path):
    script = Script()
    run(tmp_path, script, [(str(n), f"a ball {n} falls") for n in range(100)])
    first = [text for texts in script.asked for text in texts]
    shares = [np.mean([f"ONLY the {a.upper()} " in t for t in first]) for a in perturb.DIMENSIONS]
    np.testing.assert_allclose(shares, 0.2, atol=0.04)


def test_a_run_cut_short_goes_on_and_equals_an_uninterrupted_one(tmp_path):
    run(tmp_path / "whole", Script())
    with pytest.raises(UserError, match="died"):
        run(tmp_path / "cut", Script(stop=4))
    journal = tmp_path / "cut" / "candidates.jsonl"
    done = read(journal)
    assert len(done) > perturb.GROUP and not (tmp_path / "cut" / "kept.jsonl").exists()
    with open(journal, "a") as handle:
        handle.write('{"id": "torn')
    script = Script()
    run(tmp_path / "cut", script)
    assert not any(done[1]["prompt"] + "\n" in text for texts in script.asked for text in texts)
    for name in ("candidates.jsonl", "kept.jsonl", "retention.json"):
        whole, cut = (tmp_path / folder / name for folder in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes()


def test_a_smaller_profile_leaves_what_a_larger_one_has_kept(tmp_path):
    """Both have one folder. A caption that has changed since counts as it is now."""
    run(tmp_path, Script())
    before = {line["id"]: line for line in read(tmp_path / "kept.jsonl")}
    run(tmp_path, Script(), [("clip3", "a ball number 3 rises"), PROMPTS[5]])
    after = {line["id"]: line for line in read(tmp_path / "kept.jsonl")}
    assert after.pop("clip3")["prompt"] == "a ball number 3 rises"
    assert after == {name: line for name, line in before.items() if name != "clip3"}


def test_other_settings_need_another_folder(tmp_path):
    run(tmp_path, Script(), PROMPTS[:1])
    with pytest.raises(UserError, match="another folder"):
        perturb.perturb(PROMPTS[:1], tmp_path, Micro(keep=2), {"m": Script()}, embed, model="m")
    with pytest.raises(UserError, match="levity"):
        perturb.perturb([], tmp_path, Micro(axes=("levity",)), {"m": Script()}, embed, model="m")


def test_replies_are_unwrapped_and_an_echo_in_a_heading_is_none_the_less_one(tmp_path):
    def wrapped(instructions, seed):
        captions = [text.split("ORIGINAL: ")[1].split("\n")[0] for text in instructions]
        return [
            (f"The modified caption should read: {caption}", True)
            if n % 2
            else (f"<think></think> {caption} oddly 0.00{n}<|im_end|>", True)
            for n, caption in enumerate(captions)
        ]

    report = run(tmp_path, wrapped, PROMPTS[:2])
    _, *lines = read(tmp_path / "candidates.jsonl")
    every = [c for line in lines for c in line["candidates"]]
    echoes = [c for c in every if c["fate"] == "echo"]
    assert echoes and all(c["reply"].startswith("The modified caption") for c in echoes)
    kept = [c for line in read(tmp_path / "kept.jsonl") for c in line["kept"]]
    assert len(kept) == report["overall"]["kept"] == 6
    assert all(re.fullmatch(r"a ball number \d falls oddly [\d.]+", c["prompt"]) for c in kept)


def test_nothing_usable_leaves_a_prompt_without(tmp_path):
    def nonsense(instructions, seed):
        return [("%%%", True)] * len(instructions)

    report = run(tmp_path / "a", nonsense, PROMPTS[:2])
    assert report["prompts_without"] == 2 and report["overall"]["candidates"] == 0
    assert sum(counts["empty"] for counts in report["rejected"].values()) == 2 * 10 * perturb.ROUNDS
    report = run(tmp_path / "b", Script(), PROMPTS[:2], fits=lambda text: False)
    assert sum(counts.get("too long", 0) for counts in report["rejected"].values()) > 0
    assert report["overall"]["candidates"] == 0


@pytest.mark.parametrize(
    "line",
    [
        {"id": "a"},
        {"id": 1, "prompt": "a ball", "candidates": []},
        {"id": "a", "prompt": "a ball", "candidates": {}},
        {"id": "a", "prompt": "a ball", "candidates": [{"axis": "forces", "prompt": "x"}]},
        {
            "id": "a",
            "prompt": "a ball",
            "candidates": [{"axis": "forces", "prompt": "x", "fate": "kept", "cosine": "1"}],
        },
    ],
)
def test_a_journals_line_that_lacks_something_is_one_sentence(tmp_path, line):
    run(tmp_path, Script(), PROMPTS[:1])
    with open(tmp_path / "candidates.jsonl", "a") as journal:
        journal.write(json.dumps(line) + "\n")
    with pytest.raises(UserError, match=r"candidates.jsonl, line 3: not a clip's candidates"):
        run(tmp_path, Script(), PROMPTS[:1])


# Several servers: real ones on this machine


def changed(body, n):
    """What a server says to an instruction and a seed, whichever server it is."""
    caption = body["messages"][0]["content"].split("ORIGINAL: ")[1].split("\n")[0]
    angle = 0.0001 * (body["seed"] % 9973)
    choice = {"message": {"content": f"{caption} oddly {angle:.4f}"}, "finish_reason": "stop"}
    return 200, json.dumps({"choices": [choice]}).encode()


def by_servers(out, *hosts):
    models = server.servers([host["url"] for host in hosts], "m")
    prompts = [(f"clip{n}", f"a ball number {n} falls") for n in range(90)]
    return perturb.perturb(prompts, out, Micro(candidates=2), models, embed, model="m")


def same_results(one, other):
    for name in ("kept.jsonl", "retention.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    lines = [read(folder / "candidates.jsonl") for folder in (one, other)]
    assert lines[0][0] == lines[1][0]
    key = {"key": lambda line: line["id"]}
    assert sorted(lines[0][1:], **key) == sorted(lines[1][1:], **key), "each caption once"


def test_of_two_servers_one_is_killed_and_every_caption_is_there_once(
    tmp_path, host, other_host, stderr
):
    def dies(body, n):
        if n == 40:  # in its second group of 16 prompts of 2 answers
            other_host["kill"]()
        return changed(body, n)

    def lives(body, n):
        assert n < 64 or stderr.told.wait(60), "else it may have done all by then"
        return changed(body, n)

    host["reply"], other_host["reply"] = lives, dies
    by_servers(tmp_path / "two", host, other_host)
    assert host["n"] > 40 and other_host["n"] >= 40, "both had work"
    assert f"{other_host['url']}/chat/completions does not answer" in stderr.getvalue()
    assert "1 of 2 servers go on" in stderr.getvalue()
    by_servers(tmp_path / "one", host)
    same_results(tmp_path / "two", tmp_path / "one")


def test_all_servers_dead_is_one_sentence_and_the_same_command_resumes(tmp_path, host, other_host):
    down = threading.Event()

    def dies(body, n):
        if n > 50:
            down.set()
        return (503, b"no memory") if down.is_set() else changed(body, n)

    host["reply"] = other_host["reply"] = dies
    with pytest.raises(UserError, match="none of the 2 servers is left; finished work is kept"):
        by_servers(tmp_path / "two", host, other_host)
    done = read(tmp_path / "two" / "candidates.jsonl")[1:]
    assert len(done) >= 16 and len(done) % 16 == 0 and not (tmp_path / "two/kept.jsonl").exists()
    host["reply"] = other_host["reply"] = changed
    asked = host["n"] + other_host["n"]
    by_servers(tmp_path / "two", host, other_host)
    assert host["n"] + other_host["n"] - asked < 2 * (90 - len(done)) + 64, (
        "the rest, and a group twice"
    )
    by_servers(tmp_path / "one", host)
    same_results(tmp_path / "two", tmp_path / "one")


def test_a_server_that_is_given_twice_is_one_sentence():
    with pytest.raises(UserError, match="given twice; give each server once"):
        server.servers(["http://host/v1", "http://host/v1/"], "m")
