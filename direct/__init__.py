"""DiReCT: contrastive post-training of flow-matching video models.

`from direct import velocity_loss` is the fused loss (Eq. 6). Nothing heavy is imported before use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .loss import velocity_loss as velocity_loss


def __getattr__(name: str) -> Any:
    """`direct.velocity_loss`, whose import takes torch with it (PEP 562)."""
    if name == "velocity_loss":
        from .loss import velocity_loss

        return velocity_loss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
