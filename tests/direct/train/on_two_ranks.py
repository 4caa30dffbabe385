"""Run by this folder's conftest, since DeepSpeed does not survive the end of its process group.

Under torchrun: what two ranks do together, told as JSON per rank. Without: what one rank does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import small_wan  # noqa: E402
import torch  # noqa: E402

from direct.common import errors, preempt, ranks  # noqa: E402
from direct.common.progress import silent  # noqa: E402
from direct.config import Config, Run  # noqa: E402
from direct.data import source  # noqa: E402
from direct.models import pipeline as pipelines  # noqa: E402
from direct.profiles import profile  # noqa: E402
from direct.settings import with_values  # noqa: E402
from direct.train import batch, checkpoint, loop  # noqa: E402


class Killed(BaseException):
    """Stands for `kill -9` of all ranks."""


def config(pipeline: Path, **values: object) -> Config:
    """Four global steps of four samples, ZeRO-2 in bf16, one sample per pass."""
    settings = {
        "model.pipeline": str(pipeline),
        "model.frames": 5,
        "model.height": 16,
        "model.width": 16,
        "model.text_length": 12,
        "model.dtype": "bfloat16",
        "data.clips": 12,
        "macro.clusters": 3,
        "macro.restarts": 2,
        "micro.min_cosine": 0.0,
        "train.steps": 4,
        "train.batch": 4,
        "train.micro_batch": 1,
        "train.checkpoint_every": 100,
        "train.keep_last": False,
        "train.engine": "deepspeed",
        "train.learning_rate": 1e-3,
        "hard_sample.steps": 2,
        "evaluate.prompts": 5,
    }
    dotted = {name.replace("__", "."): value for name, value in values.items()}
    return with_values(profile("tiny"), settings | dotted)


def clips() -> None:
    """The samples of other tests, in place of the world's."""
    source.training = lambda run: small_wan.build_samples(run.config.data.clips, "training")
    source.evaluation = lambda c: small_wan.build_samples(c.evaluate.prompts, c.evaluate.split)
    source.identity = lambda config: "test"


def main(pipeline: Path, out: Path) -> None:
    clips()
    ranks.start()
    preempt.listen(signal.SIGUSR1)
    told: dict[str, object] = {}

    plain = config(pipeline)

    def preparing(stage: str, done: int, total: int) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        preempt.check()

    first = preparing if ranks.rank() == 0 else None  # as in `direct.launch`
    try:
        loop.train(Run(plain, out / "cache", out / "whole", progress=first or silent))
    except preempt.Preempted as stopped:
        told["preparing"] = str(stopped)
    preempt._request.clear()
    loop.train(Run(plain, out / "cache", out / "whole"))

    watched = {"train__report_to": "tensorboard", "train__sample_every": 2}
    often = config(pipeline, train__checkpoint_every=1, **watched)
    run = out / "resumed"

    def killed(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("train", 1):
            raise Killed

    def asked(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("train", 2) and ranks.rank() == 1:  # of one rank alone
            os.kill(os.getpid(), signal.SIGUSR1)

    try:
        loop.train(Run(often, out / "cache", run, progress=killed))
    except Killed:
        told["killed"] = True
    try:
        loop.train(Run(often, out / "cache", run, progress=asked))
    except preempt.Preempted as stopped:
        told["stopped"] = str(stopped)
    preempt._request.clear()
    told["checkpoints"] = sorted(path.name for path in (run / "checkpoints").iterdir())
    ranks.on_first(lambda: None)  # both have looked before either goes on
    loop.train(Run(often, out / "cache", run))

    real = batch.load_batch
    batch.load_batch = lambda c, data, step, rows: _poisoned(real(c, data, step, rows), step, rows)
    loop.train(Run(plain, out / "cache", out / "poisoned"))

    batch.load_batch, velocity = real, pipelines.velocity
    calls = [2] if ranks.rank() == 1 else []  # the first of its two passes of the second step
    pipelines.velocity = small_wan.overflowing(velocity, calls)
    loop.train(Run(plain, out / "cache", out / "overflowed"))
    pipelines.velocity = velocity

    def unreadable(c, data, step, rows):
        if ranks.rank() == 1:
            raise OSError("shard 7 is cut short")
        return real(c, data, step, rows)

    batch.load_batch = unreadable
    told["unreadable"] = error_of(lambda: loop.train(Run(plain, out / "cache", out / "unreadable")))
    batch.load_batch = real

    write = checkpoint._write

    def full(path, tensors):
        raise OSError(28, "No space left on device")

    checkpoint._write = full
    told["full"] = error_of(lambda: loop.train(Run(often, out / "cache", out / "full")))
    checkpoint._write = write
    told["left"] = [path.name for path in (out / "full").rglob("*step*")]
    lora = config(pipeline, train__lora_rank=2, train__steps=2)
    loop.train(Run(lora, out / "cache", out / "lora"))
    loop.train(Run(config(pipeline, train__init="sft"), out / "cache", out / "sft"))
    sharded(pipeline, out)
    (out / f"rank-{ranks.rank()}.json").write_text(json.dumps(told))
    ranks.stop()


def sharded(pipeline: Path, out: Path) -> None:
    """FSDP2: a run, one with a kill and clips, one that reads half of the reference, LoRA, bf16."""
    values = {"model__dtype": "float32", "train__engine": "fsdp", "train__micro_batch": 2}
    values |= {"train__gradient_checkpointing": True}
    plain, cache = config(pipeline, **values), out / "fsdp-cache"
    loop.train(Run(plain, cache, out / "fsdp"))

    often = config(pipeline, **values, train__checkpoint_every=1, train__sample_every=2)

    def killed(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("train", 3):
            raise Killed

    with contextlib.suppress(Killed):
        loop.train(Run(often, cache, out / "fsdp-resumed", progress=killed))
    loop.train(Run(often, cache, out / "fsdp-resumed"))

    keeping = config(pipeline, **values, train__reference_cache="on")
    for name in ("fsdp-writing", "fsdp-reading"):
        loop.train(Run(keeping, cache, out / name))
        if ranks.rank() == 0:  # now one rank's passes are there, and the other's are not
            _, gone = sorted((cache / "reference").rglob("*.safetensors"))
            gone.unlink()
        ranks.on_first(lambda: None)
    loop.train(Run(config(pipeline, **values, train__lora_rank=2), cache, out / "fsdp-lora"))
    bf16 = values | {"model__dtype": "bfloat16"}
    loop.train(Run(config(pipeline, **bf16), cache, out / "fsdp-bf16"))

    torch.accelerator.device_count = lambda: 1  # which diffusers divides by, and a CPU has none
    halves = values | {"train__context_parallel": 2, "train__sample_every": 2}
    loop.train(Run(config(pipeline, **halves), cache, out / "fsdp-halves"))


def alone(pipeline: Path, out: Path) -> None:
    clips()
    loop.train(Run(config(pipeline), out / "cache", out / "one"))
    fp32 = {"model__dtype": "float32", "train__micro_batch": 2}
    for name in ("deepspeed", "torch"):
        values = config(pipeline, train__engine=name, **fp32)
        loop.train(Run(values, out / "fp32", out / name))
    for name, more in (("torch-lora", {"train__lora_rank": 2}), ("torch-bf16", {})):
        own = fp32 | more | ({} if more else {"model__dtype": "bfloat16"})
        loop.train(Run(config(pipeline, train__engine="torch", **own), out / "fp32", out / name))
    small = {"train__learning_rate": 1e-6, "train__steps": 2, "train__weight_decay": 0.0}
    loop.train(Run(config(pipeline, **small), out / "cache", out / "small"))


def _poisoned(batch, step, rows):
    """The third sample of the second batch is not finite: it is the second rank's."""
    return replace(batch, x=batch.x * float("nan")) if step == 1 and 2 in rows else batch


def error_of(call) -> str:
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    work = main if "WORLD_SIZE" in os.environ else alone
    errors.command(lambda: work(Path(sys.argv[1]), Path(sys.argv[2])))
