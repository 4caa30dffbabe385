"""Faults at random moments of a sweep with two workers, and a comparison of every byte.

    python -m tests.kill_harness                          # 30 faults of all kinds, stand-in cells
    python -m tests.kill_harness --kinds worker planner   # only these
    python -m tests.kill_harness --storage postgresql     # journal, postgresql, or each in turn
    python -m tests.kill_harness --real                   # cells of the tiny profile, as they are

An uninterrupted sweep is run first. Then the same sweep elsewhere, on a disk of 8 MB: kinds come in
turn, each at a random moment, and the sweep is started again whenever it has ended. A last run is
left in peace. Status 0: no result was lost, changed or written twice, every cell was worked on by
one process at a time, and all results and tables have the bytes of the uninterrupted sweep.
`kinds.py` says what each kind does. Not part of the test suite: it takes minutes.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/sweeps")]

import postgres  # noqa: E402

from .compare import Seen, compare  # noqa: E402
from .kinds import KINDS, held_elsewhere  # noqa: E402
from .running import Attacked, a_place, missing, small_disk, start  # noqa: E402


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was mounted is freed
    kinds = _possible(options)
    with ExitStack() as stack:
        out = stack.enter_context(a_place(options))
        server = None
        if options.storage != "journal" and not postgres.missing():
            server = stack.enter_context(postgres.server())
        whole, killed = out / "whole", Path(options.place or out / "killed")
        began = time.monotonic()
        assert start(options, whole, "--workers", "2").wait() == 0, "the uninterrupted sweep failed"
        print(f"uninterrupted: {time.monotonic() - began:.0f} s", flush=True)
        if "disk" in kinds:
            stack.enter_context(small_disk(killed))
        sweep, seen = Attacked(options, killed, server), Seen(killed)
        stack.callback(sweep.end)
        if "clock" in kinds:
            sweep.clock.preload()
        done, starts = _attack(sweep, seen, kinds)
        if sweep.running():  # which the last fault did not end; a second planner would be refused
            sweep.finish()
        urls = {"journal": [None], "postgresql": [server and server.url]}
        places = urls.get(options.storage) or [None, *([server.url] if server else [])]
        for url in places:  # each study is brought up to date
            sweep.start(url)
            assert sweep.finish() == 0, "the last run failed"
            seen.look()
        print({"faults": done.total(), **done, "starts": starts})
        holds = compare(whole, seen, options.sweep, places)
        overlaps = _lines(sweep.overlaps)
        # Who is frozen, or whose lease the clock ended, works on beside who took over.
        allowed = done["stop"] + done["clock"]
        holds[f"none worked on twice at once, but by frozen hosts ({overlaps})"] = (
            overlaps <= allowed
        )
        holds["no traceback"] = "Traceback" not in sweep.log.read_text(errors="replace")
    for name, held in holds.items():
        print(f"{'yes' if held else 'NO '}  {name}")
    return 0 if all(holds.values()) else 1


def _attack(sweep: Attacked, seen: Seen, kinds: list[str]) -> tuple[Counter[str], int]:
    """As many faults as are asked for, kinds in turn. (how many of which kind, starts)"""
    options = sweep.options
    rng = random.Random(options.seed)
    done: Counter[str] = Counter()
    pending: list[str] = []
    starts = 0
    while done.total() < options.kills:
        if not sweep.running():
            if sweep.planner and sweep.finish() == 0 and seen.results:
                seen.look()
                seen.start_over()
            sweep.start(_storage(sweep, starts))
            starts += 1
        _wait(sweep, rng)
        seen.look()
        if not sweep.running():
            continue
        if "stop" in pending and sweep.workers():
            sweep.help()
        if not (able := [kind for kind in pending if _able(kind, sweep)]):
            pending += rng.sample(kinds, len(kinds))
            continue
        began = time.monotonic()
        if KINDS[able[0]](sweep, rng):
            done[able[0]] += 1
            pending.remove(able[0])
            state = "goes on" if sweep.running() else "has ended"
            seconds = time.monotonic() - began
            print(f"{done.total():3d} {able[0]:8} {seconds:4.1f} s  the sweep {state}", flush=True)
        seen.look()
    return done, starts


def _able(kind: str, sweep: Attacked) -> bool:
    """A server is killed under a sweep that has one, a host stopped when its helper has a cell."""
    if kind == "server":
        return sweep.url is not None
    return bool(held_elsewhere(sweep)) if kind == "stop" else bool(sweep.workers())


def _storage(sweep: Attacked, starts: int) -> str | None:
    if sweep.server is None or (sweep.options.storage == "both" and starts % 2):
        return None
    return sweep.server.url


def _wait(sweep: Attacked, rng: random.Random) -> None:
    """For the moment of the next fault; less long where the sweep ends."""
    if rng.random() < 0.8:  # mostly not while it only imports: nothing is under way yet
        while not sweep.workers() and sweep.running():
            time.sleep(0.02)
    until = time.monotonic() + sweep.options.within * rng.random()
    while time.monotonic() < until and sweep.running():
        time.sleep(0.01)


def _possible(options: argparse.Namespace) -> list[str]:
    """The kinds that were asked for and can be done here; what cannot is said."""
    reasons = {kind: missing(kind, options) for kind in options.kinds}
    for kind, reason in reasons.items():
        if reason:
            print(f"without {kind}: {reason}")
    return [kind for kind, reason in reasons.items() if not reason]


def _lines(path: Path) -> int:
    return len(path.read_text().split("\n")) - 1 if path.exists() else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kill_harness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--kills", type=int, default=30, help="faults of all kinds together")
    add("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    add("--storage", choices=["journal", "postgresql", "both"], default="both")
    add("--real", action="store_true", help="the tiny profile's own cells")
    add("--sweep", default="lambda_hard")
    add("--prompts", default="4")
    add("--seeds", default="0,1")
    add("--seconds", default="6", help="of a stand-in cell")
    add("--within", type=float, default=4.0, help="a fault comes within so many seconds")
    add("--seed", type=int, default=0, help="of the moments")
    add("--set", action="append", default=[], help="as for sweeps.run")
    add("--out", help="keep everything here")
    add("--place", help="the attacked sweep's folder, as on a file system that is to be tried")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
