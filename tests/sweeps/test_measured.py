"""Tables S4 and S6 from known readings: statistics over steps, ranks, claims, formats."""

from dataclasses import replace

import fake
import numpy as np
import pytest

from direct.common.files import write_json
from direct.config import Run
from direct.identity import canonical
from direct.profiles import profile
from direct.settings import override, with_values
from sweeps import cell, claims, readings, results, tables
from sweeps.ablations import ABLATIONS
from sweeps.claims import CONTRADICTED, REPRODUCED, UNRESOLVED
from sweeps.queue.estimate import _units
from sweeps.report import layout, measured_plots, page
from sweeps.report.text import csv, latex, markdown, provenance
from sweeps.schema import ALL_ROWS, cells

BASE = override(profile("tiny"))
S4, S6 = ABLATIONS["cost"], ABLATIONS["alignment"]
SAMPLERS = {"random": 0.3, "mans": -0.2, "mins": 0.1, "mans_marginal": 0.9}  # mean cosines
PROP = {"same": -0.05, "other": 0.02, "hard": -0.04}  # mean a


def gradients(rng, steps=40):
    """Readings whose every statistic is known: MaNS deviates half as much as random negatives."""
    noise = rng.normal(size=steps)
    found = {}
    for kind, mean in SAMPLERS.items():
        found[f"{kind}.telemetry"] = 0.1 * noise
        found[f"{kind}.cosine"] = mean + (0.1 if kind == "mans" else 0.2) * noise
    for kind in (*SAMPLERS, *PROP):
        found[f"{kind}.a"] = PROP.get(kind, 0.0) + 0.01 * rng.normal(size=steps)
        found[f"{kind}.delta"], found[f"{kind}.delta_x"] = 3 + 0 * noise, 1 + 0 * noise
    return found


def seconds(rng, steps=12):
    """DiReCT's iterations last 1 % longer than SFT's, on a machine that drifts."""
    drift = 1 + 0.2 * rng.random(steps)
    found = {}
    for kind, whole, memory in (("fm", 0.7, 0.04), ("sft", 1.0, 0.05), ("direct", 1.01, 0.07)):
        found[f"{kind}.seconds_per_iteration"] = whole * drift
        found[f"{kind}.memory_gb"] = np.full(steps, memory)
        for part in ("data", "forward", "reference", "loss", "backward", "update"):
            found[f"{kind}.{part}"] = whole / 6 * drift
    return found


def built(table, make, seeds=None, label="step"):
    planned = cells(table, BASE, seeds or table.seeds)
    found = {}
    for i, one in enumerate(planned):
        scores = make(np.random.default_rng(i))
        steps = len(next(iter(scores.values())))
        found[one.id] = {
            "cell": one.id,
            "config": {"seed": one.config.seed},
            "status": "done",
            "prompts": [f"{label} {p:04d}" for p in range(steps)],
            "scores": {name: values.tolist() for name, values in scores.items()},
            "provenance": {
                "commit": "abc",
                "device": "a processor",
                "parameters": 1_240_000,
                "step_ratio": {"with_anchor": 2.0},
            },
            "samples": {
                f"{kind}.{what}": [[0.5, None, 0.25]] * steps
                for kind in PROP
                for what in ("a", "delta_x")
            },
        }
    return tables.build(table, planned, found)


def value(table, label, metric):
    return next(x for x in table.lines if x.row.label == label).values[metric]


def test_jackknife_is_exact_where_the_answer_is_known():
    x = np.random.default_rng(0).normal(size=25)
    np.testing.assert_allclose(readings.jackknife(np.mean, x), x)  # of a mean: the values
    variance = readings.jackknife(np.var, x)  # population variance: the bias is removed exactly
    assert variance.mean() == pytest.approx(x.var(ddof=1))
    r = readings.jackknife(readings.correlation, x, 3 * x + 1)
    np.testing.assert_allclose(r, 1)
    assert readings.correlation(x, np.ones(25)) == 0 and readings.deviation(x[:1]) == 0


def test_the_jackknifes_interval_of_a_deviation_covers():
    """2,000 normal samples of 60: the true deviation lies within 1.96 errors about 95 %."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(2000):
        x = rng.normal(size=60)  # leave-one-out variances in closed form, as an independent way
        n, mean = 60, x.mean()
        left = np.sqrt(((x - mean) ** 2).sum() - n / (n - 1) * (x - mean) ** 2) / np.sqrt(n - 2)
        s = x.std(ddof=1)
        pseudo = n * s - (n - 1) * left
        inside += abs(pseudo.mean() - 1) < 1.96 * pseudo.std(ddof=1) / n**0.5
    np.testing.assert_allclose(readings.jackknife(readings.deviation, x), pseudo)
    assert 0.90 < inside / 2000 < 0.97


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


def test_table_s6_holds_what_was_put_in():
    table = built(S6, gradients)
    for label, kind in (("ΔFM (random neg.)", "random"), ("DiReCT-MaNS (ours)", "mans")):
        made = [gradients(np.random.default_rng(i))[f"{kind}.cosine"] for i in range(3)]
        assert value(table, label, "cosine").mean.mean == pytest.approx(np.mean(made))
        expected = np.mean([x.std(ddof=1) for x in made])
        assert value(table, label, "deviation").mean.mean == pytest.approx(expected, rel=0.02)
        assert value(table, label, "correlation").mean.mean == pytest.approx(1)
        assert value(table, label, "cosine").scores.matrix.shape == (3, 40)
    marginal = value(table, "MaNS, marginal noise (not comparable)", "cosine")
    assert marginal.difference is None, "never compared across noises"
    text = markdown(table)
    assert "**" not in text.split("## ")[1] and "<u>" not in text, "nothing is ranked"
    assert "n = 3 training seeds × 40 steps" in text and "| 0.12 | 0.21 |" in text
    assert "not of its negative" in text and "VideoPhy" not in text and "judge" not in text
    assert '"with_anchor": 2.0' in provenance(table)


def test_claims_on_readings_that_bear_them_out_and_that_refute_them():
    def verdicts(table):
        return {
            x.claim.name: x.verdict
            for x in claims.verdicts({table.ablation.name: table})
            if x.claim.sweep == table.ablation.name
        }

    assert set(verdicts(built(S6, gradients)).values()) == {REPRODUCED}

    def reversed_(rng):
        found = gradients(rng)
        swapped = {"random": "mans", "mans": "random", "same": "other", "other": "same"}
        return {
            ".".join([swapped.get(kind, kind), reading]): values
            for name, values in found.items()
            for kind, reading in [name.split(".")]
        }

    assert verdicts(built(S6, reversed_)) == {
        "cosine-random": CONTRADICTED,
        "cosine-mans": CONTRADICTED,
        "cosine-deviation": CONTRADICTED,
        "proposition-1": CONTRADICTED,
    }
    found = verdicts(built(S4, seconds, label="block"))
    assert found == {"cost-time": REPRODUCED, "cost-memory": REPRODUCED}

    def slower(rng):
        found = seconds(rng)
        return found | {"direct.seconds_per_iteration": 1.1 * found["sft.seconds_per_iteration"]}

    assert verdicts(built(S4, slower))["cost-time"] == CONTRADICTED

    def unsteady(rng):
        found = seconds(rng)
        return found | {"direct.seconds_per_iteration": 0.5 + rng.random(12)}

    assert verdicts(built(S4, unsteady))["cost-time"] == UNRESOLVED


def test_table_s4_ranks_the_lowest_first():
    table = built(S4, seconds, label="block")
    assert value(table, "flow matching alone", "memory_gb").best
    assert value(table, "SFT", "memory_gb").second and not value(table, "SFT", "memory_gb").best
    assert not any(value(table, "SFT", part).best for part in ("forward", "data"))
    change = value(table, "DiReCT", "seconds_per_iteration").difference
    assert change.low > 0 and change.mean == pytest.approx(0.011, rel=0.05), "paired by block"
    text = markdown(table)
    assert "Time (s/iter) ↓" in text and "Mem. (GB) ↓" in text and "↑" not in text
    assert "| 23.29 | 4.94 |" in text and "a processor" in text and "1,240,000 parameters" in text


@pytest.mark.parametrize(("table", "make"), [(S4, seconds), (S6, gradients)])
def test_every_format_whole_and_empty(table, make):
    empty = tables.build(table, cells(table, BASE, table.seeds), {})
    for found in (built(table, make), empty):
        svg = measured_plots.svg(found)
        assert svg == measured_plots.svg(found) and "</svg>" in svg
        assert table.title in page.html(found, svg).replace("&lt;", "<")
        assert csv(found).count("\n") == 1 + len(table.rows) * len(table.metrics)
        assert r"\bottomrule" in latex(found)
        assert found.judge == "measured, tiny"
    assert "Incomplete" in layout.caption(empty)


def test_the_plots_samples_leave_out_what_is_not_contrasted():
    table = built(S6, gradients)
    pairs = measured_plots.samples(table, "same")
    assert pairs.shape == (3 * 40 * 2, 2), "None in every third place"
    assert measured_plots.samples(replace(table, samples=()), "same").shape == (0, 2)


def test_measured_steps_are_several_steps_of_training():
    config = with_values(BASE, {"measure.kind": "alignment", "measure.steps": 10})
    assert _units(config) == {"train": 40, "generate": 0, "judge": 0}
    config = with_values(BASE, {"measure.kind": "cost", "measure.iterations": 10})
    assert _units(config)["train"] == 30


def test_what_a_measurement_says_beside_its_scores_is_in_its_result(tmp_path, monkeypatch):
    config = cells(S6, BASE, (0,))[0].config
    run = tmp_path / cells(S6, BASE, (0,))[0].id

    def measure(run):
        write_json(
            run.folder / "details.json",
            {"samples": {"same.a": [[1.0]]}, "provenance": {"step_ratio": {"with_anchor": 2.0}}},
        )
        return [{"prompt": "step 0001", "caption": "", "scores": {"mans.cosine": 0.5}}]

    monkeypatch.setattr(cell, "provenance", lambda config, stages: {"commit": "abc"})
    stages = replace(fake.STAGES, measure=measure)
    result = cell.run_cell(Run(config, tmp_path, run), stages)
    assert result == cell.read_result(run), "whole, its checksum right"
    assert result["samples"] == {"same.a": [[1.0]]}
    assert result["provenance"] == {"commit": "abc", "step_ratio": {"with_anchor": 2.0}}
    assert results.frame({run.name: result}).metric.tolist() == ["mans.cosine"]
