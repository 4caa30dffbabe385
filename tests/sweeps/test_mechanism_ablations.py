"""Our tables about the mechanism: what each row trains and samples, and what they share."""

from dataclasses import replace

import pytest

from direct.identity import canonical
from direct.measure.gain import predicted
from direct.profiles import PROFILES, profile
from direct.settings import override
from direct.train import trajectory
from sweeps import mechanism_ablations as mechanism
from sweeps.ablations import ABLATIONS
from sweeps.mechanism_ablations import AGAIN, GUIDANCE, METHODS, RANDOM, at, best
from sweeps.mechanism_claims import MECHANISM
from sweeps.schema import cells

TINY = profile("tiny")


def rows(name, base=TINY, seeds=(0,)):
    return {cell.row: cell.config for cell in cells(ABLATIONS[name], base, seeds)}


def trainings(name, base=TINY):
    return {
        canonical(cell.config, "training")
        for cell in cells(ABLATIONS[name], base, (0,))
        if cell.config.train.steps
    }


def test_every_method_is_sampled_at_every_guidance_and_trains_with_table_1():
    found = rows("guidance")
    for method in METHODS:
        assert [found[at(g, method)].sample.guidance for g in GUIDANCE] == list(GUIDANCE)
    assert len(trainings("guidance")) == 3, "SFT, contrast, and ten times its weights"
    assert len(trainings("guidance") - trainings("sampling")) == 1
    assert found[at(1, mechanism.BASE)].train.steps == 0
    assert trajectory.name(found[at(5, "SFT")]) == trajectory.name(found[at(1, "SFT")])


@pytest.mark.parametrize("name", PROFILES)
def test_a_gain_without_training_is_the_one_that_theory_predicts(name):
    """T2's s for SFT, T4's a for contrast: together they cancel."""
    found = rows("guidance", profile(name))
    contrast, ten = found[at(1, mechanism.BOTH)], found[at(1, mechanism.TEN)]
    s = found[at(1, mechanism.GAIN)].sample.gain
    assert s == pytest.approx(predicted(contrast), abs=1e-9)
    assert found[at(1, mechanism.TEN_GAIN)].sample.gain == pytest.approx(predicted(ten), abs=1e-9)
    taken = found[at(1, mechanism.CORRECTED)].sample.gain
    assert (1 + s) * (1 + taken) == pytest.approx(1, abs=1e-8)
    loss = found[at(1, mechanism.GAIN)].loss
    assert (loss.lambda_rand, loss.lambda_hard) == (0, 0) and contrast.sample.gain == 0


def test_weights_that_the_user_sets_are_what_rows_are_multiples_of():
    base = override(TINY, "loss.lambda_rand=0.01", "loss.lambda_hard=0")
    found = rows("map", base)
    loss = found[at(1, mechanism.multiple(4))].loss
    assert (loss.lambda_rand, loss.lambda_hard) == (0.04, 0)
    gain = rows("guidance", base)[at(1, mechanism.GAIN)].sample.gain
    assert gain == pytest.approx(0.01 / 1.19, abs=1e-9)


def test_what_is_best_is_chosen_on_validation_prompts_alone():
    for cell in cells(ABLATIONS["guidance"], TINY, (0, 1)):
        evaluate = cell.config.evaluate
        validation = evaluate.split == "validation"
        assert validation == bool(cell.candidate) == cell.row.startswith("best, ")
        assert evaluate.prompts == (64 if validation else TINY.evaluate.prompts)
    small = override(TINY, "evaluate.prompts=12")
    trial = [c for c in cells(ABLATIONS["guidance"], small, (0,)) if c.candidate]
    assert {c.config.evaluate.prompts for c in trial} == {12}
    mine = [c for c in trial if c.row == best("SFT")]
    assert [c.candidate for c in mine] == [at(g, "SFT") for g in GUIDANCE]
    plain = rows("guidance", small)
    for cell in mine:
        judged = replace(cell.config, evaluate=plain[cell.candidate].evaluate)
        assert judged == plain[cell.candidate]


def test_the_map_shares_sft_and_contrast_with_guidance():
    shared = {c.id for c in cells(ABLATIONS["map"], TINY, (0,))}
    shared &= {c.id for c in cells(ABLATIONS["guidance"], TINY, (0,))}
    assert len(shared) == 4 * len(GUIDANCE), "SFT, once and ten times the weights, SFT's choice"
    assert len(trainings("map")) == 5


def test_table_1_without_guidance_is_table_1_and_its_rows_at_005():
    guided, found = rows("sampling"), rows("sampling_unguided")
    for label, config in guided.items():
        assert found[label] == canonical(override(config, "sample.guidance=1"))
    both = found[mechanism.strong("+ MaNS + MiNS")].loss
    assert (both.lambda_rand, both.lambda_hard) == (0.05, 0.05)
    mans = found[mechanism.strong("+ MaNS")]
    assert (mans.loss.lambda_rand, mans.loss.lambda_hard) == (0.05, 0)
    untrained = found[mechanism.UNTRAINED]
    assert untrained.sample.gain == pytest.approx(predicted(mans), abs=1e-9)
    assert replace(untrained, sample=found["+ SFT"].sample) == found["+ SFT"]


def test_controls_differ_by_what_they_are_about():
    found = rows("control")
    assert replace(found[AGAIN], macro=found[RANDOM].macro) == found[RANDOM]
    assert (found[RANDOM].macro.seed, found[AGAIN].macro.seed) == (0, 1)
    assert found[RANDOM] == rows("sampling_unguided")["+ Random negatives (ΔFM), 0.05"]
    assert found["SFT"] == rows("sampling_unguided")["+ SFT"]


def test_every_training_with_negatives_of_the_tables_has_its_gain_measured():
    measured = {canonical(replace(c, measure=TINY.measure)) for c in rows("gain").values()}
    for name in ("sampling", "lambda_rand", "lambda_hard", "clusters", "sampling_unguided"):
        for label, config in rows(name).items():
            if config.train.steps and config.loss.lambda_rand + config.loss.lambda_hard:
                plain = replace(config, sample=TINY.sample, evaluate=TINY.evaluate)
                assert plain in measured, (name, label)
    assert all(c.loss.lambda_rand + c.loss.lambda_hard for c in rows("gain").values())


def test_cheap_negatives_differ_in_their_rendering_alone_and_share_table_1s_trainings():
    found = rows("cheap_negatives")
    full = found[mechanism.FULL]
    for label in mechanism.CHEAP:
        own = found[label]
        loss = replace(own.loss, hard_negative="sampled")
        same = replace(own, render=full.render, hard_sample=full.hard_sample, loss=loss)
        assert same == full and own != full, label
    assert [found[x].hard_sample.steps for x in list(mechanism.CHEAP)[:4]] == [6, 3, 6, 3]
    known = trainings("sampling_unguided")
    assert {full, found[mechanism.NO_HARD]} <= {
        c.config for c in cells(ABLATIONS["sampling_unguided"], TINY, (0,))
    }
    assert len(trainings("cheap_negatives") - known) == len(mechanism.CHEAP)


def test_equivalences_are_tested_again_on_seeds_that_table_1_without_guidance_has_not():
    again, before = ABLATIONS["gain_again"], ABLATIONS["sampling_unguided"]
    assert not set(again.seeds) & set(before.seeds) and len(again.seeds) == 6
    known = rows("sampling_unguided")
    assert all(config == known[label] for label, config in rows("gain_again").items())
    claims = {claim.name: claim for claim in MECHANISM}
    for name in ("random-is-a-gain", "mans-is-random"):
        assert claims[f"{name}-again"].contrasts == claims[name].contrasts
        assert claims[f"{name}-again"].sweep == "gain_again"
