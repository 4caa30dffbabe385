"""Asking a language model behind an OpenAI-compatible server, such as vLLM's.

A server is not trusted. An answer must be whole within a time and a size. A redirect is not
followed, since the key would go with it. The text is checked before anything uses it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import httpx2

from ..common.errors import UserError
from ..common.files import parse_json
from .language import MAX_TOKENS, SAMPLING
from .perturb import Answer, Ask
from .several import RESUME

KEY = "DIRECT_LLM_KEY"  # sent as a bearer token where it is set
WAITS = (1.0, 4.0, 16.0)  # seconds before each new attempt to reach the server
SECONDS = 120.0  # of one attempt, from the connection to the answer's last byte
LARGEST = 1 << 20  # bytes of an answer; MAX_TOKENS are a few thousand
SHOWN = 200  # characters of an answer in an error


class _Unanswered(Exception):
    """No answer this time; the same request may get one later."""


def server(url: str, model: str, parallel: int = 16, seconds: float = SECONDS) -> Ask:
    """Asks the server at `url`, which ends before /chat/completions; `parallel` texts at a time.

    A server that does not answer is tried again after 1, 4 and 16 s, then a `UserError`; as are an
    answer that is refused, too large or no completion, a redirect, and an address that is none.
    """
    address, headers = _address(url), _headers()

    def ask(instructions: Sequence[str], seed: int) -> list[Answer]:
        bodies = [_body(model, text, seed + n) for n, text in enumerate(instructions)]
        return asyncio.run(_answers(address, headers, bodies, parallel, seconds))

    return ask


def servers(urls: Sequence[str], model: str, seconds: float = SECONDS) -> dict[str, Ask]:
    """`server` of each address; one that is given twice is a `UserError`."""
    found: dict[str, Ask] = {}
    for url in urls:
        if (address := _address(url)) in found:
            raise UserError(f"--server {url} is given twice; give each server once")
        found[address] = server(url, model, seconds=seconds)
    return found


def _address(url: str) -> str:
    """The address that is asked. One that holds a secret is refused without being shown."""
    try:
        parts = httpx2.URL(url.rstrip("/"))
        parts.host.encode("idna")
    except (httpx2.InvalidURL, UnicodeError):
        parts = None
    if parts is not None and (parts.userinfo or parts.query or parts.fragment):
        raise UserError(
            f"--server: an address has no user, password, question mark or #; write it as "
            f"http://host:8000/v1, and put a key into {KEY}"
        )
    web = parts is not None and parts.scheme in ("http", "https") and parts.host
    if not (web and parts and (parts.port is None or 0 < parts.port < 1 << 16)):
        shown = url.rpartition("@")[2][:SHOWN]  # what stands before it may be a password
        raise UserError(f"--server {shown} is no address; write it as http://host:8000/v1")
    return f"{parts}/chat/completions"


def _headers() -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}  # nothing is unpacked: a size is what was sent
    if key := os.environ.get(KEY):
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise UserError(f"{KEY} holds blanks or other characters that no key has; set it again")
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _body(model: str, text: str, seed: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    given = {"model": model, "messages": messages, "seed": seed, "max_tokens": MAX_TOKENS}
    return given | SAMPLING


async def _answers(
    address: str,
    headers: dict[str, str],
    bodies: Sequence[dict[str, Any]],
    parallel: int,
    seconds: float,
) -> list[Answer]:
    """The answers, in the order asked; the first one that cannot be had ends the others."""
    turn = asyncio.Semaphore(parallel)
    async with _client(headers) as client:

        async def one(body: dict[str, Any]) -> Answer:
            async with turn:
                return _completion(address, await _patiently(client, address, body, seconds))

        return await asyncio.gather(*map(one, bodies))


def _client(headers: dict[str, str]) -> httpx2.AsyncClient:
    try:
        return httpx2.AsyncClient(headers=headers, timeout=None, follow_redirects=False)
    except (httpx2.InvalidURL, ValueError, OSError) as error:
        raise UserError(
            f"the environment's proxy or certificates cannot be used ({error}); repair or unset "
            "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
        ) from None


async def _patiently(
    client: httpx2.AsyncClient, address: str, body: dict[str, Any], seconds: float
) -> Any:
    """The JSON that one request is answered with, after at most `len(WAITS)` new attempts."""
    for wait in (*WAITS, None):
        try:
            async with asyncio.timeout(seconds):
                return await _once(client, address, body)
        except TimeoutError:
            reason = f"no whole answer within {seconds:g} s"
        except (_Unanswered, httpx2.HTTPError, OSError) as error:
            reason = _short(str(error)) or type(error).__name__
        if wait is not None:
            await asyncio.sleep(wait)
    raise UserError(f"{address} does not answer ({reason}); {RESUME}")


async def _once(client: httpx2.AsyncClient, address: str, body: dict[str, Any]) -> Any:
    async with client.stream("POST", address, json=body) as response:
        status = response.status_code
        if response.has_redirect_location:
            where = _short(response.headers["Location"])
            raise UserError(
                f"{address} sends elsewhere, to {where}, which is not followed; where you trust "
                "that address, give it as --server"
            )
        data = await _bounded(response, address)
    if status >= 500 or status == 429:
        raise _Unanswered(f"status {status}: {_text(data)}")
    if status >= 400:
        raise UserError(
            f"{address} refused, status {status}: {_text(data)}; check the model's name"
        )
    try:
        return parse_json(data)
    except ValueError as error:
        raise _Unanswered(f"an answer that is no JSON: {error}") from None


async def _bounded(response: httpx2.Response, address: str) -> bytes:
    """The answer's bytes, as they were sent; nothing is kept of one that is too large."""
    data = bytearray()
    async for part in response.aiter_raw():
        data += part
        if len(data) > LARGEST:
            raise UserError(
                f"{address} answered with more than {LARGEST:,} bytes, which no completion of "
                f"{MAX_TOKENS} tokens has; check the address"
            )
    return bytes(data)


def _completion(address: str, reply: Any) -> Answer:
    """The text of a completion, and whether the model came to an end by itself."""
    try:
        choice = reply["choices"][0]
        text, complete = choice["message"]["content"] or "", choice.get("finish_reason") != "length"
        text.encode()  # half of a surrogate pair is no text
        return text, complete
    except (KeyError, IndexError, TypeError, AttributeError, UnicodeError):
        raise UserError(
            f"{address} answered {_short(str(reply))}, which is no completion; check the address"
        ) from None


def _text(data: bytes) -> str:
    return _short(data.decode(errors="replace"))


def _short(text: str) -> str:
    """What a server says, for a person: the beginning, without the key, which some send back."""
    if key := os.environ.get(KEY):
        text = text.replace(key, f"${KEY}")
    return " ".join(text.split())[:SHOWN]
