"""The commands of `sweeps`: `python -m sweeps NAME` is `python -m sweeps.run NAME`."""

from __future__ import annotations

import sys

from direct.common.errors import command

from . import run
from .ablations import ABLATIONS
from .report.gallery import ABLATION as GALLERY

VERBS = {
    "all": "every sweep that is not done, then the report",
    "search": "App. C's greedy search, and Optuna's TPE, on validation prompts",
    "list": "what was run: settings, state, where its table is",
    "status": "how far every sweep is",
    "report": "renders tables, claims.md and index.html again",
    "settings": "every setting: name, type, value, meaning",
    "export": "all results as one archive; import takes it",
    "fsck": "checks every result and cached array",
}
OTHERS = {
    "sweeps.power": "how many seeds and prompts a contrast needs",
    "sweeps.coverage": "simulates the intervals and tests (docs/coverage.md)",
}


def main() -> int:
    if len(sys.argv) > 1 and sys.argv[1] not in ("-h", "--help"):
        return run.main()
    tables = [*ABLATIONS.values(), GALLERY]
    print(__doc__, "Options: python -m sweeps.run --help", "", "Sweeps", sep="\n")
    print("\n".join(f"  {x.name:<14} {x.place}: {x.title}" for x in tables))
    print("\nTables of your own: FILE.py, or --grid SETTING=VALUE,VALUE (docs/extend.md)")
    print("\nVerbs\n" + "\n".join(f"  {name:<14} {what}" for name, what in VERBS.items()))
    print("\nOther commands, with python -m")
    print("\n".join(f"  {name:<14} {what}" for name, what in OTHERS.items()))
    return 0


def entry() -> None:
    """The console script."""
    command(main)


if __name__ == "__main__":
    entry()
