"""The stages of the miniature's training, each in processes of its own.

A module apart from `__main__`, which spawned processes do not import.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline

from ..common import ranks
from ..common.files import load_arrays, save_arrays, write_json
from ..common.manifest import write_manifest
from ..models.pipeline import load_pipeline
from ..profiles import profile
from ..world import samples
from ..world.corpus import corpus
from ..world.validate import reference_rows
from . import card, text, transformer, vae

SEED = 0
CLIPS = 12_000
CARD_CLIPS = 80  # validation prompts
VAE_PLAN = [(5, 8, 1000), (17, 4, 5500)]  # (frames, clips per process, steps)
VAE_RATE = 5e-3
DECODER_PLAN = [(17, 4, 9000)]
DECODER_RATE = 2e-3
# (steps, rate): then the decoder by both processes
POLISHES = [(6000, 1.5e-3), (3000, 1e-3), (8000, 1.5e-3)]
DECODER_MARGIN = 2  # px around objects, where halos would be
TRANSFORMER: dict[str, Any] = {"steps": 7_500, "batch": 32, "rate": 2.5e-3, "shift": 2.0}


def run(work: Path, out: Path) -> None:
    """Every stage that `work` does not hold yet; then the pipeline's folder and its card."""
    work.mkdir(parents=True, exist_ok=True)
    stage(work / "vae", functools.partial(train_vae, work / "vae"), processes=2)
    stage(work / "latents", functools.partial(encode_corpus, work), processes=2)
    first = functools.partial(
        train_decoder, work / "vae", work / "decoder", DECODER_PLAN, DECODER_RATE, SEED + 1
    )
    both = [
        in_background(work / "decoder", first),
        in_background(work / "model", functools.partial(train_transformer, work)),
    ]
    for process in both:
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)
    decoders = ["decoder", *(f"polish-{k + 1}" for k in range(len(POLISHES)))]
    for k, (steps, rate) in enumerate(POLISHES):
        before, after, plan = work / decoders[k], work / decoders[k + 1], [(17, 4, steps)]
        again = functools.partial(train_decoder, before, after, plan, rate, SEED + 2 + k)
        stage(after, again, processes=2)
    assemble(work, work / decoders[-1], out)
    write_manifest(out)
    losses = {
        name: round(json.loads((work / name / "loss.json").read_text()), 4)
        for name in ("vae", *decoders, "model")
    }
    card.write(out, settings() | {"losses": losses}, judged(out.absolute()))  # never "tiny" itself
    write_manifest(out)


def judged(folder: Path) -> dict[str, dict[str, float]]:
    """The world judge's mean scores on validation prompts, for the card."""
    pipeline = load_pipeline(str(folder))
    clips = corpus("validation", CARD_CLIPS)
    rebuild = functools.partial(samples.reconstruct, pipeline)
    base = samples.sampler(pipeline.transformer, pipeline, profile("tiny"))
    return reference_rows(clips, {"base model": base}, rebuild)


def settings() -> dict[str, Any]:
    """What the model card records."""
    return {
        "seed": SEED,
        "clips": CLIPS,
        "vae": VAE_PLAN,
        "vae_rate": VAE_RATE,
        "decoder": DECODER_PLAN,
        "decoder_rate": DECODER_RATE,
        "polishes": POLISHES,
        "decoder_margin": DECODER_MARGIN,
        "transformer": TRANSFORMER,
    }


def stage(done: Path, run: Callable[[], None], processes: int) -> None:
    """Runs a stage in a group of processes, unless its mark is there."""
    if not (done / "done.json").exists():
        meeting = (done.parent / f".{done.name}.meeting").absolute()
        meeting.unlink(missing_ok=True)
        mp.spawn(_member, args=(run, processes, f"file://{meeting}"), nprocs=processes)
        meeting.unlink(missing_ok=True)
        write_json(done / "done.json", settings())


def in_background(done: Path, run: Callable[[], None]) -> Any:
    process = mp.get_context("spawn").Process(target=stage, args=(done, run, 1))
    process.start()
    return process


def _member(rank: int, run: Callable[[], None], processes: int, meeting: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    run()
    dist.destroy_process_group()


def train_vae(out: Path) -> None:
    vae.train(vae.build(SEED), VAE_PLAN, VAE_RATE, SEED, out)


def encode_corpus(work: Path) -> None:
    """Every process encodes its share of the corpus: work/latents/<rank>.safetensors."""
    model = AutoencoderKLWan.from_pretrained(work / "vae")
    rank, world = ranks.rank(), ranks.size()
    clips = corpus("pretraining", CLIPS, SEED)[rank::world]
    latents = []
    for k in range(0, len(clips), 16):
        videos = np.stack([clip.video() for clip in clips[k : k + 16]])
        x = torch.from_numpy(videos).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        with torch.no_grad():
            latents.append(model.encode(x).latent_dist.mode())
        if rank == 0 and k % 800 == 0:
            print(f"corpus {k * world} of {CLIPS}", flush=True)
    save_arrays(work / "latents" / f"{rank}.safetensors", {"latents": torch.cat(latents)})


def load_corpus(work: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[str]]:
    """Normalised latents [N, C, T, H, W], mean and std [C], and the captions."""
    parts = [load_arrays(path) for path in sorted((work / "latents").glob("*.safetensors"))]
    every = corpus("pretraining", CLIPS, SEED)
    captions = [clip.caption for k in range(len(parts)) for clip in every[k :: len(parts)]]
    latents = torch.cat([part["latents"] for part in parts if part])
    mean, std = latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4))
    view = (1, -1, 1, 1, 1)
    return (latents - mean.view(view)) / std.view(view), mean, std, captions


def train_decoder(
    before: Path, out: Path, plan: list[tuple[int, int, int]], rate: float, seed: int
) -> None:
    """The decoder further, on whole clips; the encoder, and so every latent, stays."""
    model = AutoencoderKLWan.from_pretrained(before)
    model.encoder.requires_grad_(False)
    model.quant_conv.requires_grad_(False)
    vae.train(model, plan, rate, seed, out, DECODER_MARGIN)


def train_transformer(work: Path) -> None:
    latents, _, _, captions = load_corpus(work)
    tokenizer = text.tokenizer()
    transformer.train(
        transformer.build(SEED),
        text.encoder(len(tokenizer), SEED),
        latents,
        transformer.tokenize(tokenizer, captions, text.LENGTH),
        seed=SEED,
        out=work / "model",
        **TRANSFORMER,
    )


def assemble(work: Path, decoder: Path, out: Path) -> None:
    """Writes the folder that `WanPipeline.from_pretrained` loads. decoder: the VAE's last stage."""
    from diffusers import WanTransformer3DModel
    from transformers import UMT5EncoderModel

    _, mean, std, _ = load_corpus(work)
    model = AutoencoderKLWan.from_pretrained(decoder)
    model.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    model.half()  # on disk; `models.pipeline` computes in float32
    dit = WanTransformer3DModel.from_pretrained(work / "model" / "transformer")
    for part in (model, dit):
        part.register_to_config(_name_or_path="")  # no folder of the machine that trained it
    shutil.rmtree(out, ignore_errors=True)
    WanPipeline(
        tokenizer=text.tokenizer(),
        text_encoder=UMT5EncoderModel.from_pretrained(work / "model" / "text_encoder"),
        vae=model,
        transformer=dit,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=TRANSFORMER["shift"]),
    ).save_pretrained(out, safe_serialization=True)
