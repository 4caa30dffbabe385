"""DiReCT: contrastive post-training of flow-matching video models.

`from direct import velocity_loss` is the fused loss (Eq. 6). Nothing heavy is imported before use.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .velocity_loss import velocity_loss as velocity_loss


class _Package(types.ModuleType):
    """`direct.velocity_loss` is the function, though the folder it lives in bears the same name.

    A property outranks the attribute that the import system sets once a subpackage is loaded.
    """

    @property
    def velocity_loss(self):
        from .velocity_loss import velocity_loss

        return velocity_loss

    @velocity_loss.setter
    def velocity_loss(self, subpackage):
        pass  # the import system, binding the folder


sys.modules[__name__].__class__ = _Package
