"""Small shards, so that a small run has many; a language model's server on this machine."""

from __future__ import annotations

import io
import json
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from direct import sampling
from direct.prepare import server, several


@pytest.fixture
def many_shards(monkeypatch):
    monkeypatch.setattr(sampling, "batch_size", lambda *_: 2)
    monkeypatch.setattr("direct.prepare.encode.SHARD", 5)
    monkeypatch.setattr("direct.prepare.render.SHARD", 1)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Servers on this machine are asked directly, whatever the environment says of others."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


class Machine(ThreadingHTTPServer):
    request_queue_size = 64  # with Python's 5, the sixth of 16 connections is tried again after 1 s


@contextmanager
def started():
    """A server on this machine; `reply(body, n)` gives (status, bytes) for its n-th request.

    `kill()` ends it in the middle of what it does: connections close without an answer.
    """
    state = {"n": 0, "reply": None, "headers": [], "paths": [], "dead": False}
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                state["n"] += 1
                state["headers"].append(dict(self.headers))
                state["paths"].append(self.path)
                status, data = state["reply"](body, state["n"])
            if state["dead"]:
                return
            with suppress(ConnectionError):  # who asked may have had enough
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    def kill():
        state["dead"] = True
        machine.shutdown()  # first: a loop that waits for a closed socket takes a whole core
        machine.socket.close()

    with Machine(("127.0.0.1", 0), Handler) as machine:
        threading.Thread(target=machine.serve_forever, args=(0.01,), daemon=True).start()
        state |= {"url": f"http://127.0.0.1:{machine.server_port}/v1", "kill": kill}
        yield state
        machine.shutdown()


@pytest.fixture
def host(monkeypatch):
    """One `started` server, which is not waited for long."""
    monkeypatch.setattr(server, "WAITS", (0.01, 0.01))
    with started() as state:
        yield state


@pytest.fixture
def other_host():
    with started() as state:
        yield state


class Said(io.StringIO):
    """What goes to stderr, and whether a server's failure has been told of."""

    def __init__(self):
        super().__init__()
        self.told = threading.Event()

    def write(self, text):
        count = super().write(text)
        if "servers go on" in text:
            self.told.set()
        return count


@pytest.fixture
def stderr(monkeypatch):
    """Of `several` alone: pytest puts back its own between a fixture and its test."""
    said = Said()
    monkeypatch.setattr(several, "sys", SimpleNamespace(stderr=said))
    return said
