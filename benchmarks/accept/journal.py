"""Results as they come: a JSON line each, and which parts need not run again."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from direct.common.files import canonical_json, digest, file_digest, read_journal

from .place import Record

ROOT = Path(__file__).parents[2]
CODE = ("direct", "csrc", "benchmarks", "sweeps")
RESULTS = "benchmarks/results"  # where this very file may lie


def state() -> str:
    """What the results are of: the commit, or a digest of the code where that is not it all."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--", *CODE, f":(exclude){RESULTS}")
    except (OSError, subprocess.SubprocessError):
        changed, commit = "yes", "no-git"
    return f"{commit}+{_code()}" if changed else commit


def _code() -> str:
    """8 hex digits of the code's files, wherever it was copied from."""
    kept = (".py", ".cu", ".cpp", ".h", ".json", ".safetensors", ".csv")
    files = [p for name in CODE for p in sorted((ROOT / name).rglob("*")) if p.suffix in kept]
    files = [path for path in files if "results" not in path.parts]
    return digest([(str(path.relative_to(ROOT)), file_digest(path)) for path in files], 8)


def append(journal: Path, record: Record) -> None:
    """One line, on the disk when this returns: a kill loses nothing that was found."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    line = canonical_json({"at": round(time.time(), 1), **record}) + "\n"
    with open(journal, "a") as handle:
        handle.write(line)
        handle.flush()
        os.fsync(handle.fileno())


def attempts(journal: Path, state: str) -> dict[str, list[Record]]:
    """Each part's last attempt with this code: its records, the last one its end if it has one."""
    found: dict[str, list[Record]] = {}
    for record in read_journal(journal):
        if record.get("state") != state:
            continue
        if record.get("begin"):
            found[record["part"]] = []
        else:
            found.setdefault(record["part"], []).append(record)
    return found


def end_of(records: list[Record]) -> str:
    """How an attempt ended: done, failed, timed out, not here; or that it did not."""
    return next((r["end"] for r in records if "end" in r), "interrupted")
