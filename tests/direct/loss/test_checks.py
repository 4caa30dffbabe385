"""Bad input: one sentence that names the argument, what it was and what it should be."""

from __future__ import annotations

import pytest
import torch

from direct import noise, velocity_loss
from direct.common.errors import UserError

from .oracle import case

NAN = float("nan")
BAD = [
    ({"latents": torch.zeros(2, 5)}, r"latents has shape \[2, 5\]; it must be \[2, 3, 4\]"),
    (
        {"noise": torch.zeros(2, 3, 4, dtype=torch.bfloat16)},
        "noise has dtype torch.bfloat16; it must be",
    ),
    (
        {"reference": torch.zeros(2, 3, 4, device="meta")},
        "reference has device meta; it must be cpu",
    ),
    ({"v": torch.zeros(2, 3, 4, dtype=torch.float16)}, "v has dtype torch.float16; use"),
    ({"v": [1.0]}, "v is list; give"),
    ({"v": torch.zeros(5)}, r"v has shape \[5\]"),
    ({"latents": None}, "latents is None"),
    ({"rand_latents": None, "rand_noise": None}, "lambda_rand is 0.05 but rand_latents is None"),
    ({"hard_latents": None, "hard_noise": None}, "lambda_hard is 0.1 but hard_latents is None"),
    ({"reference": None}, "lambda_anc is 0.2 but reference is None"),
    ({"rand_latents": None, "lambda_rand": 0.0}, "rand_noise is given but rand_latents is None"),
    (
        {"rand_noise": None},
        r"rand_noise must be drawn but noise_key is None; give noise_key, int64 \[2, 2\]",
    ),
    ({"noise": None}, "noise must be drawn but noise_key is None"),
    ({"noise_key": torch.zeros(2, 2)}, r"noise_key is torch.float32 \[2, 2\] on cpu; give int64"),
    ({"noise_key": noise.keys(0, 0, [1])}, r"noise_key is torch.int64 \[1, 2\]"),
    ({"noise_key": 7}, "noise_key is int"),
    (
        {"weight": torch.ones(2, 3)},
        r"weight is torch.float32 \[2, 3\] on cpu; give a float32 tensor \[2\]",
    ),
    ({"weight": torch.ones(2, dtype=torch.bfloat16)}, "weight is torch.bfloat16"),
    ({"weight": 1.0}, "weight is float"),
    ({"weight": torch.ones(2, requires_grad=True)}, "weight requires grad"),
    ({"lambda_anc": NAN}, "lambda_anc is nan; give a finite number"),
    ({"sigma_dot": float("inf")}, "sigma_dot is inf"),
    ({"lambda_rand": "0.1"}, "lambda_rand is str; give a number"),
    ({"threshold": NAN}, "threshold is nan"),
    ({"threshold": 0.0}, "threshold is 0.0; use a positive number"),
    (
        {"lambda_hard": 1.2},
        r"1 - lambda_rand - lambda_hard \+ lambda_anc is -0.05 and the loss not convex",
    ),
    ({"negative_noise": "none"}, "negative_noise is 'none'; use 'sampled' or 'marginal'"),
]


@pytest.mark.parametrize("backend", ["auto", "eager", "cpp", "triton", "cuda"])
@pytest.mark.parametrize("change, message", BAD, ids=[message[:24] for _, message in BAD])
def test_refused_alike_by_every_backend(change, message, backend):
    (v, latents, eps), named = case((2, 3, 4))
    arguments = {"v": v, "latents": latents, "noise": eps, **named} | change
    with pytest.raises(UserError, match=message):
        velocity_loss(**arguments, backend=backend)
