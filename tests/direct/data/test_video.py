"""Video files: frames in their places and upright, damage seen."""

from __future__ import annotations

import io

import numpy as np
import pytest
from small_video import MATRICES, encoded, scene, turned

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


def test_frames_come_back_as_they_are_shown(tmp_path):
    """A phone held upright: coded 32x24, shown 24x32."""
    path = tmp_path / "phone.mp4"
    path.write_bytes(turned(encoded(6), MATRICES["clockwise"]))
    shown = {"frames": 6, "height": 32, "width": 24, "turned": "transpose hflip"}
    assert video.probe(path) == shown
    got = video.read_frames(path, np.array([1, 5]), 64, 48, "transpose hflip")
    assert got.shape == (2, 64, 48, 3)
    expected = np.rot90(scene(6)[[1, 5]], -1, (1, 2)).repeat(2, 1).repeat(2, 2)
    inner = np.s_[:, 4:28, 28:44], np.s_[:, 4:28, 4:20], np.s_[:, 36:60, 4:44]  # off the edges
    for part in inner:
        assert np.abs(got[part].mean((1, 2)) - expected[part].mean((1, 2))).max() < 12
    coded = video.read_frames(path, np.array([5]), 24, 32)  # as a manifest from before asks for it
    assert np.abs(coded.astype(int) - scene(6)[5:]).mean() < 6


def test_what_is_unfit_is_said_with_the_remedy(tmp_path):
    (tmp_path / "a.mp4").write_bytes(encoded(3, x264_params="tff=1"))
    found = video.probe(tmp_path / "a.mp4")
    assert found.pop("unfit")[0] == "interlaced video" and found["frames"] == 3


def test_one_interlaced_frame_makes_a_clip_unfit(tmp_path, monkeypatch):
    """As in a film that was brought to another rate by repeating fields."""
    import av

    with av.open(io.BytesIO(encoded(3, x264_params="tff=1"))) as container:
        field = next(container.decode(video=0))
    pair = [(av.VideoFrame(32, 24, "rgb24"), 1.0), (field, 1.0)]
    monkeypatch.setattr(video, "pictures", lambda path: iter(pair))
    found = video.probe(tmp_path / "a.mp4")
    assert found["frames"] == 2 and found["unfit"][0] == "interlaced video"


def test_a_size_or_a_turn_that_changes_is_unreadable(tmp_path, monkeypatch):
    import av

    for other in (av.VideoFrame(32, 32, "rgb24"), next(phone())):
        pair = [(av.VideoFrame(32, 24, "rgb24"), 1.0), (other, 1.0)]
        monkeypatch.setattr(video, "pictures", lambda path, pair=pair: iter(pair))
        with pytest.raises(video.Unreadable, match="changes at frame 1"):
            video.probe(tmp_path / "a.mp4")


def phone():
    import av

    with av.open(io.BytesIO(turned(encoded(3), MATRICES["mirrored"]))) as container:
        yield next(container.decode(video=0))


def test_the_rate_is_the_files_own(tmp_path):
    (tmp_path / "a.mp4").write_bytes(encoded(6))
    assert video.rate(tmp_path / "a.mp4") == 8
    (tmp_path / "b.mp4").write_text("no video")
    assert video.rate(tmp_path / "b.mp4") == video.rate(tmp_path / "c.mp4") == 0


def test_frames_that_no_mp4_can_hold_are_refused(tmp_path):
    with pytest.raises(UserError, match="even"):
        video.write_video(tmp_path / "a.mp4", clip(2, width=31))
    with pytest.raises(UserError, match="uint8"):
        video.write_video(tmp_path / "a.mp4", clip(2).astype(float))
