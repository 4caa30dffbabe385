"""A cell's name: what can change a result, nothing else, and the same for ever."""

import dataclasses
from dataclasses import dataclass, field, replace

import pytest

from direct.common.files import canonical_json
from direct.config import NEUTRAL, NO_EFFECT, Config, Loss, added
from direct.identity import canonical, identity, named, restored
from direct.profiles import PROFILES, profile
from direct.settings import override, with_values
from sweeps.ablations import ABLATIONS
from sweeps.schema import cells

TINY = profile("tiny")
# As they were when results were first made under them: (profile, sweep, row, seed) to name.
THEN = {"tiny": ("sample.guidance=3", "hard_sample.guidance=3")}  # what a profile had otherwise
NAMES = {
    ("tiny", "sampling", "+ MaNS + MiNS", 3): "2761877b4e90",
    ("tiny", "sampling", "+ Random negatives (ΔFM)", 5): "48c90434a3c1",
    ("tiny", "lambda_rand", "zero-shot", 2): "d4b1047c3733",
    ("tiny", "dynamics", "DiReCT, third", 4): "d6076be30702",
    ("wan2.1-t2v-1.3b", "sota", "Wan 2.1-T2V (base)", 7): "93852abe583f",
    ("wan2.1-t2v-1.3b", "beyond", "MiNS: forces alone", 1): "336fb1d330b0",
    ("wan2.1-t2v-1.3b", "sampling", "+ MiNS", 7): "c12402016259",
    ("wan2.1-t2v-14b", "lambda_anc", "0.2", 2): "95ccbdcf1b2e",
    ("wan2.1-t2v-14b", "clusters", "16, laws not excluded", 2): "150ae14ffaf3",
    ("ltx-video", "sampling", "Zero-shot", 2): "4fdc811933e8",
    ("ltx-video", "lambda_anc", "0.2", 1): "3d235cccec46",
    ("wan2.2-t2v-a14b", "clusters", "32", 2): "01d07dd3a06b",
    ("wan2.2-ti2v-5b", "lambda_anc", "0.2", 1): "90cea3f9e094",
}


@pytest.mark.parametrize("key", NAMES, ids=lambda key: " ".join(map(str, key)))
def test_names_stay(key):
    name, sweep, row, seed = key
    base = override(profile(name), *THEN.get(name, ()))
    (cell,) = [c for c in cells(ABLATIONS[sweep], base, (seed,)) if c.row == row]
    assert cell.id == NAMES[key] == identity(cell.config)


def changed(node, path=""):
    """Every setting with another value of its type: (name, value)."""
    for entry in dataclasses.fields(node):
        value = getattr(node, entry.name)
        if dataclasses.is_dataclass(value):
            yield from changed(value, f"{entry.name}.")
        elif isinstance(value, bool):
            yield path + entry.name, not value, entry.metadata
        elif isinstance(value, int | float):
            yield path + entry.name, value * 2 + 1, entry.metadata
        elif isinstance(value, str):
            yield path + entry.name, value + "x", entry.metadata


def with_one(config, name, value):
    """Unvalidated: a name is asked about settings that would not run, too."""
    section, _, leaf = name.rpartition(".")
    if not section:
        return replace(config, **{leaf: value})
    return replace(config, **{section: replace(getattr(config, section), **{leaf: value})})


CANNOT_MATTER = {  # beside the other settings of the tiny profile: a training that is judged
    "train.lora_alpha",  # no adapter
    "sample.gain_about",  # no gain
    "hard_sample.gain_about",
    "measure.steps",
    "measure.iterations",
}


def test_a_name_covers_exactly_what_can_change_a_result():
    for name, value, metadata in changed(TINY):
        if name in ("profile", "measure.kind"):
            continue
        same = identity(with_one(TINY, name, value)) == identity(TINY)
        assert same == (NO_EFFECT in metadata or name in CANNOT_MATTER), name


@pytest.mark.parametrize(
    "setting", ["train.checkpoint_every=7", "train.keep_last=false", "train.reference_cache=on"]
)
def test_what_cannot_change_a_result_is_kept_but_names_nothing(setting):
    config = override(TINY, setting)
    assert identity(config) == identity(TINY) and named(config) == named(TINY)
    assert canonical(config) == config, "a run still does as it is told"


@dataclass(frozen=True, kw_only=True)
class Later(Loss):
    """The loss with a term of a later version."""

    lambda_tdc: float = added(0.0)
    tdc_steps: int = added(1, 4)  # today's default is not what older results had


def test_a_setting_that_is_added_later_is_neutral_until_it_is_used():
    values = {entry.name: getattr(TINY.loss, entry.name) for entry in dataclasses.fields(Loss)}
    old = replace(TINY, loss=Later(**values, tdc_steps=1))
    assert identity(old) == identity(TINY) and "lambda_tdc" not in named(old)["loss"]
    used = replace(old, loss=replace(old.loss, lambda_tdc=0.1))
    assert identity(used) != identity(old) and named(used)["loss"]["lambda_tdc"] == 0.1
    default = replace(TINY, loss=Later(**values))
    assert identity(default) != identity(old), "its default is not neutral"


def test_an_older_configuration_is_read_with_neutral_values():
    stored = dataclasses.asdict(TINY)
    del stored["train"]["keep_last"]
    assert restored(stored) == TINY
    values = {entry.name: getattr(TINY.loss, entry.name) for entry in dataclasses.fields(Loss)}
    assert restored(values, Later) == Later(**values, lambda_tdc=0.0, tdc_steps=1)
    with pytest.raises(TypeError):
        restored(stored | {"nonsense": 1})


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("train", "steps", "150"),
        ("train", "steps", 1.5),
        ("train", "steps", True),
        ("train", "compile", 0),
        ("train", "init", None),
        ("loss", "lambda_hard", "0.1"),
        ("loss", "lambda_hard", float("nan")),
        ("loss", "threshold", float("inf")),
        ("micro", "axes", "forces"),
        ("micro", "axes", [1]),
        ("model", "pipeline", ["tiny"]),
    ],
)
def test_a_value_of_another_type_is_no_configuration(section, name, value):
    stored = dataclasses.asdict(TINY)
    assert restored(stored | {"loss": stored["loss"] | {"lambda_hard": 1}}).loss.lambda_hard == 1
    with pytest.raises(TypeError, match=name):
        restored(stored | {section: stored[section] | {name: value}})


@pytest.mark.slow
@pytest.mark.parametrize("name", PROFILES)
def test_canonical_settings_are_canonical_and_survive_json(name):
    for ablation in ABLATIONS.values():
        try:
            found = cells(ablation, profile(name), (0,))
        except ValueError:  # LoRA has no SFT start
            continue
        for cell in found:
            assert canonical(cell.config) == cell.config
            assert restored(named(cell.config)) == with_one(cell.config, "train.keep_last", True)
            assert canonical_json(named(cell.config)) == canonical_json(
                named(canonical(cell.config))
            )


def test_scopes_nest():
    """What names data names training, and what names training names a result."""
    config = override(TINY, "loss.lambda_hard=0.3", "sample.guidance=1.5", "train.clip=2")
    training, data = canonical(config, "training"), canonical(config, "data")
    assert training.sample == TINY.sample and training.loss == config.loss
    assert data.sample == config.sample, "its negative prompt is embedded"
    assert (data.loss.lambda_hard, data.loss.lambda_rand, data.loss.lambda_anc) == (1, 1, 0)
    assert data.train.clip == TINY.train.clip and data.train.steps == config.train.steps
    off = with_values(config, {"loss.lambda_hard": 0.0})
    assert canonical(off, "data") != data


def test_profiles_that_are_unknown_here_have_names_too():
    assert identity(Config(profile="mine")) != identity(Config(profile="yours"))


def test_added_declares_its_neutral_value():
    entry = {e.name: e for e in dataclasses.fields(Later)}["tdc_steps"]
    assert entry.default == 4 and entry.metadata[NEUTRAL] == 1
    assert field  # the plain way to declare a setting stays


def test_how_negatives_are_rendered_matters_where_they_are_contrasted():
    cheap = ("render.solver=unipc", "render.cache=0.1", "loss.hard_negative=mean")
    for other in ("loss.lambda_hard=0", "train.steps=0", "measure.kind=cost"):
        assert identity(override(TINY, other, *cheap)) == identity(override(TINY, other))
    for one in cheap:
        drawn = [canonical(override(TINY, *asked), "data") for asked in ((), (one,))]
        assert drawn[0] != drawn[1], "what it reads is prepared beforehand"
