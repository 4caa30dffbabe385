"""Values that a person may type or a file may hold, most of them wrong."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

TEXTS = (
    "", " ", "0", "1", "2", "-1", "1.5", "nan", "inf", "-inf", "1e400", "1e-400", "9" * 5000,
    "1000000000000", "99999999999999999999", "1_0", "²", "١٢", "true", "none", "null", "{}", "[]",
    ",", ",,", "0,0", "0,1", "0,-1", "0,1,x", "=", "==", "a=b", "a.b=c", "..", "../..", "/", ".",
    "/dev/null", "/proc/self/environ", "~", "%s%n", "{0}", "$(id)", "a\nb", "\x1b[31m", "\u202e",
    "é", "\udcff", "x" * 300, "-", "--", "--help", "tiny", "lambda_hard", "all", "base",
)  # fmt: skip

texts = st.one_of(
    st.sampled_from(TEXTS), st.text(st.characters(exclude_characters="\0"), max_size=12)
)

NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2**31, 2**63, 10**30, -(10**30), 1e308, -1e308, 5e-324, float("nan"), float("inf"),
    10**4000,
)  # fmt: skip
ODD: tuple[Any, ...] = (
    *NUMBERS, None, True, False, "", "x", "../../x", "/etc/passwd", "\x00", "\x1b[2J", "\ud800",
    "x" * 5000, [], {}, [[]], [None], {"": ""}, ["x", 1],
)  # fmt: skip

odd = st.sampled_from(ODD)


@st.composite
def changed_json(draw: st.DrawFn, value: Any) -> Any:
    """`value` with one part of it taken out, of another type, doubled, or buried deeply."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(value)))
        if not draw(st.integers(0, 7)):
            return {k: v for k, v in value.items() if k != name}
        return value | {name: draw(changed_json(value[name]))}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        place = draw(st.integers(0, len(value) - 1))
        new = draw(changed_json(value[place]))
        return [
            *value[:place],
            *draw(st.sampled_from([[new], [new, new], []])),
            *value[place + 1 :],
        ]
    return draw(odd)


def written(value: Any) -> bytes:
    """JSON, with nan and infinities as Python writes them, and halves of surrogate pairs."""
    return json.dumps(value).encode()


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes of a file after an accident, or an attack on its encoding."""
    place = draw(st.integers(0, max(0, len(data) - 1)))
    kind = draw(st.sampled_from(KINDS))
    if kind == "flip" and data:
        return (
            data[:place] + bytes([data[place] ^ 1 << draw(st.integers(0, 7))]) + data[place + 1 :]
        )
    if kind == "cut":
        return data[:place]
    if kind == "hole":
        return data[:place] + data[place + draw(st.integers(1, 64)) :]
    if kind == "insert":
        return data[:place] + draw(st.sampled_from(INSERTS)) + data[place:]
    if kind == "double":
        return data + data
    if kind == "utf-16":
        return data.decode("latin-1").encode("utf-16")
    if kind == "zeros":
        return bytes(len(data))
    return draw(st.sampled_from(WHOLE))


KINDS = ("flip", "cut", "hole", "insert", "double", "utf-16", "zeros", "whole")
INSERTS = (
    b"\0",
    b"\xff",
    b"\n",
    b"\r",
    b'"',
    b"{",
    b"[" * 100_000,
    b"9" * 5000,
    b"\xed\xa0\x80",
    b",",
)
WHOLE = (
    b"", b"\n", b"null", b"[]", b"{}", b"0", b'""', b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000,
    b"\xff\xfe\x00", b"\x1f\x8b\x08", b"\x80\x04.", b"PK\x03\x04", b"\xef\xbb\xbf{}", b"a,b\n1,2\n",
    b"x" * 200_000, b'"' * 200_001, b"{} {}\n{}", b"NaN", b"1e999",
)  # fmt: skip
