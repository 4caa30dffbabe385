"""A port for a server of a test."""

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A port that nobody has, and that the kernel gives to no connection (it begins at 32768)."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)  # no seed: others ask as well
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
