"""What decoding showed of each file, in a journal, so that no file is decoded twice.

A line is `{"key", "version", "sha256"}` with what `video.probe` and `rate` found, or with "fault",
where the file is damaged. Time-outs, crashes and files that could not be read are not written: they
may pass, so the next run tries them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock, local
from typing import Any

from ..common.files import canonical_json, file_digest, read_journal
from ..common.progress import Progress, silent
from .child import Child
from .decode import Unreadable, av
from .video import probe, rate

VERSION = 4  # of what a line tells; files with an older line are decoded again
Probe = dict[str, Any]


def probed(
    root: Path,
    paths: Sequence[Path],
    journal: Path,
    workers: int,
    seconds: float,
    progress: Progress | None = None,
) -> dict[Path, Probe]:
    """{path: {"sha256", and what `probe` and `rate` say, or "fault"; "passing" where it may pass}}.

    Files that took longer than `seconds` or could not be read are tried once more when all others
    are done, one at a time.
    """
    av()  # without PyAV no file is at fault
    keys = {path: _key(root, path) for path in paths}
    lines = [line for line in read_journal(journal) if isinstance(line.get("key"), str)]
    known = {line.pop("key"): line for line in lines if line.pop("version", 1) == VERSION}
    found = {path: known[key] for path, key in keys.items() if key in known}
    todo = [path for path in paths if path not in found]
    journal.parent.mkdir(parents=True, exist_ok=True)
    writing, mine = Lock(), local()
    children: list[Child] = []

    def look(path: Path) -> None:
        if not hasattr(mine, "child"):
            mine.child = Child()
            children.append(mine.child)
        seen = _look(mine.child, path, seconds)
        with writing:
            again = path in found
            found[path] = seen
            if "passing" not in seen:
                line = {"key": keys[path], "version": VERSION, **seen}
                handle.write(canonical_json(line) + "\n")
                handle.flush()
            if not again:
                (progress or silent)("curate", len(found), len(paths))

    with open(journal, "a", encoding="utf-8") as handle, ThreadPoolExecutor(workers) as pool:
        try:
            list(pool.map(look, todo))
            for path in todo:
                if "passing" in found[path]:
                    pool.submit(look, path).result()
        finally:
            pool.shutdown(cancel_futures=True)
            for child in children:
                child.__exit__()
    return found


def _key(root: Path, path: Path) -> str:
    status = path.stat()
    return f"{path.relative_to(root)} {status.st_size} {status.st_mtime_ns}"


def _look(child: Child, path: Path, seconds: float) -> Probe:
    try:
        seen: Probe = child.call(_probe_and_hash, path, seconds=seconds)
    except Unreadable as fault:
        return {"sha256": "", "fault": str(fault), "passing": True}
    return seen


def _probe_and_hash(path: Path) -> Probe:
    """Of a file that can be read; one that cannot be raises, and may pass."""
    sha256 = file_digest(path)
    try:
        return {"sha256": sha256, **probe(path), "fps": rate(path)}
    except Unreadable as fault:
        if fault.passing:
            raise
        return {"sha256": sha256, "fault": str(fault)}
