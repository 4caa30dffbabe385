"""Clips of every row: chosen by the scores, kept with them, and drawn with their differences."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from made_up import BASE, S3, build, results_of

from direct.common.errors import UserError
from sweeps import tables
from sweeps.report import arms, clips, page, sheet, write
from sweeps.schema import cells

from .galleries import RECORDS

LABELS = [row.label for row in S3.rows]


@pytest.fixture
def stages(monkeypatch):
    """Every row's clips are the world's own films, the baseline's a little darker."""
    results = results_of(S3)
    for result in results.values():
        result["captions"] = [clip.caption for clip in RECORDS]
    darker = {c.id for c in cells(S3, BASE, (0, 1, 2)) if c.row == S3.baseline}

    def decode(run, indices):
        films = np.stack([RECORDS[i].video() for i in indices])
        return films // 2 if run.folder.name in darker else films

    monkeypatch.setattr(arms, "decode", decode)
    monkeypatch.setattr(arms, "result_of", lambda cell, root: results[cell.id])
    monkeypatch.setattr(clips, "read_world", lambda video: ((), ()))
    monkeypatch.setattr(arms, "truth", lambda config, index: None)


def test_every_row_is_shown_on_the_prompts_that_the_rule_chose(stages, tmp_path):
    table = build()
    found = arms.gather(table, tmp_path, tmp_path)
    scores = {x.row.label: x.values["PC"].scores.matrix[0] for x in table.lines}
    lead = S3.contrasts[0][0]
    d = scores[lead] - scores[S3.baseline]
    order = np.argsort(-d, kind="stable")
    chosen = [order[0], order[6], order[-1]]
    records = [RECORDS[int(table.units[i].removeprefix("p"))] for i in chosen]
    assert [x["prompt"] for x in found["examples"]] == [record.caption for record in records]
    for x, record in zip(found["examples"], records, strict=True):
        assert x["clips"][0]["picture"] == clips.picture(record.video())[0]
    for x, i in zip(found["examples"], chosen, strict=True):
        assert [clip["label"] for clip in x["clips"]] == LABELS
        assert [clip["scores"]["PC"] for clip in x["clips"]] == [scores[k][i] for k in LABELS]
        assert x["why"].endswith(f"{lead} minus {S3.baseline}: {100 * d[i]:+.2f}")
    assert found["size"] == (32, 32, 17) and found["base"] == S3.baseline


def test_the_page_has_them_while_the_numbers_are_the_same(stages, tmp_path):
    table = build()
    path = arms.write(table, arms.gather(table, tmp_path, tmp_path), tmp_path)
    assert path.name == "table_s3_clips.json"
    shown = arms.read(table, tmp_path)
    text = page.html(table, "<svg></svg>", shown)
    assert text.count("<image ") == 3 * len(LABELS) and text.count("<script>") == 1
    over = re.findall(r'<use class="minus" href="#([\w-]+)"', text)
    assert len(over) == 3 * (len(LABELS) - 1) and len(set(over)) == 3
    for name in over:  # the baseline's picture, once, under an id of its own
        assert text.count(f'id="{name}"') == 1
    assert len(text) < 60_000 + 1.2 * path.stat().st_size, "no picture stands there twice"
    assert arms.read(build(seeds=(0, 1)), tmp_path) is None, "other numbers"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"base": "other"}))
    assert arms.read(table, tmp_path) is None, "edited"
    assert "<script>" not in page.html(table, "<svg></svg>", None)


@pytest.mark.slow
def test_a_tables_files_take_up_what_lies_beside_them(stages, tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "printed", lambda table, draw: {})
    table = build()
    arms.write(table, arms.gather(table, tmp_path, tmp_path), tmp_path)
    write.write_table(table, tmp_path)
    assert (tmp_path / "table_s3.html").read_text().count("<image ") == 3 * len(LABELS)


def test_many_rows_have_fewer_prompts(stages, tmp_path, monkeypatch):
    monkeypatch.setattr(arms, "MOST", 2 * len(LABELS) + 1)
    assert len(arms.gather(build(), tmp_path, tmp_path)["examples"]) == 2
    monkeypatch.setattr(arms, "MOST", 1)
    (only,) = arms.gather(build(), tmp_path, tmp_path)["examples"]
    assert len(only["clips"]) == len(LABELS), "every row, all the same"


def test_what_cannot_be_shown_is_one_sentence(stages, tmp_path):
    empty = tables.build(S3, cells(S3, BASE, (0,)), {})
    with pytest.raises(UserError, match="no seed with results of its baseline and another row"):
        arms.gather(empty, tmp_path, tmp_path)
    measured = replace(build(), ablation=replace(S3, unit="steps"))
    with pytest.raises(UserError, match="measures training"):
        arms.gather(measured, tmp_path, tmp_path)
