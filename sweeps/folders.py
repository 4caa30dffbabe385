"""The commands about what is there, which run nothing: status, list, export, import, fsck."""

from __future__ import annotations

import argparse
from pathlib import Path

from direct.common.errors import UserError
from direct.config import Config

from . import archive
from .experiments import recorded
from .planning import known
from .queue import waiting
from .queue.status import entry, state_line
from .results import folder

FILES = ("export", "import", "fsck")


def show_status(options: argparse.Namespace, base: Config) -> int:
    root = folder(base.profile, Path(options.out))
    found, faults = known(options, base, root)
    width = max(len(experiment.name) for experiment in found)
    lines = [state_line(experiment, root, width) for experiment in found]
    print("\n".join([*lines, *faults]))
    return 0


def show_list(options: argparse.Namespace, base: Config) -> int:
    out = Path(options.out)
    root = folder(base.profile, out)
    found, faults = recorded(root)
    print("\n\n".join([*(entry(experiment, root, out) for experiment in found), *faults]))
    if not found and not faults:
        print(f"no experiment has been run below {root}; run one, as: lambda_hard")
    return 0


def files(options: argparse.Namespace, base: Config) -> int:
    """The commands in FILES."""
    out = Path(options.out)
    root = folder(base.profile, out)
    if options.sweep == "fsck":
        no_file(options)
        cache = out / "cache" / base.profile
        checked, wrong = archive.fsck(root, cache)
        if not checked:
            raise UserError(
                f"neither {root} nor {cache} holds anything to check; give another --out"
            )
        print("\n".join([*wrong, f"{checked} files checked, {len(wrong)} wrong"]))
        return 1 if wrong else 0
    if options.file is None:
        raise UserError(f"{options.sweep} needs a file; write: {options.sweep} results.tar.gz")
    with waiting.planner(root):
        if options.sweep == "export":
            results, noted = archive.export(root, base.profile, Path(options.file))
            print(f"{results} results and {noted} experiments exported")
        else:
            taken = archive.take(root, base.profile, Path(options.file))
            print(f"{taken.new} results imported, {taken.known} were here already")
            print(f"{taken.experiments} experiments noted; python -m sweeps.run list shows them")
            for name in taken.kept:
                print(f"{name} was asked for otherwise here, and stays as it is here")
    return 0


def no_file(options: argparse.Namespace) -> None:
    """Refuses a file that the command would not read."""
    if options.file is not None:
        raise UserError(f"{options.sweep} takes no file, and got {options.file}")
