"""Two hosts on this machine: network namespaces with names and a link of their own.

They share this machine's files, as over a file server that both reach by another network.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

ADDRESSES = (
    "10.231.77.1",
    "10.231.77.2",
)  # of no other network: these namespaces have no route out


@dataclass
class Host:
    name: str
    address: str
    space: str  # its network namespace
    link: str

    def command(self, *command: str) -> list[str]:
        """A command as this host runs it: the process is the command's own, by `exec`."""
        named = f'hostname {self.name}; exec "$@"'
        return [
            "nsenter", f"--net=/run/netns/{self.space}",
            "unshare", "--uts", "sh", "-c", named, "sh", *command,
        ]  # fmt: skip

    def cut(self) -> None:
        """The other host hears nothing any more, and nobody tells it."""
        _ip("-n", self.space, "link", "set", self.link, "down")

    def restore(self) -> None:
        _ip("-n", self.space, "link", "set", self.link, "up")


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    mark = f"{os.getpid():x}"[-6:]
    made = tuple(
        Host(f"host-{end}", address, f"direct-{mark}{end}", f"d{mark}{end}")
        for end, address in zip("ab", ADDRESSES, strict=True)
    )
    a, b = made
    try:
        for host in made:
            _ip("netns", "add", host.space)
            _ip("-n", host.space, "link", "set", "lo", "up")
        _ip("-n", a.space, "link", "add", a.link, "type", "veth", "peer", b.link, "netns", b.space)
        for host in made:
            _ip("-n", host.space, "address", "add", f"{host.address}/30", "dev", host.link)
            host.restore()
        yield a, b
    finally:
        for host in made:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", host.space)


def missing() -> str | None:
    """Why there can be no hosts here; `None` where there can."""
    if any(shutil.which(name) is None for name in ("ip", "nsenter", "unshare")):
        return "ip, nsenter or unshare is missing (Debian: iproute2, util-linux)"
    space = f"direct-probe-{os.getpid()}"
    own = ["unshare", "--uts", "hostname", "other-host"]
    try:
        _ip("netns", "add", space)
        _ip("netns", "del", space)
        subprocess.run(own, check=True, capture_output=True)
    except subprocess.CalledProcessError:
        return "network namespaces are not allowed here"
    assert socket.gethostname() != "other-host"
    return None


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
