"""A gallery and a report, made once for all tests that only read them."""

from dataclasses import replace

import pytest
from made_up import BASE, EVIL, S3, build, results_of

from sweeps import tables
from sweeps.ablations import ABLATIONS
from sweeps.report import gallery, plots, sheet, write
from sweeps.schema import Row, cells

from .galleries import CELLS, made


@pytest.fixture(scope="package")
def found(tmp_path_factory):
    """A gallery of the world's own films."""
    with pytest.MonkeyPatch.context() as patch:
        return gallery.gather(CELLS, *made(patch, tmp_path_factory.mktemp("runs"))[2:])


@pytest.fixture(scope="package")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    built = {}
    for name in ("lambda_hard", "lambda_anc", "clusters"):
        table = ABLATIONS[name]
        results = results_of(table) if name != "clusters" else {}
        built[name] = tables.build(table, cells(table, BASE, (0, 1, 2)), results)
    paths = write.report(built, ["lambda_hard", "lambda_anc"], folder)
    return built, paths, (folder / "index.html").read_text()


@pytest.fixture
def evil():
    rows = (*S3.rows[:2], Row(EVIL, {"loss.lambda_hard": 0.1}), *S3.rows[3:])
    return replace(S3, rows=rows, contrasts=(), title=EVIL)


@pytest.fixture(scope="package")
def drawn():
    """Table S3 and its plot."""
    table = build()
    return table, sheet.svg(table, plots.panels)


@pytest.fixture(scope="package")
def table_s3():
    """Table S3 of made-up results."""
    return build()
