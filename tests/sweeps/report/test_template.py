"""Templates: nothing left out in silence, all text escaped, and all of them installed with us."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from made_up import EVIL

from sweeps.report import template
from sweeps.report.claims import KINDS
from sweeps.report.page import Section

ROOT = Path(__file__).parents[3]

HOSTILE = EVIL + """'"><img src=x onerror=alert(1)></svg></style>"""


def run(program):
    """What a fresh Python prints in the project's root."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError, match="'cells' is undefined"):
        template.fill("provenance.html", provenance=[])
    with pytest.raises(UndefinedError, match="no attribute 'counts'"):
        template.fill("claims.html", claims=[{"title": "x", "rows": []}], kinds=KINDS, shown=5)
    with pytest.raises(UndefinedError, match="no attribute 'summary'"):
        template.fill("table.html", title="x", scripted=False, section={"title": "x"})


def test_text_from_outside_is_text_in_elements_and_in_attributes():
    section = Section("own", HOSTILE, HOSTILE, drawing='<svg id="a"></svg>', notes=(HOSTILE,))
    pages = [
        template.fill("table.html", title=HOSTILE, scripted=True, section=section, clips=None),
        template.fill("provenance.html", provenance=[(HOSTILE, [HOSTILE] * 2)], cells=[HOSTILE]),
        template.fill(
            "claims.html",
            claims=[
                {
                    "title": HOSTILE,
                    "counts": HOSTILE,
                    "explanation": HOSTILE,
                    "heads": [HOSTILE] * 5,
                    "rows": [("open", [HOSTILE] * 3, [HOSTILE] * 9, HOSTILE)],
                }
            ],
            kinds=KINDS,
            shown=5,
        ),
    ]
    for text in pages:
        assert "&lt;script&gt;" in text
        assert not re.search(r"<script>alert|<img|\x1b|\u202e", text)
        labels = re.findall(r'aria-label="([^"]*)"', text)
        assert all("<" not in label and "'" not in label for label in labels)


def test_no_template_turns_the_escaping_off():
    assert template.environment().autoescape is True
    for path in template.FOLDER.iterdir():
        if path.suffix in (".html", ".svg"):
            found = re.findall(r"\|\s*safe\b|autoescape|Markup", path.read_text())
            assert not found, f"{path.name} has {found}"
    marked = {
        path.name
        for path in (ROOT / "sweeps").rglob("*.py")
        if re.search(r"\bMarkup\(", path.read_text())
    }
    assert marked == {"template.py", "drawing.py"}, "our sheet and script, our plots"


@pytest.mark.slow
def test_installed_with_the_package():
    program = """if True:
        import json
        from setuptools import Distribution
        made = Distribution()
        made.parse_config_files()
        build = made.get_command_obj("build_py")
        build.ensure_finalized()
        found = build.get_data_files_without_manifest()
        print(json.dumps([f"{folder}/{name}" for _, folder, _, names in found for name in names]))
    """
    built = {(ROOT / name).name for name in json.loads(run(program)) if "report/templates" in name}
    assert built == {path.name for path in template.FOLDER.iterdir()}
    assert {"document.html", "page.css", "page.js", "filmstrip.svg"} <= built


@pytest.mark.slow
def test_commands_that_write_no_page_do_not_wait_for_jinja():
    assert run("import sys, sweeps.run; print('jinja2' in sys.modules)") == "False\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1.0, "1"), (1.006, "1.01"), (2.5, "2.5"), (-0.25, "-0.25"), (100, "100")],
)
def test_a_coordinate_has_at_most_two_decimals(value, text):
    assert template.number(value) == text


def test_a_policy_admits_exactly_one_text():
    """The vector of RFC 6234: SHA-256 of `abc`."""
    digest = bytes.fromhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    assert template._source("abc") == "sha256-" + base64.b64encode(digest).decode()
