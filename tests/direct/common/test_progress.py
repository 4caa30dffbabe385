"""How far a step is, as a person sees it."""

from direct.common.progress import show_progress, silent


def test_one_line_is_written_over_until_all_is_done(capsys):
    for done in (1, 2, 3):
        show_progress("latents", done, 3)
    out, err = capsys.readouterr()
    assert out == "", "results go there"
    assert err == "\rlatents 1/3\rlatents 2/3\rlatents 3/3\n"


def test_silence(capsys):
    silent("latents", 3, 3)
    assert capsys.readouterr() == ("", "")
