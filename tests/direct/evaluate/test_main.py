"""python -m direct.evaluate."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from direct.common.errors import UserError
from direct.data import video


def test_command_line(folder, command, monkeypatch, capsys):
    from direct.evaluate.__main__ import main

    (folder / "prompts.csv").write_text(
        'caption,states_of_matter\n"a ball, falling",solid_solid\nwater runs,fluid_fluid\n'
    )
    for n in range(2):
        frames = np.zeros((2, 16, 16, 3), np.uint8)
        video.write_video(folder / "videos" / f"videophy-00{n}.mp4", frames)
    line = ["direct.evaluate", "videophy", "--folder", str(folder)]
    monkeypatch.setattr(sys, "argv", [*line, "--prompts", str(folder / "prompts.csv")])
    with pytest.raises(UserError, match="0 of 2 clips are judged"):
        main()
    command(2)
    main()
    assert "fluid_fluid: n 1  SA 0.45  PC 0.1" in capsys.readouterr().out
    assert len((folder / "records.jsonl").read_text().splitlines()) == 2
