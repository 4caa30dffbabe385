"""What a language model's server may answer, and the addresses that it may be asked at."""

from __future__ import annotations

import json

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from direct.prepare import server

from .harness import cases, faults, read
from .values import changed_json, damaged, texts, written

COMPLETION = {
    "choices": [{"message": {"role": "assistant", "content": "a ball"}, "finish_reason": "stop"}]
}


async def parts_of(body):
    yield body[:10]
    yield body[10:]


headers = st.dictionaries(
    st.sampled_from(["Location", "Content-Type", "Content-Encoding", "Retry-After", "X"]),
    st.sampled_from(["http://elsewhere/", "//x", "", "gzip", "br", "text/html", "\x1b[2J"]),
    max_size=3,
)
bodies = st.one_of(
    damaged(written(COMPLETION)), changed_json(COMPLETION).map(written), st.binary(max_size=64)
)


@pytest.fixture
def asked(monkeypatch):
    """Asks a server whose answers are (status, headers, body); what is heard of it."""
    monkeypatch.setattr(server, "WAITS", ())
    monkeypatch.setenv(server.KEY, "secret")
    hosts = set()

    def ask(answer, place):
        def handler(request):
            hosts.add(request.url.host)
            status, more, body = answer
            return httpx2.Response(status, headers=more, content=parts_of(body))

        def client(given):
            return httpx2.AsyncClient(headers=given, transport=httpx2.MockTransport(handler))

        monkeypatch.setattr(server, "_client", client)
        heard = []
        found = read(lambda: heard.extend(server.server("http://host/v1", "m")(["x"], 0)), place)
        return found, heard, hosts

    return ask


def test_answers(asked, tmp_path):
    @cases(12)
    @given(
        st.tuples(st.sampled_from([200, 200, 201, 204, 302, 307, 404, 429, 500]), headers, bodies)
    )
    def run(answer):
        found, heard, hosts = asked(answer, tmp_path)
        assert not faults(found), answer
        assert "secret" not in found.err and hosts == {"host"}
        for text, complete in heard:  # what is taken for an answer is text
            assert isinstance(text, str) and type(complete) is bool and json.dumps(text).encode()

    run()
    found, heard, _ = asked((200, {}, written(COMPLETION)), tmp_path)
    assert heard == [("a ball", True)] and not faults(found)


parts = st.one_of(
    texts, st.sampled_from(["host", "[::1]", "[::1", "me:pw@h", "h:0", "h:99999", "a..b"])
)


def test_addresses(tmp_path):
    @cases(8)
    @given(
        st.one_of(
            texts, st.builds("{}://{}{}".format, st.sampled_from(["http", "x"]), parts, texts)
        )
    )
    def run(url):
        found = read(lambda: server.server(url, "m"), tmp_path)
        assert not faults(found), url
        assert "me:pw@" not in url or "me:pw" not in found.err

    run()
