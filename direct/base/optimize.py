"""What both trainings share: Muon beside AdamW, data parallelism, averaged weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..common import ranks


class Optimizers:
    """Muon for the matrices within a network, AdamW for the rest; one rate for both.

    A convolution's kernel is the matrix [out, in x taps]. On the VAE, Muon needs a third of the
    steps that AdamW needs (docs/log.md).
    """

    def __init__(self, matrices: Iterable[Tensor], every: Iterable[Tensor], rate: float) -> None:
        self.matrices = list(matrices)
        chosen = {id(p) for p in self.matrices}
        self.every = [p for p in every if p.requires_grad]
        rest = [p for p in self.every if id(p) not in chosen]
        self.views = [nn.Parameter(p.detach().flatten(1)) for p in self.matrices]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                self.views, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.99), weight_decay=0.0),
        ]
        self.rate = rate

    def step(self, share: float) -> None:
        """One update at `share` of the rate; gradients are averaged over processes and clipped."""
        average_gradients(self.every)
        nn.utils.clip_grad_norm_(self.every, 1.0)
        for view, p in zip(self.views, self.matrices, strict=True):
            view.grad = None if p.grad is None else p.grad.flatten(1)
        for part in self.parts:
            part.param_groups[0]["lr"] = self.rate * share
            part.step()
        for p in self.every:
            p.grad = None


def average_gradients(parameters: list[Tensor]) -> None:
    """Data parallelism for modules that are not called through their `forward`."""
    if ranks.size() > 1:
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= ranks.size()
        for g, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            g.copy_(part.view_as(g))


@torch.no_grad()
def ema(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights."""
    for a, b in zip(average.parameters(), model.parameters(), strict=True):
        a.lerp_(b, 1 - decay)
