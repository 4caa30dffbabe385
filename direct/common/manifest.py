"""A folder's checksums: written beside its weights, checked whenever they are loaded."""

from __future__ import annotations

from pathlib import Path

from .files import file_digest, read_bounded, write_text

MANIFEST = "SHA256SUMS"  # lines "<sha256>  <relative path>", as `sha256sum` writes them


def write_manifest(folder: Path) -> None:
    """Writes the checksums that `load_pipeline` and `load_transformer` check."""
    files = sorted(
        path for path in Path(folder).rglob("*") if path.is_file() and path.name != MANIFEST
    )
    lines = [f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_text(Path(folder) / MANIFEST, "".join(lines))


def entries(folder: Path) -> list[tuple[str, str]]:
    """(relative path, SHA-256) of each line; OSError or ValueError where there is no such text."""
    lines = read_bounded(folder / MANIFEST).decode().splitlines()
    return [(name, checksum) for checksum, _, name in (x.partition("  ") for x in lines)]


def fault_of(folder: Path) -> str | None:
    """What is missing or damaged in a folder with a manifest; `None` where it is whole."""
    try:
        known = entries(folder)
    except (OSError, ValueError):
        return f"{folder / MANIFEST} is missing"
    for name, expected in known:
        try:
            if not (folder / name).is_file():
                return f"{folder / name} is missing"
            found = file_digest(folder / name)
        except OSError as error:
            return f"{folder / name[:80]} cannot be read ({error.strerror})"
        if found != expected:
            return f"{folder / name} is damaged (its SHA-256 is not the one in {MANIFEST})"
    return None if known else f"{folder / MANIFEST} is empty"
