"""A request to stop soon, as before a job's time limit: what is done is saved for a later run.

The signal's handler only notes it. Training looks at it between two steps, saves a checkpoint
and raises `Preempted`; other stages keep what they finished anyway, and `check` between batches.
"""

from __future__ import annotations

import signal

_request: list[int] = []  # no Event: its lock would be held where a second signal interrupts `set`


class Preempted(Exception):
    """The work stopped because it was asked to. Not a failure: run again to resume."""


def listen(*signals: signal.Signals) -> None:
    """Takes these signals as the request. Call it in the main thread."""
    for number in signals:
        signal.signal(number, lambda number, _: _request.append(number))


def requested() -> bool:
    return bool(_request)


def check(elsewhere: bool = False) -> None:
    """Raises `Preempted` if a stop was requested, here or (as the caller knows) elsewhere."""
    if requested() or elsewhere:
        raise Preempted("stopped by a signal; what is finished is kept, run again to go on")
