"""Other people's losses as formulas: the same numbers as ours, and their gradients autograd's."""

import torch

from benchmarks import cases, formulas


def gradient(loss, s):
    v = s["v"].float().requires_grad_()
    value = loss(v, s)
    return value.detach(), torch.autograd.grad(2 * value, v)[0]


def in_float32(shape):
    return {
        k: t.float() if t.is_floating_point() else t for k, t in cases.inputs(shape, "cpu").items()
    }


def test_delta_fm_is_flow_matching_less_one_negative_of_the_batch():
    s = in_float32((3, 4, 5))
    theirs = gradient(formulas.delta_fm, s)
    ours = gradient(lambda v, s: formulas.ours(v, s, "eager"), s)
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(a, b)


def test_the_gradient_of_the_forward_pass_is_that_of_the_loss():
    s = in_float32((2, 3, 4, 5))
    theirs = gradient(formulas.gradient_in_forward, s)
    ours = gradient(cases.ours("eager", False), s)
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(a, b)
