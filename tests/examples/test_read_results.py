"""The notebook that reads results, executed cell by cell on a small folder of made-up ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from outside import EXAMPLES

from direct.common.files import digest, write_json
from direct.identity import named
from direct.profiles import profile
from direct.settings import override
from sweeps import Ablation, Row, stats
from sweeps.cell import SCHEMA
from sweeps.experiments import Experiment, remember
from sweeps.schema import cells

SOURCES = [
    "".join(cell["source"])
    for cell in json.loads((EXAMPLES / "read_results.ipynb").read_text())["cells"]
    if cell["cell_type"] == "code"
]


@pytest.fixture
def scores(tmp_path):
    """{(row, seed): PC [6]} of an experiment below `tmp_path`; a row has no result yet."""
    base = override(profile("tiny"), "evaluate.prompts=6")
    rows = [Row(str(x), {"loss.lambda_anc": x}) for x in (0.2, 0.1, 0.3, 0.4)]
    table = Ablation("anchor", rows=tuple(rows), baseline="0.2")
    planned = tuple(cells(table, base, (0, 1)))
    remember(Experiment("mine", table, planned, base), tmp_path / "runs/tiny")
    found = {}
    for k, cell in enumerate(planned):
        run = tmp_path / "runs/tiny" / cell.id
        run.mkdir(parents=True)
        (run / "metrics.jsonl").write_text('{"loss":1.5,"step":1}\n{"loss":0.5,"step":2}\n')
        if cell.row == "0.4":
            continue
        found[cell.row, cell.config.seed] = pc = np.random.default_rng(k).random(6)
        result = {
            "schema": SCHEMA,
            "cell": cell.id,
            "config": named(cell.config),
            "status": "done",
            "prompts": [f"p{i}" for i in range(6)],
            "captions": ["c"] * 6,
            "scores": {"PC": pc.tolist(), "SA": (pc / 2).tolist()},
            "provenance": {"commit": "abc"},
        }
        write_json(run / "result.json", result | {"checksum": digest(result, 64)})
    return found


@pytest.mark.slow
def test_the_notebook_reads_any_folder_with_results(scores, tmp_path, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for source in SOURCES:
        exec(compile(source, "read_results.ipynb", "exec"), names)
    told = names["differences"]
    assert list(told.index) == ["0.1", "0.3"], "in the table's order, where there are results"
    for row in told.index:
        d = stats.estimate(np.stack([scores[row, s] - scores["0.2", s] for s in (0, 1)]))
        assert told.loc[row].tolist() == pytest.approx([d.mean, d.low, d.high, d.p])
    assert [line.get_label() for line in names["ax"].lines] == ["0.2", "0.1", "0.3", "0.4"]
    assert names["ax"].lines[0].get_ydata().tolist() == [1.5, 1.0]


def test_without_an_experiment_or_a_score_it_says_so(scores, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(SOURCES[0].replace('"."', '"elsewhere"'), names)
    with pytest.raises(AssertionError, match="no experiment was run below elsewhere"):
        exec(SOURCES[1], names)
    for path in tmp_path.rglob("result.json"):
        path.unlink()
    exec(SOURCES[0], names)
    with pytest.raises(AssertionError, match="mine has no score yet"):
        exec(SOURCES[1], names)


def test_it_is_short():
    lines = [line for source in SOURCES for line in source.splitlines() if line.strip()]
    assert len(lines) <= 40
