"""Every file that a page of this repository links to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    found = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    inside = [link for link in found if not re.match(r"\w+:", link)]
    assert not [link for link in inside if not (page.parent / link).exists()]
