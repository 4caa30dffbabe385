"""The loss once more, by NumPy in float64 and straight from the design's definitions."""

import numpy as np
import torch

TERMS = ("fm", "rand", "hard", "anc")


def case(shape, dtype=torch.float32, seed=0, terms=TERMS, given=True, scale=1.0):
    """Arguments of `velocity_loss`: (v, latents, noise) and a dictionary."""
    generator = torch.Generator().manual_seed(seed)

    def tensor():
        return (scale * torch.randn(shape, generator=generator)).to(dtype)

    positional = (tensor(), tensor(), tensor())
    named = {"lambda_rand": 0.0, "lambda_hard": 0.0, "lambda_anc": 0.0}
    for term, weight in (("rand", 0.05), ("hard", 0.1)):
        if term in terms:
            named |= {f"{term}_latents": tensor(), f"lambda_{term}": weight}
            if given:
                named[f"{term}_noise"] = tensor()
    if "anc" in terms:
        named |= {"reference": tensor(), "lambda_anc": 0.2}
    return positional, named


def array(tensor):
    return None if tensor is None else tensor.detach().double().numpy().reshape(len(tensor), -1)


def oracle(
    v, latents, noise, *, threshold=50.0, weight=None, alpha_dot=-1.0, sigma_dot=1.0, **named
):
    """(loss, distances [B, 4], alignment [B, 2], gradient [B, n]); absent noise is at its mean."""
    v, x, eps = array(v), array(latents), array(noise)
    batch, n = v.shape
    targets = [alpha_dot * x + sigma_dot * eps]
    extra = [0.0] * 4
    for k, term in ((1, "rand"), (2, "hard")):
        latents, noise = array(named.get(f"{term}_latents")), array(named.get(f"{term}_noise"))
        if latents is not None and noise is None:
            noise, extra[k] = 0.0, sigma_dot**2
        targets.append(None if latents is None else alpha_dot * latents + sigma_dot * noise)
    targets.append(array(named.get("reference")))
    c = [1, -named.get("lambda_rand", 0), -named.get("lambda_hard", 0), named.get("lambda_anc", 0)]
    w = np.ones((batch, 4)) if weight is None else weight.double().numpy()
    w = np.repeat(w[:, None], 4, axis=1) if w.ndim == 1 else w

    distances, alignment = np.full((batch, 4), np.nan), np.full((batch, 2), np.nan)
    gradient, loss = np.zeros_like(v), 0.0
    for b in range(batch):
        e = [None if u is None else v[b] - u[b] for u in targets]
        m = [None if r is None else np.abs(r) <= threshold for r in e]
        for k in range(4):
            if e[k] is None:
                continue
            distances[b, k] = (e[k][m[k]] ** 2).sum() / n + extra[k]
            loss += w[b, k] * c[k] * distances[b, k] / batch
            gradient[b] += 2 / (batch * n) * w[b, k] * c[k] * np.where(m[k], e[k], 0)
            if k in (1, 2):
                both = m[0] & m[k]
                alignment[b, k - 1] = -(e[0][both] * e[k][both]).sum() / n
    return loss, distances, alignment, gradient


def target_case(shape, count, dtype=torch.float32, seed=0):
    """v, K targets, and coefficients of both signs."""
    generator = torch.Generator().manual_seed(seed)
    v, *targets = (torch.randn(shape, generator=generator).to(dtype) for _ in range(count + 1))
    return v, targets, [0.4 - 0.15 * k for k in range(count)]


def target_oracle(v, targets, coefficients, weight=None, threshold=50.0):
    """(loss, distances [B, K], gradient), by loops and in float64."""
    v, *u = (tensor.detach().double().numpy().reshape(len(tensor), -1) for tensor in (v, *targets))
    batch, n = v.shape
    w = np.ones((batch, len(u))) if weight is None else weight.double().numpy()
    w = np.repeat(w[:, None], len(u), 1) if w.ndim == 1 else w
    loss, distances, gradient = 0.0, np.zeros((batch, len(u))), np.zeros_like(v)
    for b in range(batch):
        for k, c in enumerate(coefficients):
            e = v[b] - u[k][b]
            e = np.where(np.abs(e) <= threshold, e, 0)
            distances[b, k] = (e * e).sum() / n
            loss += c * w[b, k] * distances[b, k] / batch
            gradient[b] += 2 / (batch * n) * c * w[b, k] * e
    return loss, distances, gradient
