"""What a file may register, and what is refused in one sentence."""

from __future__ import annotations

import pytest

from direct import plugins
from direct.common.errors import UserError
from direct.plugins.registry import GIVEN, entries, entry


def test_a_function_is_known_by_its_name_with_its_settings_and_meaning(plugged):
    path = plugged(
        '@plugins.target(weight=0.5)\ndef still(seen, *, frames: int = 2, mode: str = "x"):\n'
        '    """The clip at rest."""\n    return seen.x\n'
    )
    found = entry("still")
    assert (found.kind, found.where) == ("target", str(path))
    assert found.settings == {"weight": 0.5, "frames": 2, "mode": "x"}
    assert found.meaning == "The clip at rest." and len(found.content) == 12
    assert found.options == {"reference": False, "prompted": False}
    assert [e.name for e in entries("target", "judge")] == ["still"] and entries("judge") == []


def test_a_judge_declares_how_its_metrics_are_shown(plugged):
    plugged(
        '@plugins.judge(sim=plugins.Score("Similarity", scale=100, decimals=1))\n'
        "def eye():\n    return lambda video, sample: {'sim': 0.5}\n"
    )
    shown = {"title": "Similarity", "scale": 100, "decimals": 1, "better": 1, "group": "eye"}
    assert plugins.metrics() == {"sim": shown}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plugins.sampler(lambda z, labels, laws: None)\n", "not a function at the top level"),
        ("@plugins.term()\ndef loss(v, seen):\n    pass\n", "loss is a section of the settings"),
        ("@plugins.term()\ndef a(v, seen, *, k=[]):\n    pass\n", "a\\(k=...\\): a setting needs"),
        ("def f():\n    @plugins.term()\n    def b(v, s): ...\n\n\nf()\n", "not a function at"),
    ],
)
def test_what_no_worker_could_use_is_refused(plugged, text, said):
    with pytest.raises(UserError, match=said) as error:
        plugged(text)
    assert "\n" not in str(error.value)


def test_one_name_belongs_to_one_file(plugged):
    text = "@plugins.sampler\ndef mine(z, labels, laws): ...\n"
    plugged(text)
    plugged(text)  # again, edited: the newer one counts
    with pytest.raises(UserError, match=r"mine is registered by .*mine.py and by .*other.py"):
        plugged(text, "other.py")


@pytest.mark.parametrize("kind", ["target", "term", "sampler", "source", "family", "profile"])
def test_a_decorator_may_be_written_with_parentheses_or_without(plugged, kind):
    given = ", ".join(GIVEN[kind])
    for text in ("", "()"):
        plugged(f"@plugins.{kind}{text}\ndef made({given}):\n    return 3\n")
        found = entry("made")
        assert (found.kind, found.function(*GIVEN[kind])) == (kind, 3)
        assert found.settings == ({"weight": 0.0} if kind in ("target", "term") else {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@plugins.sampler\ndef a(z, labels): ...\n", r"a cannot be called as a\(z, labels, laws"),
        (
            "@plugins.target()\ndef a(v, seen): ...\n",
            r"a\(seen\): missing .*define it as a\(seen, \*",
        ),
        ('@plugins.judge(m=plugins.Score("m"))\ndef a(power): ...\n', "settings behind the star"),
        ("@plugins.judge\ndef a(): ...\n", "a judge declares its metrics; write"),
        ("@plugins.judge()\ndef a(): ...\n", "a judge declares its metrics; write"),
        ('@plugins.judge(m="sharp")\ndef a(): ...\n', "with a Score for each"),
        ('plugins.Score("m", better="down")\n', "better='down' is not 1, -1 or 0"),
        ('plugins.Score("m", decimals=1.5)\n', "decimals=1.5 is not"),
        ('plugins.Score("m", scale="%")\n', "scale='%' is not a number"),
        ('@plugins.target(weight="big")\ndef a(seen): ...\n', "weight='big' of a target is not"),
    ],
)
def test_a_users_mistake_is_a_sentence_before_any_work(plugged, text, said):
    with pytest.raises(UserError, match=said) as error:
        plugged(text)
    assert "\n" not in str(error.value)
