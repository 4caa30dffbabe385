"""A table's cells: one per configuration and seed, shared where nothing that matters differs."""

from made_up_readings import BASE, S4, S6

from direct.identity import canonical
from direct.settings import with_values
from sweeps.ablations import ABLATIONS
from sweeps.schema import ALL_ROWS, cells


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
