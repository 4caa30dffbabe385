"""What takes long has a twentieth of the time."""

from sweeps.queue import seldom


def test_what_takes_long_is_done_seldom(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(seldom.time, "monotonic", lambda: now[0])
    look = seldom.Seldom(0.5)
    for spent, pause in ((0.0, 0.5), (0.01, 0.5), (1.0, 19.0)):
        now[0] = look.next
        assert look.due
        with look:
            now[0] += spent
        now[0] += pause - 0.001
        assert not look.due
