"""What the guard costs: the forms that are compared, and the table of known seconds."""

import torch

from benchmarks import cases, step


def test_all_forms_have_one_gradient():
    s = cases.inputs((2, 4, 3, 5), "cpu")
    evaluate = cases.evaluation("eager", False)
    found = [step._to_gradient(evaluate, guard)(s)[0] for guard in step.GUARDS.values()]
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_shares_are_those_within_a_process():
    def run(before: float, now: float):
        seconds = {step.BEFORE: before, step.NOW: now, step.ALONE: now}
        return {"given": {name: (taken, 5_000_000) for name, taken in seconds.items()}}

    made = {"name": "a processor", "threads": 2, "torch": "2.13"}
    text = step.table([run(4.0, 1.0), run(2.0, 1.0), run(9.0, 9.0)], made, (4, 16), "x")
    assert "| given | `guarded` | 1000.00 | 50% (25% to 100%) | 5.0 |" in text.splitlines()
