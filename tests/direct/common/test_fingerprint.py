"""The fingerprint of code: blind to words, not to work, and of all that the work imports."""

import ast
import hashlib
import re
import subprocess
import sys

import pytest

from direct import extension
from direct.common import fingerprint
from direct.common.fingerprint import MECHANICS, PACKAGE
from sweeps.stages import REAL, SCORES

CODE = '''
"""A module."""

import math

LIMIT = 2  # of something


class Thing:
    """A thing."""

    size: int = 1


def area(r):
    """Of a circle."""
    return math.pi * r**2
'''


def digest_of(text, tmp_path, name="module.py"):
    path = tmp_path / name
    path.write_text(text)
    fingerprint._tree.cache_clear()
    fingerprint._tree_digest.cache_clear()
    return fingerprint._tree_digest(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # of something", ""),
        ('"""A module."""', '"""Another text,\nof two lines."""'),
        ('    """A thing."""\n', ""),
        ('    """Of a circle."""\n', ""),
        ("math.pi * r**2", "(math.pi\n            * r ** 2)"),
        ("\n\n\nclass", "\nclass"),
    ],
)
def test_words_and_layout_cost_nothing(tmp_path, old, new):
    assert old in CODE
    assert digest_of(CODE.replace(old, new), tmp_path) == digest_of(CODE, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("r**2", "r**3"),
        ("LIMIT = 2", "LIMIT = 2.0"),
        ("LIMIT = 2", 'LIMIT = "2"'),
        ("math.pi * r", "r * math.pi"),
        ("def area(r)", "def area(r=1)"),
        ("return", "yield"),
        ("size: int = 1", "size: int = 0"),
    ],
)
def test_what_works_otherwise_is_seen(tmp_path, old, new):
    assert digest_of(CODE.replace(old, new), tmp_path) != digest_of(CODE, tmp_path)


def test_a_string_that_is_no_docstring_counts(tmp_path):
    one, two = 'def f():\n    x = 1\n    "a"\n', 'def f():\n    x = 1\n    "b"\n'
    assert digest_of(one, tmp_path) != digest_of(two, tmp_path)


@pytest.mark.slow
def test_the_code_of_a_score_is_all_that_can_change_it():
    found = fingerprint.fingerprint(*SCORES)
    for name in (
        "direct.flow",
        "direct.noise",
        "direct.sampling",
        "direct.common.seed",
        "direct.loss.reference",
        "direct.loss.native",
        "direct.loss.triton",
        "direct.models.families.wan",
        "direct.negatives.macro",
        "direct.train.step",
        "direct.world.judge",
        "csrc",
    ):
        assert name in found, name
    assert not found.keys() & set(MECHANICS)
    assert not any(name.startswith(("sweeps", "direct.measure", "direct.base")) for name in found)


@pytest.mark.slow
def test_what_runs_is_in_the_fingerprint():
    """Every module of ours that a real import of the stages loads is covered, or is mechanics."""
    code = (
        "import sys\n"
        f"for name in {SCORES!r}: __import__(name)\n"
        "print(*[n for n in sys.modules if n.startswith('direct.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {
        name
        for name in done.stdout.split()
        if (path := fingerprint._path(name)) and path.stat().st_size
    }
    assert len(loaded) > 30
    assert loaded <= {*fingerprint.fingerprint(*SCORES), *MECHANICS}


def test_mechanics_exist():
    for name in MECHANICS:
        assert fingerprint._path(name), f"{name} is no module any more"


@pytest.mark.slow
def test_kinds_of_cells_have_their_own_code():
    from direct.profiles import profile
    from direct.settings import override

    tiny = profile("tiny")
    scores = REAL.code(tiny)
    cost = REAL.code(override(tiny, "measure.kind=cost"))
    assert "direct.measure.cost" in cost and "direct.measure.cost" not in scores
    paper = REAL.code(profile("wan2.1-t2v-1.3b"))
    assert not any(name.startswith("direct.world") for name in paper)
    assert any(name.startswith("direct.world") for name in scores)


@pytest.mark.slow
def test_trees_of_all_sources_have_a_digest():
    paths = sorted(PACKAGE.rglob("*.py"))
    found = {path: fingerprint._tree_digest(path) for path in paths}
    assert len(paths) > 60 and all(len(own) == 8 for own in found.values())
    assert ast.dump(fingerprint._tree(paths[0]))


@pytest.mark.skipif(extension.MISSING is not None, reason="no compiled extension")
def test_the_library_at_hand_was_built_from_the_sources_at_hand():
    """And its hash is blind to comments and blanks, as setup.py computes it."""
    files = sorted((PACKAGE.parent / "csrc").iterdir())
    code = "".join(path.read_text() for path in files)
    code = re.sub(r"//[^\n]*|/\*.*?\*/|\s+", "", code, flags=re.S)
    fingerprint._extension.cache_clear()
    assert fingerprint._extension() == hashlib.sha256(code.encode()).hexdigest()[:8]


def test_the_extension_is_known_by_its_sources(tmp_path, monkeypatch):
    library = tmp_path / "_C.abi3.so"
    monkeypatch.setattr(fingerprint, "EXTENSION", library)
    fingerprint._extension.cache_clear()
    assert fingerprint._extension() == "none"
    for content, known in ((b"\0direct-sources:0123abcd\0", "0123abcd"), (b"ELF", "unknown")):
        library.write_bytes(content)
        fingerprint._extension.cache_clear()
        assert fingerprint._extension() == known
    fingerprint._extension.cache_clear()


USER = """
import beside
from direct import plugins

SHIFT = 2
OTHER = [1]


def term(seen):
    return help_it(seen) + beside.VALUE


def help_it(seen):
    return SHIFT


def apart():
    return OTHER
"""


@pytest.mark.parametrize(
    ("file", "old", "new", "seen"),
    [
        ("mine.py", "SHIFT = 2", "SHIFT = 3", True),
        ("mine.py", "return SHIFT", "return -SHIFT", True),
        ("mine.py", "SHIFT = 2", "SHIFT = 2\nprint()", True),  # more than a definition
        ("mine.py", "OTHER = [1]", "OTHER = [2]", False),
        ("mine.py", "return OTHER", "return 0", False),
        ("mine.py", "SHIFT = 2", "SHIFT = 2  # frames", False),
        ("beside.py", "VALUE = 1", "VALUE = 2", True),
        ("further.py", "X = 1", "X = 2", True),
        ("unused.py", "X = 1", "X = 2", False),
    ],
)
def test_a_user_s_function_is_all_that_it_reads(tmp_path, file, old, new, seen):
    (tmp_path / "mine.py").write_text(USER)
    (tmp_path / "beside.py").write_text("from further import X\n\nVALUE = 1\n")
    (tmp_path / "further.py").write_text("import beside\n\nX = 1\n")
    (tmp_path / "unused.py").write_text("X = 1\n")
    before = fingerprint.definition(tmp_path / "mine.py", "term")
    text = (tmp_path / file).read_text()
    assert old in text and len(before) == 12
    (tmp_path / file).write_text(text.replace(old, new))
    assert (fingerprint.definition(tmp_path / "mine.py", "term") != before) == seen


def test_what_is_not_defined_has_no_fingerprint(tmp_path):
    (tmp_path / "mine.py").write_text(USER)
    (tmp_path / "bad.py").write_text("def (\n")
    for name in ("mine.py", "bad.py", "none.py"):
        assert fingerprint.definition(tmp_path / name, "nothing") is None
