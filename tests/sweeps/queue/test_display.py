"""The progress line: in place on a terminal, now and then elsewhere, and never obeyed by either."""

import io
import sys
import time

from sweeps.queue.display import PLAIN_SECONDS, Display


def test_elsewhere_a_line_is_printed_at_most_every_few_seconds(monkeypatch, capsys):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with Display() as display:
        display.update("first")
        clock[0] += PLAIN_SECONDS - 0.1
        display.update("too soon")
        clock[0] += 0.1
        display.update("second")
        display.say("always")
        display.say("always")
    assert capsys.readouterr().out.splitlines() == ["first", "second", "always", "always"]


def test_control_characters_are_not_passed_on(capsys):
    with Display() as display:
        display.say("a\x1b[2Jb\u202ec")
        display.update("d\x07e")
    assert capsys.readouterr().out == "a [2Jb c\nd e\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_the_line_is_live_and_brackets_are_text(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with Display() as display:
        display.update("[bold]3 of 4[/bold]")
        assert display.live.status == r"\[bold]3 of 4\[/bold]", "escaped: shown as it is"
        display.say("cell [red]failed\x1b[2J")
    assert "cell [red]failed [2J" in terminal.getvalue()
