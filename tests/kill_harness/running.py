"""A sweep under attack: its processes, the small disk it lies on, its server and its clock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import postgres

from sweeps.queue import storage

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = {False: [str(ROOT / "tests/sweeps/fake.py")], True: ["-m", "sweeps.run"]}
LEASE = 6.0  # seconds without a touch, of stand-ins; a sweep's own is 150
DISK = "8m"
OTHER = "other-host"


def start(options: Namespace, out: Path, *more: str, host: str = "", **values: str):
    """The sweep in `out` as a process; under another host's name where one is given."""
    command = [sys.executable, *PROGRAM[options.real], options.sweep, "--out", str(out)]
    command += ["--prompts", options.prompts, "--seeds", options.seeds, *more]
    command += [part for setting in options.set for part in ("--set", setting)]
    if host:  # `exec`: the process is the sweep's, as without
        command = ["unshare", "--uts", "sh", "-c", f'hostname {host}; exec "$@"', "sh", *command]
    surroundings = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    surroundings |= {"FAKE_SECONDS": options.seconds, "FAKE_LEASE": str(LEASE)} | values
    with open(Path(options.out) / f"{out.name}.log", "ab") as log:
        return subprocess.Popen(command, env=surroundings, cwd=ROOT, stdout=log, stderr=log)


class Attacked:
    """One sweep: a planner with two workers, at times helpers on another host, until it is done."""

    def __init__(self, options: Namespace, out: Path, server: postgres.Server | None):
        self.options, self.out, self.server = options, out, server
        beside = Path(options.out)
        self.log = beside / f"{out.name}.log"
        self.clock = Clock(beside / "clock")
        self.overlaps = beside / "overlaps.log"  # cells that two worked on at once
        self.planner: subprocess.Popen[bytes] | None = None
        self.helper: subprocess.Popen[bytes] | None = None
        self.url: str | None = None

    def start(self, url: str | None) -> None:
        self.url = url
        self.planner = self._start("--workers", "2")

    def help(self) -> None:
        """Workers of another host, by its name: their leases are judged by age."""
        if self.helper is None or self.helper.poll() is not None:
            self.helper = self._start("--join", "--workers", "1", host=OTHER)

    def _start(self, *more: str, host: str = "") -> subprocess.Popen[bytes]:
        values = self.clock.environment | {"FAKE_OVERLAPS": str(self.overlaps)}
        values |= {storage.VARIABLE: self.url} if self.url else {}
        return start(self.options, self.out, *more, host=host, **values)

    def running(self) -> bool:
        return self.planner is not None and self.planner.poll() is None

    def workers(self) -> list[int]:
        alive = [x for x in (self.planner, self.helper) if x and x.poll() is None]
        return [worker for process in alive for worker in children(process.pid)]

    def kill(self) -> None:
        """The planner, as `kill -9`; its workers end by themselves."""
        assert self.planner
        self.planner.kill()
        self.planner.wait()

    def finish(self) -> int:
        """Waits for the planner; where it has done all, for the helper, which has nothing left."""
        assert self.planner
        status = self.planner.wait(600)
        if self.helper and status == 0:
            self.helper.wait(600)
            self.helper = None
        return status

    def end(self) -> None:
        """Leaves no process behind, and waits until those that follow others have ended."""
        workers = self.workers()
        for process in (self.planner, self.helper):
            if process and process.poll() is None:
                process.kill()
                process.wait()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


class Clock:
    """The date that a sweep's processes see: the machine's, and an offset that may jump."""

    def __init__(self, path: Path):
        self.path, self.seconds = path, 0
        self.environment: dict[str, str] = {}

    def preload(self) -> None:
        """From now on, processes that start see it. Raises where there is no C compiler."""
        library = self.path.with_suffix(".so")
        source = Path(__file__).with_name("clock.c")
        compiler = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
        subprocess.run(compiler, check=True)
        self.path.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "FAKE_CLOCK": str(self.path)}

    def jump(self, seconds: int) -> None:
        self.seconds += seconds
        with open(self.path, "r+b") as file:
            file.write(self.seconds.to_bytes(8, sys.byteorder, signed=True))


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Mounts a few MB at `place`."""
    place.mkdir(parents=True)
    disk = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "kills", str(place)]
    subprocess.run(disk, check=True)
    try:
        yield
    finally:
        time.sleep(1)  # workers follow their planner within half a second
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def missing(kind: str, options: Namespace) -> str | None:
    """Why faults of this kind cannot be made here; `None` where they can."""
    if kind == "disk" and options.place:
        return "the disk that --place names is not ours to fill"
    if kind == "disk" and not _may("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"):
        return "nothing may be mounted"
    if kind == "stop" and options.real:
        return "a real lease lasts 150 s"
    if kind == "stop" and not _may("unshare", "--uts", "hostname", OTHER):
        return "no host may be named"
    if kind == "clock" and not shutil.which("cc"):
        return "there is no C compiler"
    if kind == "server":
        return "--storage journal" if options.storage == "journal" else postgres.missing()
    return None


def _may(*command: str) -> bool:
    try:
        return not subprocess.run(command, capture_output=True, check=False).returncode
    except FileNotFoundError:
        return False


@contextmanager
def a_place(options: Namespace) -> Iterator[Path]:
    """The folder for everything, `options.out`; one that is removed where none was named."""
    with tempfile.TemporaryDirectory(prefix="kill-") as made:
        options.out = str(Path(options.out or made).absolute())
        Path(options.out).mkdir(parents=True, exist_ok=True)
        yield Path(options.out)
