"""A table's cells: one per configuration and seed, shared where nothing that matters differs."""

import pytest
from made_up_readings import BASE, S4, S6

from direct.identity import canonical
from direct.settings import with_values
from sweeps import paper
from sweeps.ablations import ABLATIONS
from sweeps.schema import ALL_ROWS, METRICS, Ablation, Row, cells, plane, side_by_side, union


def test_an_added_seed_or_setting_adds_only_its_cells():
    table = ABLATIONS["lambda_hard"]
    few, more = ({c.id for c in cells(table, BASE, seeds)} for seeds in ((0, 1), (0, 1, 2)))
    assert few < more and len(more - few) == len(table.rows)


def test_one_cell_per_seed_holds_all_rows():
    assert [cell.row for cell in cells(S6, BASE, (0, 1, 2))] == [ALL_ROWS] * 3
    assert len(cells(S4, BASE, S4.seeds)) == 1
    scores = {
        cell.id
        for table in ABLATIONS.values()
        if not table.measured
        for cell in cells(table, BASE, (0,))
    }
    assert scores.isdisjoint(cell.id for table in (S4, S6) for cell in cells(table, BASE, (0,)))


def test_settings_that_do_not_matter_make_no_other_cell():
    def same(kind, **values):
        base = with_values(BASE, {"measure.kind": kind})
        changed = with_values(base, {k.replace("__", "."): v for k, v in values.items()})
        return canonical(base) == canonical(changed)

    assert same("scores", measure__steps=7, measure__iterations=7)
    assert same(
        "alignment",
        evaluate__prompts=7,
        sample__steps=3,
        train__steps=7,
        measure__iterations=7,
        loss__negative_noise="marginal",
    )
    assert same("cost", evaluate__prompts=7, measure__steps=7, data__clips=100, micro__keep=1)
    assert not same("alignment", measure__steps=7) and not same("cost", measure__iterations=7)
    assert not same("alignment", micro__keep=1) and not same("cost", train__batch=4)


def table(*rows, **more):
    return Ablation("own", "Own", "A table", "weights", rows, "one", (), **more)


def test_cells_are_seed_by_seed_and_rows_of_one_configuration_keep_their_labels():
    rows = (Row("one", {}), Row("same", {}), Row("two", {"loss.lambda_hard": 0.5}))
    found = cells(table(*rows), BASE, (3, 1))
    assert [(cell.config.seed, cell.row) for cell in found] == [
        (seed, label) for seed in (3, 1) for label in ("one", "same", "two")
    ]
    assert found[0].id == found[1].id != found[2].id
    assert len({cell.id for cell in found}) == 4


@pytest.mark.parametrize(
    ("workers", "order"),
    [
        (1, "0a 0b 0c 1a 1b 1c 2a 2b 2c"),
        (2, "0a 1a 0b 1b 0c 1c 2a 2b 2c"),  # a whole table of two seeds comes first
        (3, "0a 1a 2a 0b 1b 2b 0c 1c 2c"),
        (10**9, "0a 1a 2a 0b 1b 2b 0c 1c 2c"),
    ],
)
def test_workers_begin_on_different_seeds(workers, order):
    weights = {"a": 0.1, "b": 0.2, "c": 0.3}
    rows = [Row(name, {"loss.lambda_hard": weight}) for name, weight in weights.items()]
    planned = cells(table(*rows), BASE, (0, 1, 2))
    found = [f"{cell.config.seed}{cell.row}" for cell in side_by_side(planned, workers)]
    assert found == order.split()


def test_a_rows_own_settings_come_before_the_tables_and_those_before_the_bases():
    rows = (Row("one", {"loss.lambda_hard": 0.3}), Row("two", {}))
    common = {"loss.lambda_hard": 0.2, "loss.lambda_anc": 0.7}
    one, two = cells(table(*rows, common=common), BASE, (0,))
    assert (one.config.loss.lambda_hard, two.config.loss.lambda_hard) == (0.3, 0.2)
    assert one.config.loss.lambda_anc == two.config.loss.lambda_anc == 0.7


def test_a_row_of_another_profile_has_no_cells():
    rows = (Row("one", {}), Row("peer", {}, profile="wan2.1-t2v-1.3b"))
    assert [cell.row for cell in cells(table(*rows), BASE, (0,))] == ["one"]


@pytest.mark.parametrize(
    ("name", "place", "file"),
    [("S3", "Table S3", "table_s3"), ("Figure 6", "Figure 6", "figure_6")],
)
def test_a_table_is_called_and_filed_by_its_number(name, place, file):
    own = Ablation("own", name, "", "", (), "", ())
    assert (own.place, own.file) == (place, file)
    assert own.published == paper.TABLES.get(name, {})


def test_a_partner_is_the_baseline_unless_the_row_names_another():
    own = table(Row("one", {}), Row("two", {}), Row("three", {}, against="two"))
    assert [own.partner(row.label) for row in own.rows] == ["one", "one", "two"]
    with pytest.raises(StopIteration):
        own.partner("none")


def test_one_queue_of_several_tables_has_all_their_rows():
    one, other = table(Row("one", {})), table(Row("two", {}))
    assert [row.label for row in union([one, other]).rows] == ["one", "two"]
    assert union([one, other]).contrasts == ()


def test_an_arrow_says_which_way_is_better():
    heads = [METRICS[name].head for name in ("PC", "memory_gb", "cosine")]
    assert heads == ["PC ↑", "Mem. (GB) ↓", "cosine"]


def test_metrics_of_a_judge_that_is_loaded_are_known(plugged):
    assert "similarity" not in METRICS
    with pytest.raises(KeyError):
        METRICS["similarity"]
    plugged(
        "ours = plugins.Score('Sim.', scale=10, better=-1)\n\n\n"
        "@plugins.judge(similarity=ours, SA=ours)\n"
        "def eye():\n    return None\n"
    )
    own = METRICS["similarity"]
    assert (own.head, own.scale, own.decimals, own.group) == ("Sim. ↓", 10, 2, "eye")
    assert "similarity" in METRICS and METRICS["SA"].title == "SA", "ours stay"


def test_the_plane_of_rows_is_what_differs_between_them():
    rows = (
        Row("a", {"x": 1, "y": 3, "z": 0}),
        Row("b", {"x": 2, "y": 3, "z": 0}),
        Row("c", {"x": 1, "z": 0}),
    )
    assert plane(rows) == {"x": [1, 2], "y": [3, None]}
    assert plane(rows[:1]) == {}
