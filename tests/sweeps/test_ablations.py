from direct.config import override, profile, settings
from sweeps.ablations import ABLATIONS, METRICS, canonical, cells

BASE = profile("tiny")


def by_row(table, seeds=(0, 1, 2), base=BASE):
    found = {}
    for cell in cells(table, base, seeds):
        found.setdefault(cell.row, []).append(cell)
    return found


def test_declarations_are_whole():
    for table in ABLATIONS.values():
        labels = [row.label for row in table.rows]
        assert len(set(labels)) == len(labels) and table.baseline in labels
        assert {label for label, _ in table.contrasts} <= set(labels) - {table.baseline}
        assert {metric for _, metric in table.contrasts} <= set(table.metrics) <= set(METRICS)
        known = settings(BASE)
        assert all(name in known for row in table.rows for name in row.values)


def test_lambda_hard_is_table_s3():
    rows = by_row(ABLATIONS["lambda_hard"])
    for label, value in (("0.005", 0.005), ("0.02", 0.02), ("0.1", 0.1)):
        assert [cell.config.seed for cell in rows[label]] == [0, 1, 2]
        for cell in rows[label]:
            loss = cell.config.loss
            assert (loss.lambda_hard, loss.lambda_rand, loss.lambda_anc) == (value, 0.005, 0.2)
    assert len(rows["zero-shot"]) == 1 and rows["zero-shot"][0].config.train.steps == 0


def test_table_s2_was_run_at_another_lambda_hard():
    assert {cell.config.loss.lambda_hard for label, row in by_row(ABLATIONS["lambda_rand"]).items()
            if label != "zero-shot" for cell in row} == {0.01}


def test_cells_that_must_agree_are_one_cell():
    """Table 1's MaNS + MiNS is Table S3's 0.02; its SFT is S1's 0.2; a zero-shot is a zero-shot."""
    one, s1, s3 = (by_row(ABLATIONS[name]) for name in ("sampling", "lambda_anc", "lambda_hard"))
    ids = lambda row: [cell.id for cell in row]  # noqa: E731
    assert ids(one["+ MaNS + MiNS"]) == ids(s3["0.02"])
    assert ids(one["+ MaNS"]) == ids(s3["0 (MaNS only)"])
    assert ids(one["+ SFT"]) == ids(s1["0.2"])
    assert ids(one["Zero-shot"]) == ids(s3["zero-shot"]) == ids(s1["zero-shot"])


def test_only_what_cannot_matter_is_normalised():
    """Learning rate and seed do not touch the base model; the sampler's settings do."""
    untrained = override(BASE, "train.steps=0")
    same = override(override(untrained, "train.learning_rate=0.5"), "seed=7")
    assert canonical(same) == canonical(untrained)
    for setting in ("sample.guidance=1.5", "evaluate.prompts=7", "threads=2"):
        assert canonical(override(untrained, setting)) != canonical(untrained)
    no_micro = override(BASE, "loss.lambda_hard=0")
    assert canonical(override(no_micro, "micro.keep=1")) == canonical(no_micro)
    assert canonical(override(no_micro, "macro.clusters=8")) != canonical(no_micro)
    assert canonical(override(BASE, "micro.keep=1")) != canonical(BASE)


def test_an_added_seed_or_setting_adds_only_its_cells():
    table = ABLATIONS["lambda_hard"]
    few, more = ({c.id for c in cells(table, BASE, seeds)} for seeds in ((0, 1), (0, 1, 2)))
    assert few < more and len(more - few) == len(table.rows) - 1  # zero-shot has no seed

