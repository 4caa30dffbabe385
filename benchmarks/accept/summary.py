"""The acceptance as Markdown: what fell short, each part's end, readings beside their targets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .. import report
from .journal import end_of
from .place import Record
from .targets import TARGETS, short

Found = dict[str, list[Record]]  # by part, the last attempt's
MEASURED, PREDICTED = "share of a copy, noises ", "predicted share of a copy"


def markdown(found: Found, parts: Iterable[str], machine: dict[str, Any], state: str) -> str:
    """The whole report; `found` has the records of each of `parts` that was begun."""
    found = {name: [*found.get(name, [])] for name in parts}
    if compared := list(_against_prediction(found)):
        found["predicted"] += compared
    lines = [f"# Acceptance: {machine['name']}", "", *_head(machine, state)]
    lines += ["## What fell short", "", *(list(_shortfalls(found)) or ["- nothing"])]
    lines += ["", "## Parts", "", "| part | end | seconds | readings that meet their target |"]
    lines += ["|---|---|---:|---:|", *(_part(name, own) for name, own in found.items())]
    lines += ["", "## Readings", "", "| part | of | reading | value | target |"]
    lines += ["|---|---|---|---:|---:|"]
    for name, own in found.items():
        lines += [_reading(name, record) for record in own if not _plain(record)]
    return "\n".join([*lines, "", *_tables(found, machine)]).rstrip() + "\n"


def _head(machine: dict[str, Any], state: str) -> list[str]:
    versions = ", ".join(f"{name} {value}" for name, value in machine.items() if name != "name")
    lines = [f"`python -m benchmarks.accept` at {state}: {versions}.", ""]
    if machine["device"] == "cpu":
        lines += ["**A rehearsal without a GPU: no figure below means anything.**", ""]
    return lines


def _shortfalls(found: Found) -> Iterator[str]:
    for name, records in found.items():
        if (end := end_of(records)) != "done":
            said = next((r.get("said", "") for r in records if "end" in r), "") if records else ""
            yield f"- {name}: {end if records else 'not run'}{': ' + said if said else ''}"
        for record in filter(short, records):
            said = f" ({'; '.join(record['said'])})" if record.get("said") else ""
            wanted = TARGETS[record["reading"]]
            yield (
                f"- {name}: {record['what']}: {record['reading']} is {_number(record['value'])}, "
                f"{wanted} asked{said}"
            )


def _against_prediction(found: Found) -> Iterator[Record]:
    """Measured over predicted share, where both are there for the same launch."""
    measured = {
        record["what"]: record["value"]
        for records in found.values()
        for record in records
        if record.get("reading", "").startswith(MEASURED)
    }
    for record in found.get("predicted", []):
        if record.get("reading") == PREDICTED and record["what"] in measured:
            ratio = measured[record["what"]] / record["value"]
            yield {
                "what": record["what"],
                "reading": "measured over predicted share",
                "value": ratio,
            }


def _part(name: str, records: list[Record]) -> str:
    seconds = next((f"{r['seconds']:.0f}" for r in records if "end" in r), "")
    targeted = [record for record in records if record.get("reading") in TARGETS]
    met = sum(not short(record) for record in targeted)
    end = end_of(records) if records else "not run"
    return f"| {name} | {end} | {seconds} | {met} of {len(targeted)} |"


def _plain(record: Record) -> bool:
    """Not worth a row: a check that holds, a row of the kernel table, an end."""
    return "reading" not in record or record["value"] is True


def _reading(name: str, record: Record) -> str:
    wanted = TARGETS.get(record["reading"], "")
    cells = (name, record["what"], record["reading"], _number(record["value"]), wanted)
    return f"| {' | '.join(map(str, cells))} |"


def _number(value: float | bool | None) -> str:
    if value is None or isinstance(value, bool):
        return {None: "unknown", True: "yes", False: "no"}[value]
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _tables(found: Found, machine: dict[str, Any]) -> list[str]:
    """`benchmarks.report`'s table of all rows, if the competitors are among them."""
    rows = [[r["row"]] for records in found.values() for r in records if "row" in r]
    if not rows:
        return []
    record = {
        "machine": machine,
        "command": "python -m benchmarks.accept",
        "rows": report.combined(rows),
    }
    return ["## Kernels", "", report.table(record)]
