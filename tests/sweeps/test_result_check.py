"""What is no result that a table can read, whatever its checksum says."""

import copy

import pytest

from sweeps.result_check import DRAWS, in_range, sound

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
MEASURED = GOOD | {
    "provenance": {
        "commit": "abc",
        "packages": {"torch": "2.13"},
        "parameters": 123,
        "step_ratio": {"with_anchor": 1.5},
    },
    "negatives": dict.fromkeys(DRAWS, 0.5),
    "samples": {"x.a": [[0.5, None]], "x.delta_x": [[1.5, -0.5]]},
}
DIVERGED = GOOD | {"status": "diverged", "reason": "nan", "prompts": [], "captions": []}


def test_what_the_harness_writes_is_sound():
    assert sound(GOOD) and sound(MEASURED) and sound(DIVERGED | {"scores": {}})
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
        (("scores", "PC"), [0.5, 1e12]),
        (("provenance",), None),
        (("provenance",), {}),
        (("provenance",), {"commit": 5}),
        (("provenance", "device"), None),
        (("provenance", "packages"), ["torch"]),
        (("provenance", "packages"), {"torch": 2}),
        (("provenance", "parameters"), "many"),
        (("provenance", "step_ratio"), [1.5]),
        (("provenance", "step_ratio"), {"with_anchor": "fast"}),
        (("negatives",), {"distance": 0.5}),
        (("negatives",), dict.fromkeys(DRAWS, 0.0)),
        (("samples",), {"x.a": 5}),
        (("samples",), {"x.a": [[0.5], 3]}),
        (("samples",), {"x.a": [[0.5, "high"]]}),
        (("samples",), {"x.a": [[0.5]], "x.delta_x": [[0.5, 0.5]]}),
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


def test_scores_lie_where_the_judge_puts_them():
    def judged(judge, **scores):
        return in_range(GOOD | {"config": {"evaluate": {"judge": judge}}, "scores": scores})

    assert judged("world", SA=[0, 1 + 1e-9], Instr=[3.0], Total=[10.0], own=[-7.0])
    assert not judged("world", SA=[-2.5]) and not judged("videophy", PC=[0.5, 1.1])
    assert not judged("worldmodelbench", Total=[10.1])
    assert judged("my_judge", SA=[-2.5, 100.0]) and in_range(GOOD)
