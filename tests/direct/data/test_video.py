"""Video files: frames in their places, damage seen, decoding that cannot take us along."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from direct.common.errors import UserError
from direct.data import video


def clip(frames, seed=0, height=18, width=32):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


# Video files


def test_frames_come_back_in_their_places(tmp_path):
    frames = np.repeat(np.arange(0, 240, 3, dtype=np.uint8), 18 * 32 * 3).reshape(80, 18, 32, 3)
    video.write_video(tmp_path / "ramp.mp4", frames)
    got = video.read_frames(tmp_path / "ramp.mp4", np.array([0, 7, 40, 79]), 36, 64)
    assert got.shape == (4, 36, 64, 3)
    np.testing.assert_allclose(got.mean((1, 2, 3)), [0, 21, 120, 237], atol=3)
    with pytest.raises(video.Unreadable, match="frame 80 is missing"):
        video.read_frames(tmp_path / "ramp.mp4", np.array([0, 80]), 18, 32)


def test_a_damaged_stream_is_unreadable_although_it_opens(tmp_path):
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=16)
        stream.width, stream.height, stream.pix_fmt = 32, 18, "yuv420p"
        for frame in clip(90):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert video.probe(path) == {"frames": 90, "height": 18, "width": 32}
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.7)])  # the header is in front and promises 90
    with pytest.raises(video.Unreadable):
        video.probe(path)
    noise = np.random.default_rng(0).bytes(len(whole) // 4)
    path.write_bytes(whole[: len(whole) // 2] + noise + whole[len(whole) // 2 + len(noise) :])
    with pytest.raises(video.Unreadable):
        video.probe(path)


def crash():
    os.kill(os.getpid(), 11)


@pytest.mark.slow
def test_a_crash_or_a_hang_of_the_child_leaves_the_parent_and_the_next_file(tmp_path):
    video.write_video(tmp_path / "a.mp4", clip(3))
    with video.Child() as child:
        with pytest.raises(video.Unreadable, match="exit status -11"):
            child.call(crash, seconds=60)
        with pytest.raises(video.Unreadable, match=r"more than 0\.2 s"):
            child.call(time.sleep, 60, seconds=0.2)
        assert child.call(video.probe, tmp_path / "a.mp4", seconds=60)["frames"] == 3
        with pytest.raises(video.Unreadable, match="No such file"):
            child.call(video.probe, tmp_path / "b.mp4", seconds=60)


def test_frames_that_no_mp4_can_hold_are_refused(tmp_path):
    with pytest.raises(UserError, match="even"):
        video.write_video(tmp_path / "a.mp4", clip(2, width=31))
    with pytest.raises(UserError, match="uint8"):
        video.write_video(tmp_path / "a.mp4", clip(2).astype(float))
