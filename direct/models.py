"""Loading a pipeline, and what it computes: text embeddings, latents, videos, velocities.

One function loads the weights inside this package ("tiny"), a folder, or a hub id. What differs
between families of models is in `direct.families`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import families
from .config import Model
from .errors import UserError
from .files import digest, file_digest, folder_digest, write_text
from .hub import located

MANIFEST = "SHA256SUMS"  # lines "<sha256>  <relative path>", as `sha256sum` writes them
TEXT_BATCH = 32
VIDEO_BATCH = 8  # clips in one pass of the VAE, at most; of the paper's size one
VIDEO_PIXELS = 2**25  # in one pass


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_pipeline(
    name: str, dtype: torch.dtype = torch.float32, without: Sequence[str] = ()
) -> Any:
    """A frozen pipeline of its own class in eval mode; the VAE is always fp32.

    name: "tiny", a folder, or a hub id, owner/name@commit; without: parts to leave out, as
    "transformer". Weights are read from safetensors alone. A missing or damaged file is a
    `UserError`.
    """
    import diffusers

    source, revision = _checked(name)
    with one_sentence(source):
        kind = getattr(diffusers, _family(source, revision).PIPELINE)
        pipeline = kind.from_pretrained(
            source,
            revision=revision,
            dtype={"vae": torch.float32, "default": dtype},
            use_safetensors=True,
            **dict.fromkeys(without),
        )
    for part in ("text_encoder", "vae", "transformer"):
        if (module := getattr(pipeline, part)) is not None:
            _check_complete(module, source)
            module.eval().requires_grad_(False)
    return pipeline.to(device())


def load_transformer(name: str | Path, dtype: torch.dtype = torch.float32) -> Any:
    """The transformer of a pipeline ("tiny", folder, hub id), or of a folder of its own."""
    import diffusers

    source, revision = _checked(str(name))
    own_folder = (Path(source) / "config.json").exists()
    with one_sentence(source):
        kind = getattr(diffusers, _family(source, revision).TRANSFORMER)
        transformer = kind.from_pretrained(
            source,
            subfolder=None if own_folder else "transformer",
            revision=revision,
            dtype=dtype,
            use_safetensors=True,
        )
    _check_complete(transformer, source)
    return transformer.eval().to(device())


def architecture(model: Model, part: str) -> tuple[Any, dict[str, Any]]:
    """The class and the configuration of the "transformer" or the "vae", without its weights."""
    import diffusers

    source, revision = located(model.pipeline)
    with one_sentence(source):
        kind = getattr(diffusers, getattr(_family(source, revision), part.upper()))
        found = kind.load_config(source, subfolder=part, revision=revision)
    if found.get("_class_name") != kind.__name__:  # a folder's own config.json, where `part` lacks
        raise UserError(f"model.pipeline={source} has no {part}; give a whole pipeline's folder")
    return kind, found


def vae_config(model: Model) -> dict[str, Any]:
    """The VAE's strides and channels."""
    return architecture(model, "vae")[1]


@lru_cache(maxsize=4)
def velocity(model: Model) -> Callable[..., Tensor]:
    """v(forward, x_t [B, C, T, H, W], t [B] in [0, 1], text [B, L, D]) of the model's family."""
    source, revision = located(model.pipeline)
    with one_sentence(source):
        family = _family(source, revision)
    return family.velocity(model, vae_config(model))


def identity(model: Model) -> str:
    """12 hex digits that name the pipeline's weights: what is cached from them is found by it."""
    if model.peer:
        from .peers import named  # which loads through this module

        return digest(named(model.peer).repository)
    source = Path(located(model.pipeline)[0])
    if not source.is_dir():
        return digest(model.pipeline)
    if (source / MANIFEST).exists():  # checked against the files whenever they are loaded
        lines = (source / MANIFEST).read_text().splitlines()
        return digest([line for line in lines if not line.endswith(" README.md")])
    files = (path for path in source.rglob("*") if path.is_file())
    return _named(source, tuple(sorted((path, path.stat().st_mtime_ns) for path in files)))


@lru_cache(maxsize=4)
def _named(source: Path, stamps: tuple[Any, ...]) -> str:
    """Hashed once a process for the same files: a pipeline may be tens of gigabytes."""
    return folder_digest(source)[:12]


def write_manifest(folder: Path) -> None:
    """Writes the checksums that `load_pipeline` and `load_transformer` check."""
    files = sorted(
        path for path in Path(folder).rglob("*") if path.is_file() and path.name != MANIFEST
    )
    lines = [f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_text(Path(folder) / MANIFEST, "".join(lines))


def fault_of(folder: Path) -> str | None:
    """What is missing or damaged in a folder with a manifest; `None` where it is whole."""
    try:
        lines = (folder / MANIFEST).read_text().splitlines()
    except (OSError, ValueError):
        return f"{folder / MANIFEST} is missing"
    for line in lines:
        expected, _, name = line.partition("  ")
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
        if file_digest(folder / name) != expected:
            return f"{folder / name} is damaged (its SHA-256 is not the one in {MANIFEST})"
    return None if lines else f"{folder / MANIFEST} is empty"


def clean(prompt: str) -> str:
    """The pipeline's own prompt cleaning, for training, negatives and generation alike."""
    from diffusers.pipelines.wan.pipeline_wan import prompt_clean

    return prompt_clean(prompt)


@torch.no_grad()
def encode_prompts(pipeline: Any, prompts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
    """Embeddings [N, length, D] in the encoder's dtype, zero beyond each prompt; lengths [N] int64.

    A prompt of more than `length` tokens (end token included) is a `UserError`, never cut.
    """
    if not prompts:
        raise UserError("encode_prompts was given no prompt; give at least one")
    family, embeddings, lengths = _family_of(pipeline), [], []
    for chosen, valid in batches(len(prompts), TEXT_BATCH):
        tokens = _tokenize(pipeline.tokenizer, [prompts[i] for i in chosen], length)
        mask = tokens.attention_mask.to(pipeline.text_encoder.device)
        ids = tokens.input_ids.to(pipeline.text_encoder.device)
        states = family.states(pipeline.text_encoder, ids, mask)
        kept = torch.where(mask[..., None].bool(), states, torch.zeros_like(states))
        embeddings.append(kept[:valid].cpu())
        lengths.append(mask.sum(1)[:valid].cpu())
    return torch.cat(embeddings), torch.cat(lengths)


@torch.no_grad()
def encode_videos(pipeline: Any, videos: np.ndarray) -> Tensor:
    """uint8 [N, T, H, W, 3] to normalised latents [N, C, T', H', W'] fp32, (mode - mean) / std.

    Deterministic (the posterior's mode), as Wan's own code, DiffSynth and FastVideo have it.
    """
    mean, std = _latent_scale(pipeline)
    latents = []
    for chosen, valid in batches(len(videos), _video_batch(videos[0, ..., 0].size)):
        pixels = torch.from_numpy(np.ascontiguousarray(videos[chosen])).to(pipeline.vae.device)
        pixels = pixels.permute(0, 4, 1, 2, 3).float() / 127.5 - 1  # [n, 3, T, H, W] in [-1, 1]
        mode = pipeline.vae.encode(pixels).latent_dist.mode()
        latents.append(((mode - mean) / std)[:valid].cpu())
    return torch.cat(latents)


@torch.no_grad()
def decode_latents(pipeline: Any, latents: Tensor) -> np.ndarray:
    """Normalised latents [N, C, T', H', W'] to uint8 videos [N, T, H, W, 3]."""
    mean, std = _latent_scale(pipeline)
    family, videos = _family_of(pipeline), []
    temporal, spatial = family.strides(pipeline.vae.config)
    size = _video_batch(temporal * spatial**2 * latents[0, 0].numel())
    for chosen, valid in batches(len(latents), size):
        scaled = (
            latents[torch.from_numpy(chosen)].to(pipeline.vae.device, torch.float32) * std + mean
        )
        pixels = family.decode(pipeline.vae, scaled)[:valid]
        pixels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        videos.append(pixels.permute(0, 2, 3, 4, 1).cpu().numpy())
    return np.concatenate(videos)


def batches(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """(indices [size], how many of them count): batches of one fixed shape, the last one filled up.

    Kernels choose their order of summation by shape: with one shape, what is computed for an item
    does not depend on how many others are computed beside it.
    """
    for start in range(0, count, size):
        chosen = np.arange(start, start + size)
        yield np.minimum(chosen, count - 1), min(size, count - start)


def _video_batch(pixels: int) -> int:
    """Clips of so many pixels per pass: a function of the size alone, as `batches` needs."""
    return max(1, min(VIDEO_BATCH, VIDEO_PIXELS // pixels))


def _tokenize(tokenizer: Any, prompts: list[str], length: int) -> Any:
    prompts = [clean(prompt) for prompt in prompts]
    for prompt, ids in zip(
        prompts, tokenizer(prompts, add_special_tokens=True).input_ids, strict=True
    ):
        if len(ids) > length:
            raise UserError(
                f"the prompt {prompt[:60]!r}... has {len(ids)} tokens, more than "
                f"model.text_length={length}; shorten the prompt or raise model.text_length"
            )
    return tokenizer(
        prompts,
        padding="max_length",
        max_length=length,
        add_special_tokens=True,
        return_attention_mask=True,
        return_tensors="pt",
    )


def _latent_scale(pipeline: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per latent channel, [1, C, 1, 1, 1] fp32."""
    device = pipeline.vae.device
    mean, std = _family_of(pipeline).latent_scale(pipeline.vae)
    return mean.to(device).view(1, -1, 1, 1, 1), std.to(device).view(1, -1, 1, 1, 1)


def _family_of(pipeline: Any) -> ModuleType:
    return families.of(type(pipeline).__name__)


def _family(source: str, revision: str | None) -> ModuleType:
    """The family of what lies at a pipeline's or a transformer's folder, or a hub id."""
    from diffusers import DiffusionPipeline

    config = Path(source) / "config.json"
    if config.exists():  # a transformer's own folder
        return families.of(json.loads(config.read_text())["_class_name"])
    entry = DiffusionPipeline.load_config(source, revision=revision)
    return families.of(entry["_class_name"])


def _checked(name: str) -> tuple[str, str | None]:
    """What `located` finds, with the folder's checksums found right."""
    source, revision = located(name)
    _check_manifest(Path(source))
    return source, revision


def _check_manifest(folder: Path) -> None:
    if (folder / MANIFEST).exists() and (fault := fault_of(folder)):
        raise UserError(f"{fault}; restore the folder or delete it and make it anew")


def _check_complete(module: torch.nn.Module, source: str) -> None:
    """Diffusers only warns of a tensor that is not in the file, and leaves it without a value."""
    absent = [name for name, tensor in module.state_dict().items() if tensor.is_meta]
    if absent:
        raise UserError(
            f"the weights at {source} lack {absent[0]} ({len(absent)} tensors in all); restore them"
        )


@contextlib.contextmanager
def one_sentence(source: str) -> Iterator[None]:
    """Turns the many ways in which loading fails into one `UserError`."""
    from diffusers.utils import logging as diffusers_logging
    from safetensors import SafetensorError
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the weights at {source} cannot be loaded ({reason}); restore them or check the name"
        ) from error
