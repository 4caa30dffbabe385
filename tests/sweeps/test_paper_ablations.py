"""The declared tables: their rows, their cells, and which cells they share."""

from direct.identity import canonical
from direct.profiles import profile
from direct.settings import override, settings
from sweeps.ablations import ABLATIONS
from sweeps.schema import METRICS, cells

BASE = profile("tiny")


def by_row(table, seeds=(0, 1, 2), base=BASE):
    found = {}
    for cell in cells(table, base, seeds):
        found.setdefault(cell.row, []).append(cell)
    return found


def test_declarations_are_whole():
    for table in ABLATIONS.values():
        labels = [row.label for row in table.rows]
        assert len(set(labels)) == len(labels) and table.baseline in (*labels, "")
        assert {row.against for row in table.rows} <= {*labels, ""}
        assert {label for row in table.rows for label in row.best_of} <= set(labels)
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


def test_table_s2_was_run_at_another_lambda_hard():
    assert {
        cell.config.loss.lambda_hard
        for label, row in by_row(ABLATIONS["lambda_rand"]).items()
        if label != "zero-shot"
        for cell in row
    } == {0.01}


def test_the_base_has_a_cell_for_each_seed():
    base = [cell.config for cell in by_row(ABLATIONS["lambda_anc"])["zero-shot"]]
    assert [(c.seed, c.train.steps) for c in base] == [(0, 0), (1, 0), (2, 0)]


def test_cells_that_must_agree_are_one_cell():
    """Table 1's MaNS + MiNS is Table S3's 0.02; its SFT is S1's 0.2; a zero-shot is a zero-shot."""
    one, s1, s3 = (by_row(ABLATIONS[name]) for name in ("sampling", "lambda_anc", "lambda_hard"))
    ids = lambda row: [cell.id for cell in row]  # noqa: E731
    assert ids(one["+ MaNS + MiNS"]) == ids(s3["0.02"])
    assert ids(one["+ MaNS"]) == ids(s3["0 (MaNS only)"])
    assert ids(one["+ SFT"]) == ids(s1["0.2"])
    assert ids(one["Zero-shot"]) == ids(s1["zero-shot"])


def test_only_what_cannot_matter_is_normalised():
    """The learning rate does not touch the base model; the sampler's settings and the seed do."""
    untrained = override(BASE, "train.steps=0")
    same = override(untrained, "train.learning_rate=0.5")
    assert canonical(same) == canonical(untrained)
    for setting in ("sample.guidance=1.5", "evaluate.prompts=7", "threads=2", "seed=7"):
        assert canonical(override(untrained, setting)) != canonical(untrained)
    no_micro = override(BASE, "loss.lambda_hard=0")
    assert canonical(override(no_micro, "micro.keep=1")) == canonical(no_micro)
    assert canonical(override(no_micro, "macro.clusters=8")) != canonical(no_micro)
    assert canonical(override(BASE, "micro.keep=1")) != canonical(BASE)


def test_a_point_along_training_is_a_shorter_cell_of_the_same_run():
    from direct.train import trajectory

    rows, one = by_row(ABLATIONS["dynamics"]), by_row(ABLATIONS["sampling"])
    ids = lambda row: [cell.id for cell in row]  # noqa: E731
    assert ids(rows["SFT, end"]) == ids(one["+ SFT"])
    assert ids(rows["DiReCT, end"]) == ids(one["+ MaNS + MiNS"]), "App. F: only the loss differs"
    steps = {label: row[0].config.train.steps for label, row in rows.items()}
    assert [steps[f"SFT, {part}"] for part in ("fifth", "third", "two thirds", "end")] == [
        30,
        50,
        100,
        150,
    ]
    for curve in ("SFT", "DiReCT"):
        names = {
            trajectory.name(cell.config)
            for label, row in rows.items()
            if label.startswith(curve)
            for cell in row
            if cell.config.seed == 1
        }
        assert len(names) == 1
    paper_scale = by_row(ABLATIONS["dynamics"], base=profile("wan2.1-t2v-1.3b"))
    assert paper_scale["SFT, fifth"][0].config.train.steps == 3000
    assert paper_scale["SFT, third"][0].config.train.steps == 5000, "where SFT is said to saturate"
    short = by_row(ABLATIONS["dynamics"], base=override(BASE, "train.steps=2"))
    assert short["SFT, fifth"][0].config.train.steps == 1, "never the base model"


def test_peers_have_cells_on_their_own_profile_alone():
    sota = ABLATIONS["sota"]
    assert set(by_row(sota)) == {"Wan 2.1-T2V (base)", "DiReCT (ours)"}
    paper_scale = by_row(sota, base=profile("wan2.1-t2v-1.3b"))
    assert {"LTX", "Mochi", "CogVideoX-5B"} <= set(paper_scale) and len(paper_scale["LTX"]) == 3
    assert paper_scale["LTX"][0].config.model.pipeline == "peer:ltx-video"
    one = by_row(ABLATIONS["sampling"])
    assert [c.id for c in by_row(sota)["DiReCT (ours)"]] == [
        c.id for c in one["+ SFT + MaNS + MiNS (DiReCT)"]
    ]
    from direct.models.peers import PEERS as known
    from sweeps.paper_ablations import PEERS

    assert set(PEERS.values()) <= set(known)


def test_partners_are_rows_and_law_exclusion_is_all_that_differs_between_them():
    for table in ABLATIONS.values():
        labels = {row.label for row in table.rows}
        assert all(table.partner(row.label) in labels for row in table.rows)
    clusters = by_row(ABLATIONS["clusters"])
    for K in (8, 16, 32, 64, 128):
        on, off = (clusters[label][0].config for label in (f"{K}", f"{K}, laws not excluded"))
        assert override(on, "macro.exclude_same_law=false") == off and on.macro.exclude_same_law


def test_each_row_beyond_the_paper_changes_one_setting():
    beyond = ABLATIONS["beyond"]
    assert beyond.extra and all(len(row.values) <= 1 for row in beyond.rows)
    rows = by_row(beyond, seeds=(0,))
    assert len({cell.id for row in rows.values() for cell in row}) == len(beyond.rows)
    one = by_row(ABLATIONS["sampling"], seeds=(0,))
    assert rows[beyond.baseline][0].id == one["+ MaNS + MiNS"][0].id


def test_settings_of_negatives_that_are_not_drawn_are_normalised():
    uniform = override(BASE, "macro.sampling=uniform")
    assert canonical(override(uniform, "macro.clusters=8")) == canonical(uniform)
    sft = override(BASE, "loss.lambda_rand=0", "loss.lambda_hard=0")
    assert canonical(override(sft, "loss.negative_noise=marginal")) == canonical(sft)
    assert canonical(override(BASE, "loss.negative_noise=marginal")) != canonical(BASE)
