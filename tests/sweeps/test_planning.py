"""Which experiments a command is about: sweeps, variants, grids, files; and what was run before."""

import pytest

from direct.common.errors import UserError
from sweeps.ablations import ABLATIONS
from sweeps.experiments import Experiment, recorded, remember
from sweeps.options import base_of, options_of
from sweeps.planning import changes, every_of, experiments_of, known
from sweeps.report import gallery
from sweeps.results import folder

SMALL = ["--prompts", "4", "--seeds", "0"]
FASTER = ["--set", "train.learning_rate=6e-4"]
TOO_MANY_CLUSTERS = ["clusters", "gain"]  # for 100 clips: they have rows of K = 128
FILE = """from sweeps import Ablation, Row
a = Ablation("a", rows=(Row("x"), Row("y", {"loss.lambda_hard": 0.1})))
b = Ablation("b", rows=(Row("x"), Row("z", {"loss.lambda_hard": 0.3})), seeds=(5,))
"""


def asked(*arguments) -> list[Experiment]:
    options = options_of(arguments)
    return experiments_of(options, base_of(options))


def test_a_sweep_as_it_is_belongs_to_the_package():
    (found,) = asked("lambda_hard", *SMALL)
    assert (found.name, found.own, found.table.changed) == ("lambda_hard", False, ())
    assert [cell.config.evaluate.prompts for cell in found.cells] == [4] * 4


def test_what_changes_a_cell_makes_a_variant_with_a_name_made_from_it():
    (found,) = asked("lambda_hard", *SMALL, *FASTER)
    assert found.own and found.name == "lambda_hard_train.learning_rate_0.0006"
    assert found.table.changed == ("train.learning_rate=0.0006",)
    (named,) = asked("lambda_hard", *SMALL, *FASTER, "--name", "fast")
    assert named.own and named.name == "fast" and named.cells == found.cells
    (as_it_is,) = asked("lambda_hard", "--name", "again")
    assert as_it_is.own and as_it_is.table.changed == ()


@pytest.mark.parametrize(
    "setting",
    [
        "train.learning_rate=3e-4",  # the profile's own
        "train.checkpoint_every=7",  # changes no result
        "evaluate.prompts=7",  # a size
    ],
)
def test_what_changes_no_cell_makes_no_variant(setting):
    (found,) = asked("lambda_hard", "--seeds", "0", "--set", setting)
    assert not found.own and found.table.changed == ()


@pytest.mark.parametrize(
    "given",
    [
        ("lambda_hard", "--set", "loss.lambda_rand=0.01"),
        ("--grid", "train.steps=2,3", "--set", "train.steps=4"),
        ("FILE", "--set", "loss.lambda_anc=0.5"),
    ],
)
def test_a_setting_that_every_row_has_its_own_of_is_refused(given, tmp_path):
    """The caption would say that all rows have it."""
    path = tmp_path / "mine.py"
    path.write_text(
        "from sweeps import Ablation, Row\nA = Ablation(name='a', common={'loss.lambda_anc': 0.1},"
        " rows=(Row('x'), Row('y', {'train.steps': 3})))\n"
    )
    given = [str(path) if text == "FILE" else text for text in given]
    with pytest.raises(UserError, match=r"changes nothing: every row of .* has another value"):
        asked(*given, "--seeds", "0")


def test_one_that_rows_are_computed_from_is_in_effect(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from sweeps import Ablation, Row\nA = Ablation(name='a', rows=tuple("
        "Row(str(k), {'train.steps': lambda c, k=k: k * c.train.steps}) for k in (1, 2)))\n"
    )
    (found,) = asked(str(path), "--set", "train.steps=4", "--seeds", "0")
    assert [cell.config.train.steps for cell in found.cells] == [4, 8]


def test_how_a_cell_is_run_is_in_no_name(tmp_path):
    """A table of one's own is the same experiment, watched or not."""
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    watched = ("--set", "train.report_to=tensorboard", "--set", "train.sample_every=5")
    for given in (str(path), "lambda_hard"):
        plain, own = asked(given, *SMALL)[0], asked(given, *SMALL, *watched)[0]
        assert (own.name, own.table) == (plain.name, plain.table)
        assert [x.id for x in own.cells] == [x.id for x in plain.cells]
        assert own.cells[0].config.train.sample_every == 5


def test_what_can_be_planned_only_with_a_setting_is_a_variant_by_it():
    options = options_of(["clusters", "--seeds", "0", "--set", "data.clips=500"])
    assert changes(base_of(options), options) == ("data.clips=500",)
    assert asked("clusters", "--seeds", "0", "--set", "data.clips=500")[0].own


def test_a_grid_is_named_by_its_values_and_by_what_is_set():
    (found,) = asked("--grid", "train.learning_rate=1e-4,3e-4", *SMALL)
    assert found.own and found.name == "train.learning_rate_0.0001,0.0003".replace(",", "_")
    assert {cell.config.train.learning_rate for cell in found.cells} == {1e-4, 3e-4}
    (other,) = asked("--grid", "train.steps=7,8", *SMALL, "--set", "micro.keep=1")
    assert other.name == "train.steps_7_8_micro.keep_1"
    assert asked("--grid", "train.steps=7,8", *SMALL, "--name", "steps")[0].name == "steps"


def test_a_files_tables_are_in_the_files_folder(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    a, b = asked(str(path), "--prompts", "4")
    assert (a.name, a.table.name, b.name, b.table.name) == ("mine", "a", "mine", "b")
    assert (a.seeds, b.seeds) == ((0, 1, 2), (5,))
    (alone,) = asked(f"{path}:b", *SMALL, *FASTER)
    assert alone.name == "mine_train.learning_rate_0.0006" and alone.seeds == (0,)
    taken = path.rename(tmp_path / "lambda_hard.py")
    with pytest.raises(UserError, match="give --name, since the file's name lambda_hard is"):
        asked(str(taken))
    assert asked(str(taken), "--name", "own")[0].name == "own"


def test_a_wrong_name_gets_the_nearest():
    with pytest.raises(UserError, match="lamda_hard is not a sweep; did you mean lambda_hard"):
        asked("lamda_hard")


def test_all_leaves_out_what_cannot_be_planned_and_says_so():
    options = options_of(["all", *SMALL, "--set", "data.clips=100"])
    found, faults = every_of(options, base_of(options))
    assert [fault.split()[0] for fault in faults] == TOO_MANY_CLUSTERS
    assert faults[0].startswith("clusters cannot be planned: macro.clusters=128 is above")
    left = {*TOO_MANY_CLUSTERS, *(name for name, table in ABLATIONS.items() if table.extra)}
    shown = [name for name in ABLATIONS if name not in left]
    assert [x.table.name for x in found] == shown
    assert {x.name for x in found} == {"all_data.clips_100"}, "one folder for all of them"
    plain = options_of(["all", *SMALL])
    assert not any(x.own for x in every_of(plain, base_of(plain))[0])


def test_what_was_run_is_known_without_its_options(tmp_path):
    root = folder("tiny", tmp_path)
    for arguments in (["lambda_hard", *SMALL], ["lambda_hard", *SMALL, *FASTER, "--name", "fast"]):
        remember(asked(*arguments)[0], root)
    options = options_of(["status"])
    found, faults = known(options, base_of(options), root)
    by_name = {x.name: x for x in found}
    assert not faults and list(by_name) == [*ABLATIONS, "fast"]
    assert len(by_name["lambda_hard"].cells) == len(by_name["fast"].cells) == 4
    assert len(by_name["lambda_rand"].cells) == 15, "one that was not run is as it would be"
    more = options_of(["status", "--seeds", "0,1", "--prompts", "4"])
    again = {x.name: x for x in known(more, base_of(more), root)[0]}
    assert len(again["lambda_hard"].cells) == 8, "options that are given count"


def test_one_table_that_cannot_be_planned_or_read_hides_no_other(tmp_path):
    root = folder("tiny", tmp_path)
    remember(asked("lambda_hard", *SMALL)[0], root)
    (root / "experiments/lambda_hard/lambda_hard.json").write_text("{")
    options = options_of(["status", "--set", "data.clips=100"])
    found, faults = known(options, base_of(options), root)
    assert {x.name for x in found} == set(ABLATIONS) - set(TOO_MANY_CLUSTERS)
    assert len(faults) == 3 and "cannot be read" in faults[0] and "clusters" in faults[1]
    assert len(recorded(root)[1]) == 1


def test_clips_of_a_variant_have_its_folder(tmp_path):
    from sweeps.planning import shipped_of

    options = options_of(["gallery", *SMALL, *FASTER])
    found = shipped_of(gallery.ABLATION, "gallery", base_of(options), options)
    assert found.target(tmp_path).name == "gallery_train.learning_rate_0.0006"


def test_a_file_without_its_ending_and_a_plug_in_that_is_not_loaded_get_a_hint(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)
    with pytest.raises(UserError, match=r"mine is not a sweep; did you mean mine.py\?"):
        asked("mine")
    with pytest.raises(UserError, match=r"no setting 'my_term'.*named by DIRECT_PLUGINS"):
        asked("--grid", "my_term.weight=0,1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lambda_hard", "--set", "loss.lambda_hard=0.3"], "every row of lambda_hard has another"),
        (
            ["--grid", "sample.guidance=1,3", "--set", "sample.guidance=2"],
            r"--set sample.guidance=2.0 changes nothing: every row of sample.guidance",
        ),
    ],
)
def test_a_setting_that_no_cell_would_have_is_refused(arguments, said):
    """What a row says comes before what is set, and never silently."""
    with pytest.raises(UserError, match=said):
        asked(*arguments, *SMALL)
    (baseline,) = asked("--grid", "sample.guidance=1,3", "--set", "sample.guidance=3", *SMALL)
    assert baseline.table.baseline == "3"
    asked("sota", "--set", "loss.lambda_hard=0.3", *SMALL)  # its base model has none


def test_of_all_sweeps_a_setting_may_change_some():
    options = options_of(["all", "--set", "sample.guidance=2.5", *SMALL])
    found, faults = every_of(options, base_of(options))
    assert {"lambda_hard", "guidance"} <= {x.table.name for x in found} and not faults
