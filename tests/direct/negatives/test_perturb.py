"""Perturbing prompts with a language model: template, rejections, resuming, both backends."""

from __future__ import annotations

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from direct.common.errors import UserError
from direct.common.files import digest
from direct.config import Micro
from direct.prepare import language, perturb

PAPER = Path(__file__).parents[4] / "shared" / "paper" / "direct.txt"  # beside the checkout
PROMPT = "a red ball falls from the shelf and bounces on the floor"


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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a red ball falls slowly from the shelf and bounces on the floor", None),
        ("A red ball falls from the shelf and  bounces on the floor.", "echo"),
        ("", "empty"),
        ("... 12", "empty"),
        ("I'm sorry, but I can't help with that request about a ball.", "refusal"),
        ("As an AI, I cannot show a ball that breaks physical laws here", "refusal"),
        ('"a red ball rises from the shelf and bounces on the floor"', "quotes or a heading"),
        ("Modified caption: a red ball rises from the shelf to the floor", "quotes or a heading"),
        ("a red ball rises from the shelf\n\nNote: gravity is reversed", "quotes or a heading"),
        ("a red ball rises instead of falling from a shelf", "comparison with the original"),
        ("a red ball no longer falls from the shelf on the floor", "comparison with the original"),
        ("a red ball falls " + "very " * 30 + "slowly", "too long"),
        ("a ball rises", "too short"),
        ("a red ball was seen before on the shelf and the floor", "repeat"),
    ],
)
def test_what_is_rejected(text, reason):
    seen = {"a red ball was seen before on the shelf and the floor"}
    assert perturb.fault(text, True, PROMPT, seen) == reason
    assert perturb.fault(text, False, PROMPT, seen) in (reason, "too long")


def test_a_comparison_of_the_caption_itself_is_no_leak():
    caption = "a man walks on his hands instead of his feet"
    changed = "a man walks slowly on his hands instead of feet"
    assert perturb.fault(changed, True, caption, set()) is None
    assert perturb.fault(PROMPT + " slowly", False, PROMPT, set()) == "too long"  # never ended


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
    return perturb.perturb(prompts, out, SETTINGS, ask, embed, model="m", **more)


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
        perturb.perturb(PROMPTS[:1], tmp_path, Micro(keep=2), Script(), embed, model="m")
    with pytest.raises(UserError, match="levity"):
        perturb.perturb([], tmp_path, Micro(axes=("levity",)), Script(), embed, model="m")


def test_nothing_usable_leaves_a_prompt_without(tmp_path):
    def nonsense(instructions, seed):
        return [("%%%", True)] * len(instructions)

    report = run(tmp_path / "a", nonsense, PROMPTS[:2])
    assert report["prompts_without"] == 2 and report["overall"]["candidates"] == 0
    assert sum(counts["empty"] for counts in report["rejected"].values()) == 2 * 10 * perturb.ROUNDS
    report = run(tmp_path / "b", Script(), PROMPTS[:2], fits=lambda text: False)
    assert sum(counts.get("too long", 0) for counts in report["rejected"].values()) > 0
    assert report["overall"]["candidates"] == 0


# A real language model of Qwen2.5's class, and a real server


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

    folder = tmp_path_factory.mktemp("qwen")
    vocab = {character: n for n, character in enumerate(sorted(ByteLevel.alphabet()))}
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocab |= {token: 256 + n for n, token in enumerate(special)}
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=special,
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=256,
        eos_token_id=[258, 256],
        pad_token_id=256,
        initializer_range=0.5,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return str(folder)


TEXTS = ["short", "a rather longer instruction than the others", "medium one"]


def test_local_model_batches_as_it_answers_alone(qwen, monkeypatch):
    """Left padding: with the likeliest token always taken, the batch cannot change an answer."""
    monkeypatch.setattr(language, "MAX_TOKENS", 12)
    monkeypatch.setitem(language.SAMPLING, "top_k", 1)
    alone, together = language.local(qwen, batch=1)(TEXTS, 0), language.local(qwen)(TEXTS, 0)
    assert alone == together and len({text for text, _ in alone}) > 1
    assert all("im_start" not in text and "short" not in text for text, _ in alone)


def test_local_model_samples_by_its_seed_and_says_when_it_was_cut(qwen, monkeypatch):
    monkeypatch.setattr(language, "MAX_TOKENS", 8)
    ask = language.local(qwen)
    assert ask(TEXTS, 1) == ask(TEXTS, 1) != ask(TEXTS, 2)
    monkeypatch.setattr(language, "MAX_TOKENS", 400)
    monkeypatch.setitem(language.SAMPLING, "temperature", 50.0)
    monkeypatch.setitem(language.SAMPLING, "top_k", 0)
    monkeypatch.setitem(language.SAMPLING, "top_p", 1.0)
    long = [complete for _, complete in ask(TEXTS * 4, 1)]
    monkeypatch.setattr(language, "MAX_TOKENS", 1)
    assert any(long) and sum(c for _, c in ask(TEXTS * 4, 1)) < sum(long)


def test_a_folder_without_a_model_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be loaded"):
        language.local(str(tmp_path))


@pytest.fixture
def host(monkeypatch):
    """A server on this machine; `reply(body, n)` gives (status, bytes) for its n-th request."""
    monkeypatch.setattr(language, "WAITS", (0.01, 0.01))
    state = {"n": 0, "reply": None, "headers": [], "paths": []}
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                state["n"] += 1
                state["headers"].append(dict(self.headers))
                state["paths"].append(self.path)
                status, data = state["reply"](body, state["n"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state["url"] = f"http://127.0.0.1:{server.server_port}/v1"
        yield state
        server.shutdown()


def said(text, reason="stop"):
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": reason}
    return 200, json.dumps({"choices": [choice]}).encode()


def test_server_answers_in_the_order_asked(host, monkeypatch):
    monkeypatch.setenv(language.KEY, "secret")

    def reply(body, n):
        text = body["messages"][0]["content"]
        assert body["model"] == "qwen" and body["temperature"] == 0.7 and body["max_tokens"] == 512
        return said(f"{text} {body['seed']}", "length" if text == "short" else "stop")

    host["reply"] = reply
    answers = language.server(host["url"] + "/", "qwen")(TEXTS, 7)
    assert answers == [("short 7", False), (TEXTS[1] + " 8", True), ("medium one 9", True)]
    assert set(host["paths"]) == {"/v1/chat/completions"}
    assert {headers["Authorization"] for headers in host["headers"]} == {"Bearer secret"}


def test_server_that_recovers_is_asked_again(host):
    host["reply"] = lambda body, n: (503, b"busy") if n == 1 else said("fine")
    assert language.server(host["url"], "m")(["x"], 0) == [("fine", True)] and host["n"] == 2


@pytest.mark.parametrize(
    ("reply", "message", "requests"),
    [
        ((500, b"broken"), "does not answer .status 500: broken.", 3),
        ((404, b"no such model"), "status 404: no such model", 1),
        ((200, b"<html>"), "does not answer", 3),
        ((200, b'{"choices": []}'), "no completion", 1),
    ],
)
def test_server_faults_are_one_sentence(host, reply, message, requests):
    host["reply"] = lambda body, n: reply
    with pytest.raises(UserError, match=message):
        language.server(host["url"], "m")(["x"], 0)
    assert host["n"] == requests


def test_no_server_is_one_sentence(monkeypatch):
    monkeypatch.setattr(language, "WAITS", ())
    with pytest.raises(UserError, match="does not answer"):
        language.server("http://127.0.0.1:9", "m", seconds=2)(["x"], 0)


def test_command_line(host, tmp_path, pipeline_folder, monkeypatch, capsys):
    """A server dies half-way, then the same command goes on; the pipeline's encoder measures."""
    from direct.prepare import __main__

    speeds = ["slowly", "quickly", "gently", "fast"]

    def reply(body, n):
        text = body["messages"][0]["content"].split("ORIGINAL: ")[1].split("\n")[0]
        if dying and text == last:
            return 500, b"out of memory"
        return said(f"{text} {speeds[body['seed'] % 4]}")

    host["reply"] = reply
    clips = [
        {
            "id": f"c{n}",
            "caption": f"a red ball {'rolls ' * n}falls",
            "law": "collision",
            "video": "x.mp4",
            "sha256": str(n),
            "frames": 81,
        }
        for n in range(20)
    ]
    home = tmp_path / "cache" / "wisa"
    home.mkdir(parents=True)
    (home / "manifest.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    (home / "report.json").write_text(json.dumps({"folder": "/nowhere"}))
    line = [
        "direct.prepare",
        "perturb",
        "--out",
        str(tmp_path),
        "--server",
        host["url"],
        "--llm",
        "qwen",
        "--profile",
        "tiny",
        "--set",
        "data.source=cache",
        "--set",
        "data.clips=20",
        "--set",
        "macro.clusters=2",
        "--set",
        f"model.pipeline={pipeline_folder}",
        "--set",
        "micro.candidates=2",
        "--set",
        "micro.min_cosine=-1",
        "--set",
        "micro.keep=2",
    ]
    monkeypatch.setattr(sys, "argv", line)
    dying = True
    last = max(clips, key=lambda clip: digest(clip["id"]))["caption"]
    with pytest.raises(UserError, match="the same command goes on"):
        __main__.main()
    (path,) = (home / "perturbed").glob("*/candidates.jsonl")
    journal = read(path)
    order = sorted((clip["id"] for clip in clips), key=digest)
    assert [line["id"] for line in journal[1:]] == order[:16]
    dying = False
    __main__.main()
    assert read(path)[:17] == journal
    report = json.loads(capsys.readouterr().out)
    kept = read(path.with_name("kept.jsonl"))
    assert report["prompts"] == 20 and [line["id"] for line in kept] == order
    fit = [entry for line in kept for entry in line["kept"]]
    assert report["overall"]["kept"] == len(fit) > 20
    assert all(entry["prompt"].split()[-1] in speeds for entry in fit)
