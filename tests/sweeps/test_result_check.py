"""What is no result that a table can read, whatever its checksum says."""

import copy

import pytest

from sweeps.result_check import sound

GOOD = {
    "config": {"seed": 0, "profile": "tiny"},
    "status": "done",
    "prompts": ["p0", "p1"],
    "captions": ["a", "b"],
    "scores": {"PC": [0.5, 1], "SA": [0.0, -2.5]},
    "provenance": {"commit": "abc"},
    "code": {"direct.flow": "0123"},
    "negatives": {"changed": 0.03},
}
DIVERGED = GOOD | {"status": "diverged", "reason": "nan", "prompts": [], "captions": []}


def test_what_the_harness_writes_is_sound():
    assert sound(GOOD) and sound(DIVERGED | {"scores": {}})
    bare = {k: v for k, v in GOOD.items() if k not in ("captions", "code", "negatives")}
    assert sound(bare), "results of earlier versions have none of these"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("scores", "PC"), ["high", "low"]),
        (("scores", "PC"), [0.5]),
        (("scores", "PC"), [0.5, float("nan")]),
        (("scores", "PC"), [0.5, float("inf")]),
        (("scores", "PC"), [0.5, 10**400]),
        (("scores", "PC"), [0.5, True]),
        (("scores", "PC"), [0.5, None]),
        (("scores", "PC"), {"0": 0.5}),
        (("scores",), {}),
        (("scores",), []),
        (("prompts",), ["p0", "p0"]),
        (("prompts",), ["p0", 1]),
        (("prompts",), "p0"),
        (("prompts",), []),
        (("captions",), ["a"]),
        (("captions",), [1, 2]),
        (("provenance",), None),
        (("provenance",), ["commit"]),
        (("config",), "tiny"),
        (("config", "seed"), "0"),
        (("config", "seed"), True),
        (("config", "seed"), -1),
        (("status",), "finished"),
        (("status",), None),
        (("code",), {"direct.flow": 1}),
        (("code",), []),
        (("negatives",), {"changed": "much"}),
        (("samples",), [1]),
    ],
)
def test_one_wrong_part_is_enough(place, value):
    result = copy.deepcopy(GOOD)
    *parents, leaf = place
    node = result
    for name in parents:
        node = node[name]
    node[leaf] = value
    assert not sound(result)


@pytest.mark.parametrize("value", [None, 5, [], "result", {}])
def test_what_is_no_object_is_no_result(value):
    assert not sound(value)


@pytest.mark.parametrize("change", [{"reason": None}, {"scores": {"PC": []}}])
def test_a_diverged_cell_has_a_reason_and_no_scores(change):
    assert not sound(DIVERGED | {"scores": {}} | change)
