"""What a pipeline is, by content: the SHA-256 of each file that is loaded from it.

A README, what a download notes about itself, a time stamp or the place change nothing; nor does it
matter whether the same files are a folder or a repository on the hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from ..common.errors import UserError
from ..common.files import canonical_json, digest, file_digest, read_json
from ..common.manifest import MANIFEST, entries

INDEX = "model_index.json"
# As `from_pretrained` names them: no variants, and no file of another format beside them.
WEIGHTS = r"(diffusion_pytorch_model|model)(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?"
CONFIG = r"(config|scheduler_config)\.json"


def of_folder(folder: Path) -> str:
    """12 hex digits of a pipeline's folder. A manifest's checksums are taken as they stand.

    They are checked whenever the folder is loaded. Without one, each file is hashed once a process.
    """
    index = _index(folder)
    if (folder / MANIFEST).exists():
        known = _noted(canonical_json(index), tuple(entries(folder)))
    else:
        paths = (path for path in folder.rglob("*") if path.is_file())
        names = loaded(index, (path.relative_to(folder).as_posix() for path in paths))
        known = dict.fromkeys(names, "")
    if not known:
        raise UserError(f"model.pipeline={folder} holds no pipeline; give a whole one's folder")
    return _digest({name: noted or _hash(folder / name) for name, noted in known.items()})


@lru_cache(maxsize=16)  # a sweep asks once for every cell
def _noted(index: str, manifest: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The checksums of what is loaded, as a manifest has them."""
    known = dict(manifest)
    return {name: known[name] for name in loaded(json.loads(index), known)}


def of_hub(hub_id: str, commit: str) -> str:
    """12 hex digits of a repository at a commit, the same as of a folder with its files.

    From the hub's cache on this machine; where that is not whole, the hub is asked for checksums,
    and no weights are downloaded.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, INDEX, revision=commit)
    if isinstance(found, str) and _whole(Path(found).parent):
        return of_folder(Path(found).parent)
    return _digest(_asked(hub_id, commit))


def loaded(index: dict[str, Any], names: Iterable[str]) -> list[str]:
    """Those of a pipeline's files that loading reads, in order. index: its model_index.json."""
    return sorted(filter(lambda name: _is_loaded(index, name), names), key=_order)


def parts(index: dict[str, Any]) -> list[str]:
    """The names of a pipeline's components; one that it can do without may be null."""
    return [name for name, value in index.items() if isinstance(value, list) and value[1]]


def _order(name: str) -> PurePosixPath:
    return PurePosixPath(name)


def _is_loaded(index: dict[str, Any], name: str) -> bool:
    if name == INDEX:
        return True
    part, _, file = name.partition("/")
    if part not in parts(index):
        return False
    if part.startswith("tokenizer"):
        return bool(re.fullmatch(r"[^./][^/]*\.(json|model|txt)", file))
    return bool(re.fullmatch(f"{WEIGHTS}|{CONFIG}", file))


def _digest(sums: dict[str, str]) -> str:
    """Of what `loaded` has found, in its order."""
    return digest([f"{checksum}  {name}" for name, checksum in sums.items()])


def _index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    return dict(read_json(path)) if path.is_file() else {}


def _hash(path: Path) -> str:
    blob = path.resolve()  # the hub's cache names a large file by its SHA-256
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        return blob.name
    stat = blob.stat()
    return _hashed(blob, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _hashed(path: Path, size: int, stamp: int) -> str:
    """Hashed once a process for the same file: a pipeline may be tens of gigabytes."""
    return file_digest(path)


def _whole(folder: Path) -> bool:
    """Whether a snapshot in the hub's cache has every part: a download may have been cut off."""
    return all(_part_is_whole(folder / part) for part in parts(_index(folder)))


def _part_is_whole(folder: Path) -> bool:
    names = {path.name for path in folder.glob("*")}
    if folder.name == "scheduler":
        return "scheduler_config.json" in names
    if folder.name.startswith("tokenizer"):
        vocabulary = {"tokenizer.json", "spiece.model", "vocab.json"}
        return "tokenizer_config.json" in names and bool(vocabulary & names)
    wanted = {"config.json"}
    for index in folder.glob("*.safetensors.index.json"):
        wanted |= set(read_json(index)["weight_map"].values())
    return wanted <= names and any(name.endswith(".safetensors") for name in names)


@lru_cache(maxsize=4)
def _asked(hub_id: str, commit: str) -> dict[str, str]:
    """{file: SHA-256} by the hub: it knows those of large files, and small ones are downloaded."""
    from huggingface_hub import HfApi, errors, hf_hub_download

    def fetched(name: str) -> Path:
        return Path(hf_hub_download(hub_id, name, revision=commit))

    try:
        index = dict(read_json(fetched(INDEX)))
        told = HfApi().model_info(hub_id, revision=commit, files_metadata=True).siblings or []
        large = {file.rfilename: file.lfs.sha256 if file.lfs else "" for file in told}
        return {name: large[name] or _hash(fetched(name)) for name in loaded(index, large)}
    except (OSError, ValueError, errors.HTTPError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"model.pipeline={hub_id}@{commit}: its files are neither all in the hub's cache here "
            f"nor can the hub be asked for their checksums ({reason}); download it"
        ) from error
