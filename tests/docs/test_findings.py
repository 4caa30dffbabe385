"""The numbers in docs/findings.md's tables are those of the reports' CSV files."""

import csv
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/findings.md").read_text()
SECTION_3 = TEXT[TEXT.index("## 3.") : TEXT.index("## 4.")]
GUIDANCE = ("1", "1.5", "2", "3", "5")


def report(name: str) -> dict[tuple[str, str], dict[str, str]]:
    """A table's lines by row and metric. (The CSV has an apostrophe where a row begins with +.)"""
    with open(ROOT / f"reports/tiny/{name}.csv") as file:
        return {(x["row"].lstrip("'"), x["metric"]): x for x in csv.DictReader(file)}


def tables() -> list[list[list[str]]]:
    """The page's tables: rows of cells, without head and rule."""
    found = re.findall(r"(?:^\|.*\|\n)+", TEXT, re.M)
    rows = [[line.strip("|").split("|") for line in table.splitlines()[2:]] for table in found]
    return [[[cell.strip() for cell in row] for row in table] for table in rows]


def difference(line: dict[str, str]) -> str:
    mean, low, high = (100 * float(line[f"difference_{x}"]) for x in ("mean", "low", "high"))
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def with_p(line: dict[str, str]) -> str:
    p = float(line["difference_p_holm"])
    return f"{difference(line)}, p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"


def test_rows_without_guidance():
    own, fresh = report("table_1_without_guidance"), report("gain_again")
    (first, second, *_) = tables()
    assert len(first) == 11
    for label, pc, sa in first:
        assert (pc, sa) == (with_p(own[label, "PC"]), difference(own[label, "SA"])), label
    for label, pc, _ in second[:2]:
        assert pc == difference(fresh[label.removesuffix(", minus SFT"), "PC"]), label


def test_gains():
    own, seen = report("gain"), 0
    for label, *cells in tables()[2]:
        name = next(row for row, _ in own if row.endswith(f": {label}") or label[2:] in row)
        kinds = {"predicted": 4, "s": 4, "share": 2, "r2": 2}
        assert cells == [f"{float(own[name, m]['mean']):.{n}f}" for m, n in kinds.items()], label
        seen += 1
    assert seen == 9


def test_rows_of_mins_and_its_gain_without_training():
    expected, drawn = report("own_negatives"), report("own_negatives_drawn")
    rows = tables()[3]
    assert len(rows) == 3
    for label, pc, sa in rows:
        own = expected if (label, "PC") in expected else drawn
        assert (pc, sa) == (with_p(own[label, "PC"]), difference(own[label, "SA"])), label
    (mins, _, _), (expectation, _, _), (gain, _, _) = rows
    mean_clip = "+ SFT with the gain of 0.05"
    for own, more, less in (
        (expected, expectation, gain),
        (drawn, mins, gain),
        (expected, mean_clip, gain),
        (drawn, mean_clip, mins),
    ):
        apart = float(own[more, "PC"]["mean"]) - float(own[less, "PC"]["mean"])
        assert f"{100 * apart:.2f} [" in SECTION_3, (more, less)


def test_differences_at_each_guidance():
    own = report("guidance")
    for method, *cells in tables()[5]:
        assert cells == [difference(own[f"{g}, {method}", "PC"]) for g in GUIDANCE], method


def readings(name: str) -> list[list[tuple[str, ...]]]:
    """What each command printed, as rows of the table below its heads."""
    text = (ROOT / f"reports/tiny/{name}.txt").read_text()
    return [
        [tuple(line.split()) for line in block.strip().splitlines()[3:]]
        for block in text.split("\n$ ")[1:]
    ]


def mean(rows: list[tuple[str, ...]], column: int) -> float:
    return sum(float(row[column]) for row in rows) / len(rows)


def test_how_a_gain_meets_guidance():
    blocks = readings("guided")
    assert len(blocks) == 6 and all(len(block) == 4 for block in blocks)
    random, mins = ([row for block in some for row in block] for some in (blocks[:3], blocks[3:]))
    assert f"{mean(random, 2):.3f} where prompts have {mean(random, 1):.3f}" in TEXT
    cosines = [f"{mean(random[level::4], 3):.2f}" for level in range(4)]
    assert "{}, {}, {} and {}".format(*cosines) in TEXT
    assert f"makes {mean(random, 5):.2f} of the {mean(random, 4):.2f} that" in TEXT
    assert f"For MiNS it is {mean(mins, 5):.2f} of {mean(mins, 4):.2f} (" in TEXT


def test_what_the_gain_of_mins_is_about():
    rows = [row for block in readings("about") for row in block]
    assert len(rows) == 24
    for (_, *told), clips in zip(tables()[4], ("training", "judged"), strict=True):
        own = [row for row in rows if row[0] == clips]
        assert told == [f"{mean(own, k):.{n}f}" for k, n in ((2, 3), (3, 3), (4, 2))], clips
