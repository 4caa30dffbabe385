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


def curate(monkeypatch, folder, pipeline, *options):
    from direct.prepare import __main__

    sets = [f"model.pipeline={pipeline}", "model.text_length=10", *options]
    line = ["prepare", "curate", "--wisa", str(folder), "--out", str(folder), "--seconds", "7"]
    monkeypatch.setattr(sys, "argv", line + [part for x in sets for part in ("--set", x)])
    assert __main__.main() == 0
    found = read(folder / "cache" / "wisa" / "manifest.jsonl")
    return {line["id"]: line["caption"] for line in found}


def test_curate_knows_the_encoders_limit_and_says_how_to_try_again(
    tmp_path, pipeline_folder, monkeypatch, capsys
):
    """Ten tokens with the end: the second caption has more; one file was not decoded in time."""
    from direct.data import wisa

    long = "the red ball falls. The blue ball rises slowly and rolls to the wall"
    captions = {"a": "a red ball falls slowly", "b": long, "c": "a box slides"}
    metadata = [
        {"video_name": f"{name}.mp4", "captions": text, "label": "collision"}
        for name, text in captions.items()
    ]
    (tmp_path / "wisa-80k.json").write_text(json.dumps(metadata))
    for name in captions:
        (tmp_path / f"{name}.mp4").touch()
    shown = {"frames": 81, "height": 18, "width": 32, "fps": 16.0}
    late = {"sha256": "", "fault": "decoding took more than 7 s", "passing": True}

    def probed(root, paths, journal, workers, seconds, progress):
        assert seconds == 7
        return {x: late if x.stem == "c" else shown | {"sha256": x.stem} for x in paths}

    monkeypatch.setattr(wisa, "probed", probed)
    assert curate(monkeypatch, tmp_path, pipeline_folder) == {"a": captions["a"]}
    said = capsys.readouterr()
    report = json.loads(said.out)
    reasons = {"caption too long for the text encoder": 1, "not decoded yet": 1}
    assert report["left_out"] == reasons and report["captions_cut"] == 0
    assert "1 of 3 clips took longer than 7 s" in said.err and "--seconds" in said.err

    kept = curate(monkeypatch, tmp_path, pipeline_folder, "data.long_captions=truncate")
    assert kept == {"a": captions["a"], "b": "the red ball falls."}
    assert json.loads(capsys.readouterr().out)["captions_cut"] == 1
    with pytest.raises(UserError, match=r"clip b has a caption longer than model.text_length"):
        curate(monkeypatch, tmp_path, pipeline_folder, "data.long_captions=error")
