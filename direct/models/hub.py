"""What a pipeline's name means: the weights in this package, a folder, or a commit on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from ..common.errors import UserError

PACKAGED = Path(__file__).parent.parent / "weights" / "tiny"


def located(name: str) -> tuple[str, str | None]:
    """The folder of "tiny" or of a path; or the hub id and the commit of owner/name@commit.

    What is made from a model is found again by its name, so a name on the hub says which commit:
    a branch would mean other weights one day.
    """
    folder = PACKAGED if name == "tiny" else Path(name)
    if folder.is_dir():
        return str(folder), None
    if name == "tiny":
        raise UserError(f"model.pipeline=tiny: {PACKAGED} is missing; install the package again")
    hub_id, _, commit = name.partition("@")
    if name.startswith((".", "/", "~")) or hub_id.count("/") != 1:
        raise UserError(
            f"model.pipeline={name} is not 'tiny', a folder or a hub id (owner/name@commit); "
            "check it"
        )
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise UserError(
            f"model.pipeline={name} does not say which commit of the hub's repository; write "
            f"{hub_id}@ and the 40 digits that its page shows (huggingface_hub.model_info().sha)"
        )
    return hub_id, commit
