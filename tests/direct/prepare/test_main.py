"""python -m direct.prepare: perturbing, half of it, and going on."""

from __future__ import annotations

import json
import sys

import pytest

from direct.common.errors import UserError
from direct.common.files import digest


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def said(text, reason="stop"):
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": reason}
    return 200, json.dumps({"choices": [choice]}).encode()


@pytest.mark.slow
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
    with pytest.raises(UserError, match="run the same command again to resume"):
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
