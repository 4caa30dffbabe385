"""A real server on this machine: how it is asked, and what is not taken from it."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from contextlib import contextmanager, suppress
from itertools import takewhile

import pytest

from direct.common.errors import UserError
from direct.prepare import server

TEXTS = ["short", "a rather longer instruction than the others", "medium one"]


def said(text, reason="stop"):
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": reason}
    return 200, json.dumps({"choices": [choice]}).encode()


def request(connection):
    """All of a request: a single read may give a part of it."""
    with connection.makefile("rb") as file:
        head = b"".join(takewhile(bytes.strip, file))
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        return head + file.read(int(length[1]) if length else 0)


@contextmanager
def raw(serve):
    """The address of a server whose `serve(connection)` writes what it likes, after the request."""
    listening = socket.create_server(("127.0.0.1", 0))
    asked = []

    def one(connection):
        with connection, suppress(OSError):  # the other side may have had enough
            asked.append(request(connection))
            serve(connection)

    def accept():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", asked
        listening.shutdown(socket.SHUT_RDWR)


def ask(url, **more):
    return server.server(url, "m", **more)(["x"], 0)


def test_answers_are_in_the_order_asked(host, monkeypatch):
    monkeypatch.setenv(server.KEY, "secret")

    def reply(body, n):
        text = body["messages"][0]["content"]
        assert body["model"] == "qwen" and body["temperature"] == 0.7 and body["max_tokens"] == 512
        return said(f"{text} {body['seed']}", "length" if text == "short" else "stop")

    host["reply"] = reply
    answers = server.server(host["url"] + "/", "qwen")(TEXTS, 7)
    assert answers == [("short 7", False), (TEXTS[1] + " 8", True), ("medium one 9", True)]
    assert set(host["paths"]) == {"/v1/chat/completions"}
    assert {headers["Authorization"] for headers in host["headers"]} == {"Bearer secret"}


def test_no_more_than_parallel_are_asked_at_a_time():
    now, most, lock, three = [0], [0], threading.Lock(), threading.Barrier(3)

    def serve(connection):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        three.wait(60)
        time.sleep(0.03)  # time for a fourth, if it were asked
        with lock:
            now[0] -= 1
        body = said("fine")[1]
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    with raw(serve) as (url, _):
        assert server.server(url, "m", parallel=3)(["x"] * 9, 0) == [("fine", True)] * 9
    assert most[0] == 3


def test_server_that_recovers_is_asked_again(host):
    host["reply"] = lambda body, n: (503, b"busy") if n == 1 else said("fine")
    assert ask(host["url"]) == [("fine", True)] and host["n"] == 2


DEEP = b"[" * 200_000


@pytest.mark.parametrize(
    ("reply", "message", "requests"),
    [
        ((500, b"broken"), "does not answer .status 500: broken.", 3),
        ((404, b"no such model"), "status 404: no such model", 1),
        ((200, b"<html>"), "does not answer .an answer that is no JSON", 3),
        ((200, DEEP), "no JSON: nested too deeply", 3),
        ((200, b"\xff\xfe\x00"), "no JSON", 3),
        ((200, b"9" * 5000), "no JSON", 3),
        ((200, b""), "no JSON", 3),
        ((200, b'{"choices": []}'), "no completion", 1),
        ((200, b"[1, 2]"), "no completion", 1),
        ((200, b'{"choices": ["text"]}'), "no completion", 1),
        ((200, b'{"choices": [{"message": {"content": ["a part"]}}]}'), "no completion", 1),
        ((200, b'{"choices": [{"message": {"content": 7}}]}'), "no completion", 1),
        ((200, b'{"choices": [{"message": {"content": "\\ud800"}}]}'), "no completion", 1),
        ((200, b" " * (server.LARGEST + 1)), "more than 1,048,576 bytes", 1),
        ((404, b"x" * (server.LARGEST + 1)), "more than 1,048,576 bytes", 1),
    ],
)
def test_faults_are_one_sentence(host, reply, message, requests):
    host["reply"] = lambda body, n: reply
    with pytest.raises(UserError, match=message) as error:
        ask(host["url"])
    assert host["n"] == requests and len(str(error.value)) < 500


def test_an_answer_without_end_is_left_early():
    """6.4 GB were once taken in 25 s."""
    sent = [0]

    def serve(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" " * (1 << 16))
            sent[0] += 1 << 16

    with raw(serve) as (url, _), pytest.raises(UserError, match="more than 1,048,576 bytes"):
        ask(url)
    assert sent[0] < 64 << 20  # what the system's buffers hold beyond what was read


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nA: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_an_answer_that_drips_is_not_waited_for(start, monkeypatch):
    """A byte each moment keeps every single read short: the limit is on the whole."""
    monkeypatch.setattr(server, "WAITS", ())

    def serve(connection):
        connection.sendall(start)
        while True:
            connection.sendall(b" " if start else b"H")
            time.sleep(0.02)

    with raw(serve) as (url, _), pytest.raises(UserError, match=r"no whole answer within 0.2 s"):
        ask(url, seconds=0.2)  # without the limit it never ends


@pytest.mark.parametrize("status", [200, 401, 500])
def test_a_key_that_a_server_sends_back_is_not_shown(status, monkeypatch):
    monkeypatch.setenv(server.KEY, "secret")
    monkeypatch.setattr(server, "WAITS", ())

    def serve(connection):
        body = b'{"error": "Incorrect API key provided: secret."}'
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)

    with raw(serve) as (url, asked), pytest.raises(UserError) as error:
        ask(url)
    assert b"Bearer secret" in asked[0] and "secret" not in str(error.value)
    assert "key provided: $DIRECT_LLM_KEY." in str(error.value)


def test_a_redirect_is_not_followed_and_the_key_stays(monkeypatch):
    monkeypatch.setenv(server.KEY, "secret")

    def elsewhere(connection):
        body = said("from elsewhere")[1]
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with raw(elsewhere) as (other, asked_there):
        for status in (301, 302, 303, 307, 308):

            def redirect(connection, status=status):
                head = f"HTTP/1.1 {status} Moved\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n"
                connection.sendall(head.encode())

            with (
                raw(redirect) as (url, asked),
                pytest.raises(UserError, match=f"elsewhere, to {other}, which is not") as error,
            ):
                ask(url)
            assert b"Bearer secret" in asked[0] and "secret" not in str(error.value)
    assert not asked_there


def test_a_packed_answer_is_not_unpacked(monkeypatch):
    import gzip

    monkeypatch.setattr(server, "WAITS", ())
    body = gzip.compress(said("x" * 1000)[1])
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    with (
        raw(lambda connection: connection.sendall(head + body)) as (url, asked),
        pytest.raises(UserError, match="no JSON"),
    ):
        ask(url)
    assert b"accept-encoding: identity" in asked[0].lower()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:8000",
        "ftp://host/v1",
        "file:///etc/passwd",
        "http://",
        "http:///v1",
        "http://[::1",
        "http://host:port/v1",
        "http://host:99999/v1",
        "http://a..b/v1",
        "http://" + "a" * 70 + "/v1",
        "http://host/v1\r\nX: y",
        "http://\x00/",
        "x" * 100_000,
    ],
)
def test_an_address_that_is_none_is_refused_at_once(url):
    with pytest.raises(UserError, match="is no address") as error:
        server.server(url, "m")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("url", ["http://me:pw@host/v1", "https://host/v1?key=pw", "http://h/#pw"])
def test_an_address_with_a_secret_is_refused_and_not_shown(url):
    with pytest.raises(UserError, match="DIRECT_LLM_KEY") as error:
        server.server(url, "m")
    assert "pw" not in str(error.value)


@pytest.mark.parametrize("url", ["http://me:pw@[::1/v1", "http://me:pw@h/\n", "x://me:pw@h"])
def test_an_address_that_is_none_is_shown_without_its_secret(url):
    with pytest.raises(UserError) as error:
        server.server(url, "m")
    assert "pw" not in str(error.value)


@pytest.mark.parametrize("key", ["a\nb", "a b", "schlüssel", "a\x7f"])
def test_a_key_that_is_none_is_not_shown(key, monkeypatch):
    monkeypatch.setenv(server.KEY, key)
    with pytest.raises(UserError, match="set it again") as error:
        server.server("http://host/v1", "m")
    assert key not in str(error.value)


def test_a_proxy_that_is_none_is_one_sentence(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "gopher://host")
    with pytest.raises(UserError, match="proxy or certificates cannot be used"):
        ask("http://host.invalid/v1")


def test_no_server_is_one_sentence(monkeypatch):
    monkeypatch.setattr(server, "WAITS", ())
    with pytest.raises(UserError, match="does not answer"):
        ask("http://127.0.0.1:9", seconds=2)
