"""Tests are found by path: those of direct/train/loop.py are in tests/direct/train/test_loop.py."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("direct", "sweeps")
UNTESTED = {  # modules that need no test file of their own, and why
    "direct/plan.py": "keeps a command's name",
    "direct/peers.py": "keeps a command's name",
    "direct/velocity_loss.py": "keeps a command's name",
}
CROSSING = {  # files of tests that are about more than one module
    "direct/test_theory.py": "training reaches what docs/theory.md says",
    "direct/test_drop_in.py": "the lines of docs/method.md, executed",
    "direct/test_gain_at_sampling.py": "a gain, from its settings to a cell's clips",
    "direct/loss/test_nonfinite.py": "one count, by every backend",
    "sweeps/test_afforded.py": "the plan's numbers of cells are the tables'",
    "sweeps/test_robust.py": "kills, full disks and slow machines, of whole sweeps",
    "sweeps/queue/test_postgresql.py": "a study on another storage",
    "sweeps/queue/test_shared_folder.py": "what the queue asks of a file system, also of NFS",
    "sweeps/queue/test_two_hosts.py": "a sweep of two hosts, and a link that is cut",
    "sweeps/report/test_browser.py": "the page in a browser",
    "sweeps/report/test_formats.py": "one table in each format",
}
PARTS = {"test_main": "__main__", "test_init": "__init__", "test_package": "__init__"}


def modules(root: Path) -> set[str]:
    """Every file of the two packages that is to have tests, as a path in the repository."""
    found = {path for package in PACKAGES for path in (root / package).rglob("*.py")}
    named = {path for path in found if not path.name.startswith("__")}
    return {path.relative_to(root).as_posix() for path in named} - set(UNTESTED)


def written(root: Path) -> set[str]:
    """Every file of tests of the two packages, as a path in tests/."""
    found = {path for package in PACKAGES for path in (root / "tests" / package).rglob("test_*.py")}
    return {path.relative_to(root / "tests").as_posix() for path in found}


def place(module: str) -> str:
    """direct/train/loop.py -> direct/train/test_loop.py"""
    path = Path(module)
    return path.with_name(f"test_{path.name}").as_posix()


def subject(test: str) -> str:
    """direct/train/test_loop.py -> direct/train/loop.py"""
    path = Path(test)
    name = PARTS.get(path.stem, path.stem.removeprefix("test_"))
    return path.with_name(f"{name}.py").as_posix()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_tests_at_its_place(package):
    wanted = {place(module) for module in modules(ROOT) if module.startswith(f"{package}/")}
    assert not sorted(wanted - written(ROOT))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_of_tests_is_at_a_modules_place(package):
    own = {test for test in written(ROOT) if test.startswith(f"{package}/")} - set(CROSSING)
    assert not sorted(test for test in own if not (ROOT / subject(test)).is_file())


def test_exceptions_are_still_there_and_still_needed():
    gone = {name for name in UNTESTED if not (ROOT / name).is_file()}
    gone |= {name for name in CROSSING if not (ROOT / "tests" / name).is_file()}
    tested = {name for name in UNTESTED if (ROOT / "tests" / place(name)).is_file()}
    mirrored = {name for name in CROSSING if (ROOT / subject(name)).is_file()}
    assert not gone | tested | mirrored


def test_the_rule_sees_what_breaks_it(tmp_path):
    for name in ("direct/a/b.py", "direct/a/__init__.py", "sweeps/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("tests/direct/a/test_b.py", "tests/direct/test_b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert modules(tmp_path) == {"direct/a/b.py", "sweeps/c.py"}
    assert {place(module) for module in modules(tmp_path)} - written(tmp_path) == {
        "sweeps/test_c.py"
    }
    moved = [test for test in written(tmp_path) if not (tmp_path / subject(test)).is_file()]
    assert moved == ["direct/test_b.py"]
    assert subject("direct/train/test_main.py") == "direct/train/__main__.py"
