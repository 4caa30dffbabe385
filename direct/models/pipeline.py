"""Loading a pipeline: its weights, its architecture, its velocity, and what names it.

One function loads the weights inside this package ("tiny"), a folder, or a hub id. What differs
between families of models is in `families`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..common import memory
from ..common.errors import UserError
from ..common.files import digest, read_json
from ..common.manifest import MANIFEST, fault_of
from ..config import Config, Model, Sampling
from . import content, families, linear, schedule
from .hub import located
from .peers import named

EXPERTS = {"high_noise": "transformer", "low_noise": "transformer_2"}


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_pipeline(
    name: str, dtype: torch.dtype = torch.float32, without: Sequence[str] = ()
) -> Any:
    """A frozen pipeline of its own class in eval mode; the VAE is always fp32.

    name: "tiny", a folder, or a hub id, owner/name@commit; without: parts to leave out, as
    "transformer" (both experts, of two). Weights are read from safetensors alone. A missing or
    damaged file is a `UserError`.
    """
    source, revision = _checked(name)
    with one_sentence(source):
        index = _index(source, revision)
        kind = families.named(families.of(index["_class_name"]), "PIPELINE")
        if "transformer" in without and families.boundary(index, source):
            without = (*without, "transformer_2")
        pipeline = kind.from_pretrained(
            source,
            revision=revision,
            dtype={"vae": torch.float32, "default": dtype},
            use_safetensors=True,
            **dict.fromkeys(without),
        )
    for part in ("text_encoder", "vae", "transformer", "transformer_2"):
        if (module := getattr(pipeline, part, None)) is not None:
            _check_complete(module, source)
            module.eval().requires_grad_(False)
    schedule.check(pipeline.scheduler)
    _prepare_cpu()
    return pipeline.to(device())


def load_transformer(
    name: str | Path,
    dtype: torch.dtype = torch.float32,
    on: str | torch.device | None = None,
    expert: str = "only",
) -> Any:
    """The transformer of a pipeline ("tiny", folder, hub id), or of a folder of its own.

    on: "cpu" in place of `device()`. There, weights of the file's own dtype are the file itself,
    mapped: a shard is read when it is used, and processes on one machine share its pages.
    expert: which of a pipeline's two, as train.expert.
    """
    source, revision = _checked(str(name))
    own_folder = (Path(source) / "config.json").exists()
    with one_sentence(source):
        kind = families.named(_family(source, revision), "TRANSFORMER")
        part = None if own_folder else _part(source, revision, expert)
        place = {"subfolder": part, "revision": revision}
        families.check_transformer(kind.load_config(source, **place), source)
        transformer = kind.from_pretrained(source, **place, dtype=dtype, use_safetensors=True)
    _check_complete(transformer, source)
    _prepare_cpu(transformer)
    return transformer.eval().to(on or device())


def architecture(model: Model, part: str) -> tuple[Any, dict[str, Any]]:
    """The class and the configuration of the "transformer" or the "vae", without its weights."""
    source, revision = located(model.pipeline)
    with one_sentence(source):
        kind = families.named(_family(source, revision), part.upper())
        found = kind.load_config(source, subfolder=part, revision=revision)
    if found.get("_class_name") != kind.__name__:  # a folder's own config.json, where `part` lacks
        raise UserError(f"model.pipeline={source} has no {part}; give a whole pipeline's folder")
    if part == "transformer":
        families.check_transformer(found, source)
    return kind, found


def vae_config(model: Model) -> dict[str, Any]:
    """The VAE's strides and channels."""
    return architecture(model, "vae")[1]


@lru_cache(maxsize=4)
def boundary(model: Model) -> float | None:
    """The noise level between a pipeline's two experts; None where it has one transformer."""
    source, revision = located(model.pipeline)
    with one_sentence(source):
        return families.boundary(_index(source, revision), source)


@lru_cache(maxsize=4)
def velocity(model: Model) -> Callable[..., Tensor]:
    """v(forward, x_t [B, C, T, H, W], t [B] in [0, 1], text [B, L, D]) of the model's family."""
    source, revision = located(model.pipeline)
    with one_sentence(source):
        family = _family(source, revision)
    return family.velocity(model, vae_config(model))


@lru_cache(maxsize=16)
def noise_levels(model: Model, settings: Sampling) -> np.ndarray:
    """[settings.steps + 1] float64, falling to 0: by the pipeline's scheduler (`schedule.py`)."""
    import diffusers

    source, revision = located(model.pipeline)
    with one_sentence(source):
        family = _family(source, revision)
        index = diffusers.DiffusionPipeline.load_config(source, revision=revision)
        kind = getattr(diffusers, index["scheduler"][1])
        scheduler = kind.from_pretrained(source, subfolder="scheduler", revision=revision)
        temporal, spatial = family.strides(vae_config(model))
        tokens = ((model.frames - 1) // temporal + 1) * (model.height // spatial)
        return schedule.levels(
            scheduler,
            family.points(settings.steps),
            settings.steps,
            settings.shift,
            tokens * (model.width // spatial),
        )


def latent_frames(model: Model) -> int:
    """T of a clip's latents."""
    source, revision = located(model.pipeline)
    with one_sentence(source):
        temporal, _ = _family(source, revision).strides(vae_config(model))
    frames: int = (model.frames - 1) // temporal + 1
    return frames


def latent_shape(config: Config, transformer: Any, vae_config: Any) -> tuple[int, int, int, int]:
    """[C, T, H, W] of one clip; sizes that the VAE or patches do not divide are a `UserError`."""
    one = getattr(transformer, "high", transformer)  # of two experts
    # FSDP2 gives what it cuts a class of its own, by this name.
    kind = type(one).__name__.removeprefix("FSDP")
    model, family = config.model, families.of(kind)
    patch, (temporal, spatial) = family.patch(transformer.config), family.strides(vae_config)
    if (model.frames - 1) % temporal:
        raise UserError(f"model.frames={model.frames} must be a multiple of {temporal}, plus one")
    for name, stride in (("height", spatial * patch[1]), ("width", spatial * patch[2])):
        if getattr(model, name) % stride:
            raise UserError(f"model.{name}={getattr(model, name)} must be a multiple of {stride}")
    frames = (model.frames - 1) // temporal + 1
    return transformer.config.in_channels, frames, model.height // spatial, model.width // spatial


def identity(model: Model) -> str:
    """12 hex digits that name the pipeline's weights: what is cached from them is found by it."""
    if model.peer:
        return digest(named(model.peer).repository)
    source, revision = located(model.pipeline)
    return content.of_hub(source, revision) if revision else content.of_folder(Path(source))


def _family(source: str, revision: str | None) -> Any:
    """The family of what lies at a pipeline's or a transformer's folder, or a hub id."""
    config = Path(source) / "config.json"
    if config.exists():  # a transformer's own folder
        return families.of(str(dict(read_json(config)).get("_class_name")))
    return families.of(_index(source, revision)["_class_name"])


def _index(source: str, revision: str | None) -> dict[str, Any]:
    """A pipeline's model_index.json, in which its family knows everything."""
    from diffusers import DiffusionPipeline

    index: dict[str, Any] = DiffusionPipeline.load_config(source, revision=revision)
    families.check_pipeline(index, source)
    return index


def _part(source: str, revision: str | None, expert: str) -> str:
    """The folder of a pipeline's transformer, or of one of its two."""
    two = families.boundary(_index(source, revision), source) is not None
    if two != (expert in EXPERTS):
        raise UserError(
            f"model.pipeline={source} has two experts; set train.expert=high_noise or low_noise"
            if two
            else f"model.pipeline={source} has one transformer, and no expert {expert}; set "
            "train.expert=only"
        )
    return EXPERTS.get(expert, "transformer")


def _checked(name: str) -> tuple[str, str | None]:
    """What `located` finds, with the folder's checksums found right."""
    source, revision = located(name)
    _check_manifest(Path(source))
    return source, revision


def _check_manifest(folder: Path) -> None:
    if (folder / MANIFEST).exists() and (fault := fault_of(folder)):
        raise UserError(f"{fault}; restore the folder, or delete it and create it again")


def _prepare_cpu(transformer: torch.nn.Module | None = None) -> None:
    """What makes this process's models faster on a CPU, and changes no bit."""
    if device().type == "cpu":
        memory.keep_freed()
        if transformer is not None:
            linear.quicken(transformer)


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
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever a file of any content makes the libraries raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the weights at {source} cannot be loaded ({reason}); restore them or check the name"
        ) from error


def text_identity(config: Config) -> list[Any]:
    return [identity(config.model), config.model.text_length, config.model.dtype]
