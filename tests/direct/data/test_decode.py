"""What a player shows: which pictures come out, how they are turned, which files are damaged."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import av
import av.sidedata.sidedata
import numpy as np
import pytest
import small_video
from small_video import MATRICES, cut, edited, encoded, open_gop, turned

from direct.data import decode
from direct.data.decode import Unreadable


@pytest.fixture
def shown(tmp_path):
    """shown(data): the pictures of a file that holds these bytes, as uint8 [N, H, W, 3]."""

    def show(data):
        (tmp_path / "clip").write_bytes(data)
        found = [picture for picture, _ in decode.pictures(tmp_path / "clip")]
        return np.stack([picture.to_ndarray(format="rgb24") for picture in found])

    return show


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi"])
@pytest.mark.parametrize("keys", [1, 2])
def test_a_clip_cut_from_a_longer_one_is_decoded_as_players_do(shown, container, keys):
    """Its leading pictures refer to what was cut away: `err_detect=explode` rejects the file."""
    given = open_gop(container="avi" if container == "avi" else "mp4")
    whole = shown(given)
    assert len(whole) == 32
    assert np.array_equal(shown(cut(given, keys, container)), whole[8 * keys :])


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_lost_reference_is_damage(shown, container):
    """A player shows all of these pictures, and what is in them is wrong."""
    with av.open(io.BytesIO(open_gop())) as given:
        packets = [packet for packet in given.demux(video=0) if packet.size]
    lost = next(n for n, p in enumerate(packets) if n > 8 and p.is_keyframe)
    with pytest.raises(Unreadable, match="pictures are damaged") as error:
        shown(cut(open_gop(), 0, container, lost=(lost,)))
    assert not error.value.passing


@pytest.mark.parametrize(
    ("container", "codec"),
    [("matroska", "libx264"), ("webm", "libvpx"), ("webm", "libvpx-vp9"), ("mp4", "libx264")],
)
def test_a_file_that_ends_too_early_is_damage(shown, container, codec):
    """Matroska's header has no number of frames; FFmpeg reads such a file as a shorter clip."""
    data = encoded(24, container=container, codec=codec, g="6")
    assert len(shown(data)) == 24
    with pytest.raises(Unreadable) as error:
        shown(data[: len(data) * 6 // 10])
    assert not error.value.passing


def test_packets_that_hold_no_picture_of_their_own_are_lawful(shown):
    data = encoded(24, container="webm", codec="libvpx", auto_alt_ref="1", lag_in_frames="12")
    assert len(shown(data)) == 24


@pytest.mark.parametrize(("first", "count"), [(0, 24), (3, 16), (3, 21), (13, 6)])
def test_an_edit_list_is_obeyed(shown, first, count):
    """(13, 6) leaves out whole groups of pictures: fewer packets than the header promises."""
    data = encoded(24, x264_params="keyint=6:min-keyint=6:scenecut=0:bframes=2")
    grey = shown(edited(data, first, count))[:, 12, 28].mean(-1)
    assert np.abs(grey - 8 * np.arange(first, first + count)).max() <= 3


def test_a_missing_file_may_come_back_and_a_damaged_one_does_not(shown, tmp_path):
    with pytest.raises(Unreadable, match="No such file") as error:
        next(decode.pictures(tmp_path / "gone"))
    assert error.value.passing
    for data in (b"", b"no video at all"):
        with pytest.raises(Unreadable, match="Invalid data") as error:
            shown(data)
        assert not error.value.passing


def test_nothing_of_the_log_settings_stays(shown):
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    shown(encoded())
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == before


def looked(data):
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        return decode.look(next(container.decode(stream)), float(stream.sample_aspect_ratio or 1))


TURNED = {  # by numpy, of frames [N, H, W, 3]
    "upright": lambda x: x,
    "clockwise": lambda x: np.rot90(x, -1, (1, 2)),
    "upside down": lambda x: np.rot90(x, 2, (1, 2)),
    "counterclockwise": lambda x: np.rot90(x, 1, (1, 2)),
    "mirrored": lambda x: np.flip(x, 2),
    "mirrored, upside down": lambda x: np.flip(x, 1),
    "transposed": lambda x: np.transpose(x, (0, 2, 1, 3)),
    "transposed, upside down": lambda x: np.rot90(np.transpose(x, (0, 2, 1, 3)), 2, (1, 2)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_every_right_angle_mirrored_or_not(name):
    found = looked(turned(encoded(3), MATRICES[name]))
    frames = small_video.scene(3)
    steps = frames
    for step in found.turned.split():
        steps = decode.TURNS[step](steps)
    assert np.array_equal(steps, TURNED[name](frames))
    assert (found.height, found.width) == steps.shape[1:3] and found.unfit is None


def test_clockwise_is_what_ffmpeg_calls_minus_90():
    with av.open(io.BytesIO(turned(encoded(3), MATRICES["clockwise"]))) as container:
        assert next(container.decode(video=0)).rotation == -90


@pytest.mark.parametrize("name", ["upright", "clockwise", "upside down", "counterclockwise"])
def test_side_data_that_pyav_does_not_know_hides_no_turn(name):
    class Unknown:
        def __init__(self, picture):
            self.rotation, self.height, self.width = picture.rotation, 24, 32
            self.interlaced_frame, self.color_trc = False, 2

        @property
        def side_data(self):
            raise ValueError("31 is not a valid Type")

    data = turned(encoded(3), MATRICES[name])
    with av.open(io.BytesIO(data)) as container:
        found = decode.look(Unknown(next(container.decode(video=0))), 1.0)
    assert found == looked(data)


def test_another_angle_is_set_aside():
    found = looked(turned(encoded(3), (0.7071, 0.7071, -0.7071, 0.7071)))
    assert found.unfit[0] == "turned by an odd angle"


def test_pixels_that_are_no_squares_are_shown_wider():
    found = looked(encoded(3, x264_params="sar=4/3"))
    assert (found.height, found.width) == (24, 43) and found.unfit is None
    found = looked(turned(encoded(3, x264_params="sar=4/3"), MATRICES["clockwise"]))
    assert (found.height, found.width) == (43, 24)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ("tff=1", "interlaced video"),
        ("bff=1", "interlaced video"),
        ("transfer=smpte2084:colorprim=bt2020:colormatrix=bt2020nc", "HDR video (PQ)"),
        ("transfer=arib-std-b67", "HDR video (HLG)"),
        ("transfer=bt709", None),
        ("frame-packing=3", "stereoscopic video"),  # side by side
        ("frame-packing=5", "stereoscopic video"),  # by turns
        ("frame-packing=6", None),  # one view, and it says so
    ],
)
def test_what_a_player_does_more_for_is_set_aside(parameters, reason):
    found = looked(encoded(3, x264_params=parameters))
    assert (found.unfit and found.unfit[0]) == reason


@pytest.mark.parametrize(
    ("kind", "first", "reason"),
    [
        ("DOVI_METADATA", 0, "HDR video (Dolby Vision)"),
        ("DOVI_RPU_BUFFER", 0, "HDR video (Dolby Vision)"),
        ("SPHERICAL", 0, "spherical video"),  # equirectangular
        ("SPHERICAL", 5, None),  # rectilinear, as any camera
        ("STEREO3D", 8, None),  # unspecified: as phones' spatial videos, whose one view is decoded
        ("MASTERING_DISPLAY_METADATA", 0, None),
    ],
)
def test_side_data_that_no_encoder_here_writes(kind, first, reason):
    class Data(bytes):
        type = av.sidedata.sidedata.Type[kind]

    beside = Data(first.to_bytes(4, sys.byteorder) + bytes(28))
    picture = SimpleNamespace(
        height=24, width=32, interlaced_frame=False, color_trc=1, side_data=[beside]
    )
    found = decode.look(picture, 1.0)
    assert (found.unfit and found.unfit[0]) == reason and (found.height, found.width) == (24, 32)


def test_a_cover_picture_is_not_the_video(shown):
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 24, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        film = output.add_stream("libx264", rate=8, options={"threads": "1"})
        film.width, film.height, film.pix_fmt = 32, 24, "yuv420p"
        frames = [av.VideoFrame.from_ndarray(x, format="rgb24") for x in small_video.scene(6)]
        output.mux(cover.encode(frames[0].reformat(format="yuvj420p")))
        for stream, some in ((film, frames), (cover, [])):
            for frame in some:
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
    assert len(shown(buffer.getvalue())) == 6
    with av.open(io.BytesIO(buffer.getvalue())) as container:
        streams = container.streams.video
        for order in (streams, streams[::-1]):
            found = decode.video_stream(SimpleNamespace(streams=SimpleNamespace(video=order)))
            assert found.codec_context.name == "h264" and len(order) == 2
