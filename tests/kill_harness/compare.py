"""What faults did to a sweep: results that are lost, changed or doubled, and what was left over."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

from sweeps.cell import parse_result
from sweeps.queue import storage

Stamp = tuple[int, int, bytes]  # which file it is, when it was written, and what it says
LEFT = ("lease.json", ".lease.*", ".now.*", ".*.tmp", "*.damaged", "failure.json")


class Seen:
    """The results that were there at any look. One that changes later is noted in `wrong`."""

    def __init__(self, out: Path):
        self.out = out
        self.results: dict[str, Stamp] = {}
        self.wrong: dict[str, list[str]] = {"lost": [], "changed": [], "doubled": [], "torn": []}

    def look(self) -> None:
        now = stamps(self.out)
        for name, before in self.results.items():
            if name not in now:
                self.wrong["lost"].append(name)
            elif now[name][2] != before[2]:
                self.wrong["changed"].append(name)
            elif now[name] != before:
                self.wrong["doubled"].append(name)
        self.wrong["torn"] += [x for x in now if parse_result(now[x][2], x) is None]
        self.results = now

    def start_over(self) -> None:
        """Removes the results, but not the study: it is then ahead of the run folders."""
        for path in self.out.glob("runs/*/*/result.json"):
            path.unlink()
        for pattern in ("transformer", "samples.safetensors", "samples.safetensors.sha256"):
            for path in self.out.glob(f"runs/*/*/{pattern}"):
                subprocess.run(["rm", "-r", str(path)], check=True)
        print(f"  all {len(self.results)} cells are done; again from nothing", flush=True)
        self.results = {}


def stamps(out: Path) -> dict[str, Stamp]:
    found = {}
    for path in sorted(out.glob("runs/*/*/result.json")):
        status = path.stat()
        found[path.parent.name] = (status.st_ino, status.st_mtime_ns, path.read_bytes())
    return found


def compare(whole: Path, seen: Seen, sweep: str, urls: list[str | None]) -> dict[str, bool]:
    """What must hold at the end; prints what was left over."""
    killed, results = seen.out, {name: data for name, (*_, data) in stamps(whole).items()}
    left = Counter(pattern for pattern in LEFT for _ in killed.rglob(pattern))
    wrong = {name: len(found) for name, found in seen.wrong.items()}
    print(json.dumps({"cells": len(results), **wrong, "left over": left}))
    root = next(killed.glob("runs/*"))
    holds = {f"none {name}": not found for name, found in seen.wrong.items()}
    holds |= {
        "results are those of the uninterrupted sweep": {
            name: data for name, (*_, data) in stamps(killed).items()
        }
        == results,
        "tables are, byte for byte": tables(killed) == tables(whole) and bool(tables(whole)),
        "no lease and no failure is left": not left["lease.json"] and not left["failure.json"],
    }
    for url in urls:
        trials = storage.open_study(root, sweep, url).get_trials(deepcopy=False)
        shown = Counter(trial.user_attrs["cell"] for trial in trials)
        where = "server" if url else "journal"
        holds[f"the study shows every cell once ({where})"] = shown == Counter(list(results))
    return holds


def tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("reports/**/table_*"))}
