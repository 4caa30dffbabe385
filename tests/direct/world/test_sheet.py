"""Pictures for a person, read back pixel by pixel."""

import numpy as np
from PIL import Image

from direct.world.sheet import SCALE, TEXT_HEIGHT, gif, sheet


def videos(count, frames=4):
    return [
        np.random.default_rng(n).integers(0, 256, (frames, 6, 8, 3), np.uint8) for n in range(count)
    ]


def test_a_sheet_has_a_row_per_clip_and_every_second_frame(tmp_path):
    clips = videos(2, 5)
    sheet(tmp_path / "deep" / "sheet.png", clips, ["one", "two"])
    image = np.asarray(Image.open(tmp_path / "deep" / "sheet.png"))
    height = 6 * SCALE + TEXT_HEIGHT
    assert image.shape == (2 * height, 3 * 8 * SCALE, 3)
    for row, clip in enumerate(clips):
        for place, frame in enumerate(clip[::2]):
            top = row * height + TEXT_HEIGHT
            part = image[top : top + 6 * SCALE, place * 8 * SCALE : (place + 1) * 8 * SCALE]
            assert (part[::SCALE, ::SCALE] == frame).all()
            assert (part[SCALE - 1 :: SCALE, SCALE - 1 :: SCALE] == frame).all()
        caption = image[row * height : row * height + TEXT_HEIGHT]
        assert caption.min() < 128 and caption.max() == 255, "black on white"


def test_a_gif_is_endless_with_its_clips_side_by_side(tmp_path):
    clips = [np.full((3, 6, 8, 3), level, np.uint8) for level in (0, 90, 180)]
    clips[1][1], clips[1][2] = 60, 30  # frames that are alike would be one
    gif(tmp_path / "clips.gif", clips, columns=2, fps=8)
    image = Image.open(tmp_path / "clips.gif")
    assert image.n_frames == 3 and image.info["loop"] == 0 and image.info["duration"] == 120
    assert image.size == (2 * 10 * SCALE, 2 * 8 * SCALE), "two rows, the fourth place is blank"
    centers = [(x * SCALE, y * SCALE) for y in (4, 12) for x in (5, 15)]
    seen = []
    for frame in (0, 2):
        image.seek(frame)
        seen.append([image.convert("RGB").getpixel(place)[0] for place in centers])
    assert seen == [[0, 90, 180, 255], [0, 30, 180, 255]]
