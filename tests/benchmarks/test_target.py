"""The two ways to evaluate targets that are compared make the same loss and gradient."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks import cases, target


@pytest.mark.parametrize("count", [1, 2, 4])
def test_together_is_one_by_one(count):
    s = cases.inputs((2, 4, 3, 5), "cpu")
    v = s["v"].float().requires_grad_()
    s = {
        name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in s.items()
    }
    found = [form(v, s, count, "eager") for form in (target.together, target.one_by_one)]
    torch.testing.assert_close(*found)
    torch.testing.assert_close(*(torch.autograd.grad(loss, v)[0] for loss in found))


def test_each_form_is_timed_on_its_own(monkeypatch):
    """By a clock that only they move, each by as much as a call of it takes."""
    now = [0.0]

    def takes(seconds, form):
        def timed(*given):
            now[0] += seconds
            return form(*given)

        return timed

    monkeypatch.setattr(target, "together", takes(2.0, target.together))
    monkeypatch.setattr(target, "one_by_one", takes(5.0, target.one_by_one))
    monkeypatch.setattr(target, "time", SimpleNamespace(process_time=lambda: now[0]))
    assert target.several("cpu", (2, 4, 3, 5), 2, 0.0) == (2.0, 5.0)
