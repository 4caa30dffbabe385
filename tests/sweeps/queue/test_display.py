"""The progress line: in place on a terminal, now and then elsewhere, and never obeyed by either."""

import io
import sys
import time
from dataclasses import replace

from sweeps.queue.display import PLAIN_SECONDS, Board, Display, Job


def test_elsewhere_a_line_is_printed_at_most_every_few_seconds(monkeypatch, capsys):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with Display() as display:
        display.show(replace(BOARD, done=1))
        clock[0] += PLAIN_SECONDS - 0.1
        display.show(replace(BOARD, done=2))
        clock[0] += 0.1
        display.show(BOARD)
        display.say("always")
        display.say("always")
    shown = capsys.readouterr().out.splitlines()
    assert shown == [replace(BOARD, done=1).line, BOARD.line, "always", "always"]


def test_control_characters_are_not_passed_on(capsys):
    with Display() as display:
        display.say("a\x1b[2Jb\u202ec")
        display.show(replace(BOARD, remaining="d\x07e"))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "a [2Jb c" and shown[1].endswith("about d e left")


class Terminal(io.StringIO):
    def isatty(self):
        return True


BOARD = Board(
    3,
    8,
    "2 min 5 s",
    (Job("[bold]0.1[/bold], seed 2", "train", 10, 40),),
    ("0.1 minus 0.02, 1 seed",),
)


def test_on_a_terminal_every_worker_has_its_line_and_brackets_are_text(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    with Display() as display:
        display.show(Board(0, 8, "9 min", (Job("all cells", "prepare [red]text[/red]", 3, 7),)))
        display.live.refresh()
        display.show(BOARD)
        display.live.refresh()
        display.say("cell [red]failed\x1b[2J")
    shown = terminal.getvalue()
    assert "cell [red]failed [2J" in shown and "prepare [red]text[/red] 3 of 7" in shown
    assert "3 of 8 cells, about 2 min 5 s left" in shown
    assert "[bold]0.1[/bold], seed 2" in shown and "train 10 of 40" in shown
    assert "0.1 minus 0.02, 1 seed" in shown


def test_on_a_terminal_that_goes_back_over_no_line_lines_are_printed(monkeypatch):
    """An editor's shell: in place, nothing would be seen."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "dumb")
    with Display() as display:
        display.show(BOARD)
        display.say("cell failed")
    assert terminal.getvalue().splitlines() == [BOARD.line, "cell failed"]


def test_elsewhere_the_board_is_one_plain_line(capsys):
    with Display() as display:
        display.show(BOARD)
        display.show(BOARD)
    assert capsys.readouterr().out == "3 of 8 cells done; train; about 2 min 5 s left\n"
