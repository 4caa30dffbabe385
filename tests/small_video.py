"""Small video files of every kind that a player shows in its own way, made once a session."""

from __future__ import annotations

import io
import struct
from functools import lru_cache

import av
import numpy as np

ONE, W = 1 << 16, 1 << 30  # of a display matrix, 16.16 and 2.30 fixed point
MATRICES = {  # a, b, c, d: the coded point (x, y) is shown at (a x + c y, b x + d y)
    "upright": (1, 0, 0, 1),
    "clockwise": (0, 1, -1, 0),
    "upside down": (-1, 0, 0, -1),
    "counterclockwise": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "mirrored, upside down": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed, upside down": (0, -1, -1, 0),
}


def scene(count: int, height: int = 24, width: int = 32) -> np.ndarray:
    """uint8 [count, height, width, 3]: a bright top left and a dim bottom left corner on a ground
    that is 8 k grey in frame k, so that no two frames or turns of them are alike."""
    frames = np.repeat(np.arange(count) * 8 % 200, height * width * 3)
    frames = frames.reshape(count, height, width, 3).astype(np.uint8)
    frames[:, : height // 2, : width // 2] = (250, 40, 40)
    frames[:, height // 2 :, : width // 2] = (20, 90, 20)
    return frames


@lru_cache(maxsize=64)
def encoded(
    count: int = 24,
    size: tuple[int, int] = (24, 32),
    container: str = "mp4",
    codec: str = "libx264",
    rate: int = 8,
    **options: str,
) -> bytes:
    """The scene as a file; options: the encoder's, with _ for -."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        named = {name.replace("_", "-"): value for name, value in options.items()}
        stream = output.add_stream(codec, rate=rate, options={"threads": "1", **named})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for frame in scene(count, *size):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    return buffer.getvalue()


def turned(data: bytes, matrix: tuple[float, float, float, float]) -> bytes:
    """An mp4 with this display matrix in its track's header."""
    a, b, c, d = (round(ONE * value) for value in matrix)
    place = data.index(b"tkhd") + 44  # version 0: as FFmpeg writes short clips
    packed = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, W)
    return data[:place] + packed + data[place + 36 :]


def edited(data: bytes, first: int, count: int, rate: int = 8) -> bytes:
    """An mp4 whose edit list shows `count` frames from the `first` one."""
    place = data.index(b"elst") + 12  # after version, flags and the number of entries
    _, start = struct.unpack(">Ii", data[place : place + 8])
    with av.open(io.BytesIO(data)) as container:
        step = int(1 / container.streams.video[0].time_base) // rate
    packed = struct.pack(">Ii", 1000 * count // rate, start + first * step)
    return data[:place] + packed + data[place + 8 :]


def cut(data: bytes, keys: int = 0, container: str = "mp4", lost: tuple[int, ...] = ()) -> bytes:
    """The packets from the key frame after `keys` others, without the `lost` ones, as they are."""
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data)) as given, av.open(buffer, "w", format=container) as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        packets = [packet for packet in given.demux(video=0) if packet.size]
        begin = [n for n, packet in enumerate(packets) if packet.is_keyframe][keys]
        base = packets[begin].dts
        for n, packet in enumerate(packets[begin:]):
            if n not in lost:
                packet.dts, packet.pts, packet.stream = packet.dts - base, packet.pts - base, stream
                output.mux(packet)
    return buffer.getvalue()


def open_gop(count: int = 32, container: str = "mp4") -> bytes:
    """H.264 with a key frame every 8 frames, each with leading pictures that refer across it."""
    parameters = "keyint=8:min-keyint=8:open-gop=1:bframes=3:b-adapt=0:scenecut=0"
    return encoded(count, container=container, x264_params=parameters)
