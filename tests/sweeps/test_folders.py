"""The commands that only show or carry what is there, by what they print and leave."""

import pytest
from made_up import BASE, S3

from direct.common.errors import UserError
from direct.common.files import digest, write_json
from direct.identity import identity, named
from sweeps.ablations import ABLATIONS
from sweeps.cell import SCHEMA
from sweeps.experiments import Experiment, remember
from sweeps.folders import FILES, files, no_file, show_list, show_status
from sweeps.options import base_of, options_of
from sweeps.schema import cells


def told(capsys, command, *arguments):
    """The status and the lines of `python -m sweeps.run ARGUMENTS`."""
    options = options_of(list(arguments))
    status = command(options, base_of(options))
    return status, capsys.readouterr().out.splitlines()


@pytest.fixture
def here(tmp_path):
    """A folder with one experiment of one seed, all of whose cells are done."""
    root, planned = tmp_path / "here/runs/tiny", cells(S3, BASE, (0,))
    remember(Experiment("mine", S3, tuple(planned), BASE), root)
    for cell in planned:
        result = {"schema": SCHEMA, "cell": identity(cell.config), "config": named(cell.config)}
        result |= {"status": "done", "prompts": ["p"], "captions": ["c"], "scores": {"PC": [0.5]}}
        result |= {"provenance": {"commit": "abc"}}
        result["checksum"] = digest(result, 64)
        write_json(root / cell.id / "result.json", result)
        write_json(root / cell.id / "config.json", named(cell.config))
    return tmp_path / "here"


def test_where_nothing_was_run_each_sweep_has_a_line(tmp_path, capsys):
    status, lines = told(capsys, show_list, "list", "--out", str(tmp_path))
    assert status == 0 and lines[-1].startswith("no experiment has been run below ")
    status, lines = told(capsys, show_status, "status", "--out", str(tmp_path))
    assert status == 0 and [line.split()[0] for line in lines] == list(ABLATIONS)


def test_what_was_run_is_shown(here, capsys):
    status, lines = told(capsys, show_list, "list", "--out", str(here))
    assert status == 0 and any(line.startswith("mine") for line in lines)
    status, lines = told(capsys, show_status, "status", "--out", str(here))
    assert status == 0 and any(line.startswith("mine ") for line in lines)


def test_results_go_to_another_folder_and_damage_is_found(here, tmp_path, capsys):
    archive, there = str(tmp_path / "results.tar.gz"), tmp_path / "there"
    status, lines = told(capsys, files, "export", archive, "--out", str(here))
    assert status == 0 and lines == ["4 results and 1 experiments exported"]
    for new, known in ((4, 0), (0, 4)):
        status, lines = told(capsys, files, "import", archive, "--out", str(there))
        assert status == 0 and lines[0] == f"{new} results imported, {known} were here already"
    assert told(capsys, files, "fsck", "--out", str(there)) == (0, ["8 files checked, 0 wrong"])
    next(there.glob("runs/tiny/*/result.json")).write_text("{}")
    status, lines = told(capsys, files, "fsck", "--out", str(there))
    assert status == 1 and lines[-1] == "8 files checked, 1 wrong"


def test_a_file_is_asked_for_and_refused():
    for name in FILES:
        wrong = "takes no file, and got x" if name == "fsck" else "needs a file; write: "
        options = options_of([name, "x"] if name == "fsck" else [name])
        with pytest.raises(UserError, match=f"{name} {wrong}"):
            files(options, BASE)
    with pytest.raises(UserError, match="status takes no file, and got x"):
        no_file(options_of(["status", "x"]))
