"""A real PostgreSQL server of a test's own, on a free port of this machine, gone with the test."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from ports import free_port


@dataclass
class Server:
    bin: Path
    data: Path
    port: int
    user: str | None  # PostgreSQL refuses to run as root
    address: str = "127.0.0.1"
    space: str | None = None  # the network namespace that it listens in

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{self.address}:{self.port}/postgres"

    @property
    def local(self) -> str:
        """Its address for all network namespaces of this machine."""
        return f"postgresql://postgres@/postgres?host={self.data}&port={self.port}"

    def start(self) -> None:
        # Small and without fsync: nothing here outlives the test.
        options = (
            f"-p {self.port} -c listen_addresses={self.address} -c fsync=off "
            f"-c unix_socket_directories={self.data} -c shared_buffers=16MB"
        )
        self._run("pg_ctl", "start", "-w", "-t", "300", "-l", str(self.data / "log"), "-o", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-t", "300", "-m", "immediate")

    def kill(self) -> None:
        """As the kernel does where memory runs out: without a word to its clients."""
        lock = self.data / "postmaster.pid"
        pid = int(lock.read_text().split()[0])
        asked = ["pgrep", "-P", str(pid)]
        others = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
        os.kill(pid, signal.SIGKILL)
        # The others end by themselves; the next server minds also who has ended and is not reaped.
        while any(Path("/proc", name).exists() for name in (str(pid), *others)):
            time.sleep(0.05)
        lock.unlink()

    def create(self) -> None:
        self._run(
            "initdb",
            "--auth=trust",
            "--username=postgres",
            "--no-sync",
            "--no-locale",
            "--encoding=UTF8",
        )
        with open(self.data / "pg_hba.conf", "a") as rules:
            rules.write(f"host all all {self.address}/30 trust\n")

    def _run(self, program: str, *arguments: str) -> None:
        account = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        command = [str(self.bin / program), *arguments]
        if self.space:  # which only root may enter
            entry = pwd.getpwnam(self.user or "root")
            ids = [f"--setuid={entry.pw_uid}", f"--setgid={entry.pw_gid}"]
            command = ["nsenter", f"--net=/run/netns/{self.space}", *ids, *command]
            account = {}
        subprocess.run(
            command,
            check=True,
            cwd="/",
            timeout=400,
            env=os.environ | {"PGDATA": str(self.data)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **account,
        )


def missing() -> str | None:
    """Why no server can be started here; `None` if it can."""
    if _bin() is None:
        return "no PostgreSQL server is installed (Debian: apt-get install postgresql)"
    if os.getuid() == 0 and _account() is None:
        return "PostgreSQL does not run as root, and there is no user postgres"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed"
    return None


@contextmanager
def server(address: str = "127.0.0.1", space: str | None = None) -> Iterator[Server]:
    """A running server with an empty database, in a network namespace where one is named."""
    binaries = _bin()
    assert binaries, missing()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's own folders are for root alone
    user = _account() if os.getuid() == 0 else None
    if user:
        shutil.chown(folder, user, user)
    made = Server(binaries, folder / "data", free_port(), user, address, space)
    try:
        made.create()
        made.start()
        yield made
    finally:
        with suppress(subprocess.SubprocessError):
            made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _bin() -> Path | None:
    places = [Path(p).resolve().parent for p in [shutil.which("initdb")] if p]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((p for p in places if (p / "initdb").exists() and (p / "pg_ctl").exists()), None)


def _account() -> str | None:
    with suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return None


needed = pytest.mark.skipif(missing() is not None, reason=missing() or "")
