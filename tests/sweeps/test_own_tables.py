"""A file of one's own: what it declares, what is filled in, and what is refused."""

from dataclasses import replace

import pytest

from direct.common.errors import UserError
from direct.plugins import carried
from direct.profiles import profile
from direct.settings import override
from sweeps import Ablation, Row
from sweeps.ablations import ABLATIONS
from sweeps.own_tables import checked, is_file, read
from sweeps.schema import cells

BASE = profile("tiny")
HEAD = "from sweeps import Ablation, Row\n"
ROWS = (Row("one"), Row("two", {"loss.lambda_hard": 0.1}), Row("three", {"train.init": "sft"}))
OWN = Ablation("own", rows=ROWS)


def written(tmp_path, text, name="mine.py"):
    path = tmp_path / name
    path.write_text(HEAD + text)
    return str(path)


# The file -----------------------------------------------------------------------------------------


def test_a_file_is_told_by_its_ending():
    assert is_file("mine.py") and is_file("a/b.py:own")
    assert not is_file("lambda_hard") and not is_file("mine.py.txt")


def test_it_may_declare_several_tables_also_in_a_list_and_each_has_a_name(tmp_path):
    path = written(
        tmp_path,
        "from sweeps.ablations import ABLATIONS\n"
        "S3 = ABLATIONS['lambda_hard']\n"
        "a = Ablation('a', rows=(Row('x'),))\n"
        "both = [a, Ablation('b', rows=S3.rows)]\n",
    )
    stem, tables = read(path)
    assert stem == "mine" and [table.name for table in tables] == ["a", "b"]
    assert [table.name for table in read(f"{path}:b")[1]] == ["b"]
    with pytest.raises(UserError, match="declares no table aa; did you mean"):
        read(f"{path}:aa")


def test_it_may_import_its_neighbours(tmp_path):
    (tmp_path / "my_rows.py").write_text(HEAD + "ROWS = (Row('x'),)\n")
    _, (table,) = read(
        written(tmp_path, "from my_rows import ROWS\nt = Ablation('t', rows=ROWS)\n")
    )
    assert table.rows == (Row("x"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("t = Ablation('t', row=())", "line 2: Ablation has no field 'row'; did you mean rows"),
        ("t = Row('x', settings={})", "Row has no field 'settings'; known: against"),
        ("\nt = Row('x', vaules={})", "line 3: Row has no field 'vaules'; did you mean values"),
        ("t = Ablation(rows=())", "line 2: Ablation needs 'name'"),
        ("t = Ablation('t', rows=(Rwo('x'),))", "line 2: NameError"),
        ("t = Ablation('t'", "line 2: "),
        ("import no_such_module", "line 2: ModuleNotFoundError"),
        ("x = 1", "declares no table"),
        ("a = Ablation('t')\nb = Ablation('t')", "two tables have the name 't'"),
        ("a = Ablation('a', 'A b')\nb = Ablation('b', 'a_B')", "two tables have the file 'a_b'"),
    ],
)
def test_an_error_in_it_is_one_sentence_with_its_line(tmp_path, text, said):
    with pytest.raises(UserError) as error:
        read(written(tmp_path, text))
    assert (
        said in str(error.value) and "\n" not in str(error.value) and "mine.py" in str(error.value)
    )


def test_a_file_that_is_not_there_is_named_with_its_neighbours(tmp_path):
    written(tmp_path, "")
    with pytest.raises(UserError, match=r"mina\.py does not exist; did you mean mine\.py\?"):
        read(str(tmp_path / "mina.py"))


# What is filled in --------------------------------------------------------------------------------


def test_a_short_declaration_is_a_whole_table():
    table = checked(OWN, BASE, "mine.py")
    assert table.baseline == "one" and table.title == table.place == table.file == "own"
    assert table.header == "Row" and table.seeds == (0, 1, 2)
    assert table.contrasts == (("two", "SA"), ("two", "PC"), ("three", "SA"), ("three", "PC"))


def test_what_is_declared_stays():
    given = replace(
        OWN, baseline="two", contrasts=(("one", "AVG"),), header="Kind", title="A title"
    )
    table = checked(given, BASE, "mine.py")
    assert (table.baseline, table.contrasts) == ("two", (("one", "AVG"),))
    assert (table.header, table.title) == ("Kind", "A title")
    assert checked(replace(OWN, contrasts=()), BASE, "mine.py").contrasts == ()
    total = checked(replace(OWN, metrics=("Total",)), BASE, "mine.py")
    assert total.contrasts == (("two", "Total"), ("three", "Total"))


def test_rows_that_are_the_papers_are_the_papers_cells():
    """A whole number for a weight is the weight: another spelling would be another cell."""
    rows = (Row("own", {"loss.lambda_hard": 0}), Row("again", {"loss.lambda_hard": 0.1}))
    table = checked(Ablation("own", rows=rows), BASE, "mine.py")
    theirs = {cell.id for cell in cells(ABLATIONS["lambda_hard"], BASE, (0,))}
    assert {cell.id for cell in cells(table, BASE, (0,))} < theirs


def test_functions_are_given_the_configuration_and_common_settings_are_every_rows():
    rows = (Row("x"), Row("twice", {"loss.lambda_hard": lambda c: 2 * c.loss.lambda_hard}))
    table = checked(Ablation("own", rows=rows, common={"train.steps": 7}), BASE, "mine.py")
    assert [row.values for row in table.rows] == [
        {"train.steps": 7},
        {"train.steps": 7, "loss.lambda_hard": 2 * BASE.loss.lambda_hard},
    ]


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 3}, 'not a text; write name="own"'),
        ({"name": "a b"}, "cannot name a folder"),
        ({"name": "lambda_hard"}, "is the name of a sweep"),
        ({"metrics": ("PC", "PCap")}, "'PCap' is no metric; did you mean PCcap"),
        ({"metrics": "PC"}, "is not a tuple"),
        ({"baseline": "on"}, "'on' is no row; did you mean one"),
        ({"contrasts": (("tow", "PC"),)}, "'tow' is no row; did you mean two"),
        ({"contrasts": (("two", "Total"),)}, "no metric of this table"),
        ({"contrasts": (("one", "PC"),)}, "a row with itself"),
        ({"contrasts": (("two", "PC"), ("two", "PC"))}, "declared twice"),
        ({"contrasts": ("two",)}, "is not a pair"),
        ({"plot": "row"}, "did you mean rows"),
        ({"plot": "heatmap"}, "plot='heatmap' needs rows that all set the same two settings"),
        ({"rows": ()}, "has no rows"),
        ({"rows": Row("x")}, "is not a tuple of rows"),
        ({"rows": ("x",)}, "is not a tuple of rows"),
        ({"rows": (Row("x"), Row("x"))}, "two rows have the label 'x'"),
        ({"rows": (Row(""),)}, "a row's label is ''"),
        ({"rows": (Row("x", against="y"),)}, "'y' is no row"),
        ({"rows": (Row("x", best_of=("y",)),)}, "'y' is no row"),
        ({"rows": (Row("x", profile="tinny"),)}, "did you mean tiny"),
        ({"rows": (Row("x", {"loss.lambda_had": 1}),)}, "did you mean lambda_hard"),
        ({"rows": (Row("x", {"lambda_hard": 1}),)}, "row 'x': lambda_hard=1: no setting"),
        ({"rows": (Row("x", {"train.steps": "many"}),)}, "'many' is not of type int"),
        ({"rows": (Row("x", {"train.steps": 1.5}),)}, "'1.5' is not of type int"),
        ({"rows": (Row("x", {"loss.lambda_hard": 3}),)}, "row 'x': the loss is not convex"),
        ({"rows": (Row("x", {"seed": 1}),)}, "seeds are not a row's"),
        ({"rows": (Row("x", {"profile": "tiny"}),)}, "run the table with --profile"),
        ({"rows": (Row("x", {"train.steps": lambda c: c.no}),)}, "train.steps: AttributeError"),
        ({"rows": (Row("x", ("loss.lambda_hard", 1)),)}, "is not settings"),
        ({"seeds": (0, 0)}, "write (0, 1, 2)"),
        ({"seeds": 3}, "write (0, 1, 2)"),
        ({"prompts": 64}, "is not by profile"),
        ({"prompts": {"tinny": 64}}, "did you mean tiny"),
        ({"prompts": {"tiny": 0}}, "not a positive whole number"),
        ({"axis": "loss.lamda"}, "is no setting; did you mean loss.lambda"),
        ({"axis": "train.init"}, "row 'three' has 'sft'; leave axis out"),
    ],
)
def test_what_is_wrong_is_one_sentence_that_names_the_place(change, said):
    with pytest.raises(UserError, match=r"^mine\.py") as error:
        checked(replace(OWN, **change), BASE, "mine.py")
    assert said in str(error.value) and "\n" not in str(error.value)


OWN_JUDGE = """@plugins.judge(sharp=plugins.Score("sharp"), flicker=plugins.Score("flicker"))
def eye(): ...
"""


def judged(**more):
    rows = (Row("x"), Row("y", {"train.steps": 3}))
    return Ablation("a", rows=rows, **more)


def test_a_table_shows_what_its_judge_gives_where_metrics_are_left_out(plugged):
    plugged(OWN_JUDGE)
    base = profile("tiny")
    base = replace(base, plugins=carried.at_hand())
    found = checked(judged(common={"evaluate.judge": "eye"}), base, "f.py")
    assert found.metrics == ("sharp", "flicker") and found.contrasts == (("y", "sharp"),)
    by_set = override(base, "evaluate.judge=eye")  # as a grid has it
    assert checked(judged(), by_set, "--grid").metrics == ("sharp", "flicker")
    assert checked(judged(), base, "f.py").metrics == ("SA", "PC", "AVG", "PCcap")


def test_a_metric_of_another_judge_is_refused(plugged):
    """Its column would be dashes, and without another no table would be written."""
    plugged(OWN_JUDGE)
    base = replace(profile("tiny"), plugins=carried.at_hand())
    own = {"evaluate.judge": "eye"}
    with pytest.raises(UserError, match=r"'PC' is no metric of the judge eye; known: .*flicker"):
        checked(judged(common=own, metrics=("sharp", "PC")), base, "f.py")
    with pytest.raises(UserError, match=r"'sharp' is no metric of the judge world"):
        checked(judged(metrics=("sharp",)), base, "f.py")
    with pytest.raises(UserError, match=r"'pc' is no metric; did you mean PC\?"):
        checked(judged(metrics=("pc",)), base, "f.py")
