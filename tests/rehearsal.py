"""The paper's scale, small: every command from WISA's files to a rendered table (`make rehearsal`).

A folder of own videos is curated and encoded as well; Wan 2.2's TI2V-5B and LTX-Video are trained
and generate. FOLDER/said has what each command printed.

    python tests/rehearsal.py FOLDER

Nothing is mocked that a library can do for real: mp4 files are made by an encoder, the pipeline has
Wan's classes, prompts are perturbed by a server that speaks OpenAI's protocol, training runs on two
ranks of DeepSpeed, and the rater is another program. Only the sizes, the server's wit and the
rater's judgement are small.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # before this folder, whose `direct` holds tests
PROFILE = "wan2.1-t2v-1.3b"
COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230)}
VERBS = {"falls": "forces", "rises": "forces", "rolls": "interaction", "slides": "interaction"}
SWAPS = (
    ("falls", "rises"),
    ("rolls", "slides"),
    ("slowly", "quickly"),
    ("small", "large"),
    ("heavy", "light"),
)


def wisa_folder(folder: Path) -> Path:
    """Twelve clips as published, and one for each of four reasons to be left out."""
    from direct.data.video import write_video

    entries = []
    for n in range(16):
        colour, verb = list(COLOURS)[n % 3], list(VERBS)[n % 4]
        pace = ("slowly", "quickly")[n // 8]
        caption = f"a small {('heavy', 'light')[n // 4 % 2]} {colour} ball {verb} {pace}"
        law = "liquid motion" if n % 4 == 1 else "Rigid body motion "
        entries.append(
            {
                "video_name": f"clip{n:02}.mp4",
                "captions": caption,
                "label": law,
                "physical_annotation": {"phys_law": "gravity"},
            }
        )
        frames = 60 if n == 12 else 81 + n
        size = (18, 24) if n == 13 else (18, 32)
        path = folder / "data" / "videos" / str(n % 2) / f"clip{n:02}.mp4"
        write_video(path, moving_ball(frames, *size, COLOURS[colour], n))
        if n == 14:
            path.write_bytes(path.read_bytes()[:900])
    entries[15]["label"] = "magic"
    (folder / "data" / "wisa-80k.json").write_text(json.dumps(entries))
    return folder


def own_videos(folder: Path) -> list[str]:
    """Six clips of one's own, of other sizes and lengths, as options of `curate`."""
    from direct.data.video import write_video

    rows = ["file_name,caption,law"]
    for n, verb in enumerate([*VERBS, "falls", "rises"]):
        path = folder / "clips" / f"own {n}.mp4"
        clip = moving_ball(20 + n, 24 + 2 * (n % 2), 32, list(COLOURS.values())[n % 3], n)
        write_video(path, clip)
        rows.append(f"clips/{path.name},a ball {verb} on day {n},{VERBS[verb]}")
    rows.append("clips/missing.mp4,a ball that is not there,forces")
    (folder / "captions.csv").write_text("\n".join(rows) + "\n")
    rule = ["--min-frames", "20", "--aspect", "any"]
    return ["--videos", str(folder), "--captions", str(folder / "captions.csv"), *rule]


def moving_ball(frames: int, height: int, width: int, colour: tuple[int, ...], n: int):
    """uint8 [frames, height, width, 3]."""
    t = np.linspace(0, 1, frames)[:, None, None]
    y, x = np.mgrid[:height, :width]
    inside = (x - (4 + n + t * (width - 12 - n))) ** 2 + (y - height * (0.2 + 0.6 * t)) ** 2 < 16
    return np.where(inside[..., None], np.array(colour), 30 + 3 * n).astype(np.uint8)


class Model(BaseHTTPRequestHandler):
    """A language model of few words: it swaps one of those that the instruction's caption has."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        caption = body["messages"][0]["content"].split("ORIGINAL: ")[1].split("\n")[0]
        pairs = [pair for swap in SWAPS for pair in (swap, swap[::-1]) if pair[0] in caption]
        old, new = pairs[body["seed"] % len(pairs)]
        choice = {"message": {"content": caption.replace(old, new)}, "finish_reason": "stop"}
        data = json.dumps({"choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 64  # with Python's 5, the sixth of 16 connections is tried again after 1 s


@contextmanager
def language_model():
    """The address of a server that answers while the block runs."""
    server = Server(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def settings(pipeline: Path, **others: object) -> list[str]:
    """A profile with small sizes, as options of every command; others: as train__steps=2."""
    values = {
        "model.pipeline": pipeline,
        "model.frames": 5,
        "model.height": 16,
        "model.width": 16,
        "model.text_length": 64,
        "data.clips": 12,
        "macro.clusters": 3,
        "macro.restarts": 4,
        "micro.candidates": 4,
        "micro.min_cosine": 0.5,
        "train.steps": 4,
        "train.batch": 4,
        "train.checkpoint_every": 2,
        "train.learning_rate": 1e-3,
        "sample.steps": 3,
        "hard_sample.steps": 3,
        "evaluate.prompts": 6,
    } | {name.replace("__", "."): value for name, value in others.items()}
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def main(folder: Path) -> None:
    from small_wan import build_pipeline

    began = time.monotonic()
    wisa = wisa_folder(folder / "wisa")
    pipeline = build_pipeline(folder / "wan")
    sizes = ["--profile", PROFILE, *settings(pipeline)]
    same = [*sizes, "--out", str(folder)]
    prepare = ["-m", "direct.prepare"]
    rater = f"'{sys.executable}' '{HERE / 'rehearsal_rater.py'}'"
    two_ranks = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    print(f"{time.monotonic() - began:5.1f} s  clips and pipeline made", flush=True)

    run("plan", ["-m", "direct.plan", *sizes])
    run("curate", [*prepare, "curate", "--wisa", str(wisa), *same])
    run("encode", [*prepare, "encode", *same])
    with language_model() as one, language_model() as two:
        servers = ["--server", one, "--server", two]
        run("perturb", [*prepare, "perturb", *servers, "--llm", "small", *same])
    run("render", [*prepare, "render", *same])
    run("verify", [*prepare, "verify", "--deep", *same])
    said = run("train", [*two_ranks, "-m", "direct.train", *same]).splitlines()
    (trained,) = (line for line in said if line.endswith("/transformer"))  # of one rank alone
    named = ["lambda_hard", "--name", "small"]  # settings of its own: a folder of its own
    run("sweep", ["-m", "sweeps.run", *named, "--seeds", "0", "--workers", "1", *same], rater)
    judged = next(iter((folder / "runs" / PROFILE).glob("*/videophy")))
    (judged / "sa.csv").unlink()
    run(
        "evaluate",
        [
            "-m",
            "direct.evaluate",
            "videophy",
            "--folder",
            str(judged),
            "--prompts",
            str(few_prompts(folder)),
        ],
        rater,
    )
    compared = run("compare", ["-m", "direct.plan", "--compare", "--share", "0.34", *same])
    check_stages(compared)
    own = ["--profile", PROFILE, *settings(pipeline, data__clips=6), "--out", str(folder / "own")]
    run("curate own videos", [*prepare, "curate", *own_videos(folder / "own"), *own])
    run("encode own videos", [*prepare, "encode", *own])
    check(Path(trained), folder / "reports" / PROFILE / "small/table_s3.md")
    other_families(folder)
    print(f"{time.monotonic() - began:5.1f} s  all of it", flush=True)


def other_families(folder: Path) -> None:
    """Wan 2.2's TI2V-5B and LTX-Video on the same curated clips, each in one process."""
    from small_wan import build_pipeline

    from tests.direct.small_pipelines import build_ltx

    trained_on(folder, "5B", "wan2.2-ti2v-5b", build_pipeline(folder / "wan22", "2.2-5b"), 32)
    build_ltx().save_pretrained(folder / "ltx")
    trained_on(folder, "LTX", "ltx-video", folder / "ltx", 16)


def trained_on(folder: Path, name: str, profile: str, pipeline: Path, side: int) -> None:
    """Its own VAE and sizes: clips encoded, two steps of training, a clip of the result."""
    small = {"model__height": side, "model__width": side, "train__steps": 2, "loss__lambda_hard": 0}
    sizes = settings(pipeline, **small, train__engine="torch", train__micro_batch=2)
    same = ["--profile", profile, *sizes, "--out", str(folder)]
    run(f"encode, {name}", ["-m", "direct.prepare", "encode", *same])
    trained = Path(run(f"train, {name}", ["-m", "direct.train", *same]).split()[-1])
    clip = ["--prompt", "a small red ball falls slowly", "--out", str(folder / f"{name}.mp4")]
    run(f"generate, {name}", ["-m", "direct.generate", "--run", str(trained.parent), *clip])
    assert (folder / f"{name}.mp4").stat().st_size > 0


def run(stage: str, command: list[str], rater: str = "") -> str:
    """Runs Python on a command line; its standard output. A failure ends the rehearsal."""
    began = time.monotonic()
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "DIRECT_RATER": rater,
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=HERE.parent,
        text=True,
        capture_output=True,
        check=False,
    )
    print(f"{time.monotonic() - began:5.1f} s  {stage}", flush=True)
    said = Path(sys.argv[1]) / "said" / f"{stage}.txt"
    said.parent.mkdir(exist_ok=True)
    said.write_text(f"{done.stdout}\n{done.stderr}")
    if done.returncode:
        sys.exit(f"{stage} ended with status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def few_prompts(folder: Path) -> Path:
    """The first six of VideoPhy's prompts, as a file of one's own."""
    shipped = HERE.parent / "direct" / "data" / "videophy_test.csv"
    path = folder / "prompts.csv"
    path.write_text("".join(shipped.read_text().splitlines(keepends=True)[:7]))
    return path


def check_stages(compared: str) -> None:
    """Every stage that a plan has left its record."""
    print(compared, end="")
    stages = ("encode", "perturb", "render", "train", "evaluate")
    assert [line.split()[0] for line in compared.splitlines()[2:7]] == [*stages], compared


def check(transformer: Path, table: Path) -> None:
    """What was trained is Wan's, and the table has a number in every column of every row."""
    from diffusers import WanTransformer3DModel

    WanTransformer3DModel.from_pretrained(transformer)
    scores = table.read_text().split("## Paired")[0].splitlines()
    rows = [line for line in scores if line.startswith("| 0.")]
    assert len(rows) == 3, scores
    assert all(row.count("±") == 3 for row in rows), rows  # SA, PC and their mean
    print(*rows, sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
