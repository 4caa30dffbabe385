"""What a player shows of a video file: its pictures, how they are turned, or why it is refused.

A player skips what cannot be decoded and hides what it can of the damage. Here decoding goes on as
in a player, and the file is refused by what came out: a picture that is missing or damaged.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..common.errors import UserError

HDR = {16: "PQ", 18: "HLG"}  # transfer functions, by their number in ITU-T H.273
DOLBY = {"DOVI_METADATA", "DOVI_RPU_BUFFER"}  # without them the colours of some kinds are wrong
PACKED = range(1, 8)  # of FFmpeg's AVStereo3DType: both eyes' views in one picture, or by turns
RECTILINEAR = 5  # of FFmpeg's AVSphericalProjection: as any camera shows it
HIDDEN = ("vp8", "mpeg4")  # codecs whose packets need not hold a picture that is shown
MISSING = re.compile(r"reference picture missing|Missing reference picture|Could not find ref")
SLACK = 0.5  # seconds by which a file may end before the length that its header gives
TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # of frames [N, H, W, 3]
    "transpose": lambda frames: frames.swapaxes(1, 2),
    "hflip": lambda frames: frames[:, :, ::-1],
    "vflip": lambda frames: frames[:, ::-1],
}
QUARTERS = {0: "", 90: "transpose vflip", 180: "hflip vflip", 270: "transpose hflip"}  # to the left


class Unreadable(Exception):
    """The file cannot be decoded; the message says why.

    passing: another try may succeed, as after a time-out; else the file itself is damaged.
    """

    def __init__(self, message: str, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class Look(NamedTuple):
    """How a picture is shown."""

    height: int  # upright and in square pixels
    width: int
    turned: str  # steps of `TURNS` from the coded picture; "" for none
    unfit: tuple[str, str] | None  # why it is not shown faithfully here, and the remedy


def av() -> Any:
    """The PyAV module, or one sentence on how to get it."""
    try:
        import av
    except ImportError:
        raise UserError("video files need PyAV; run: pip install 'direct-fm[scale]'") from None
    return av


def pictures(path: Path) -> Iterator[tuple[Any, float]]:
    """Every picture that a player shows, with its pixels' width to height; or `Unreadable`.

    Edit lists are obeyed. Leading pictures, which refer to what lies before the start of a file cut
    from a longer one (open GOP), are not shown. Damage is raised after the last picture.
    """
    library = av()
    try:
        with library.open(str(path)) as container, _said(library) as said:
            stream = video_stream(container)
            aspect = float(stream.sample_aspect_ratio or 1)
            seen = _Seen()
            for packet in container.demux():
                seen.arrived(packet, packet.stream is stream)
                if packet.stream is not stream:
                    continue
                said.clear()
                for picture in _decoded(packet, seen, library):
                    yield picture, aspect
                if any(MISSING.search(message) for _, _, message in said):
                    seen.blamed.append((packet.pts, "a picture that it refers to is missing"))
            if fault := seen.fault(container, stream):
                raise Unreadable(fault)
    except (library.FFmpegError, OSError, ValueError, MemoryError) as error:
        passing = isinstance(error, OSError | MemoryError)
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unreadable(why, passing) from None


def video_stream(container: Any) -> Any:
    """The first video stream that is no cover picture."""
    for stream in container.streams.video:
        if not (stream.disposition & type(stream.disposition).attached_pic):
            return stream
    raise Unreadable("no video stream in it")


def look(picture: Any, aspect: float) -> Look:
    """How a picture whose pixels are `aspect` as wide as high is shown."""
    height, width, beside = picture.height, round(picture.width * aspect), _side_data(picture)
    turned = _turned(picture, beside)
    if turned is None:
        return Look(height, width, "", ("turned by an odd angle", "turn its pixels to use it"))
    if "transpose" in turned:
        height, width = width, height
    return Look(height, width, turned, _unfit(picture, beside or {}))


def _side_data(picture: Any) -> dict[str, bytes] | None:
    """What stands beside the pixels, by kind; None where PyAV does not know one of the kinds."""
    try:
        return {data.type.name: bytes(data) for data in picture.side_data}
    except ValueError:
        return None


def _unfit(picture: Any, beside: dict[str, bytes]) -> tuple[str, str] | None:
    """Why a player does more than to show the pixels, and the remedy; None where it does not."""
    if picture.interlaced_frame:
        return "interlaced video", "deinterlace it, as with ffmpeg -vf bwdif, to use it"
    if DOLBY & beside.keys():
        return "HDR video (Dolby Vision)", "map it to BT.709 to use it"
    if picture.color_trc in HDR:
        return f"HDR video ({HDR[picture.color_trc]})", "map it to BT.709 to use it"
    if _number(beside.get("STEREO3D")) in PACKED:
        return "stereoscopic video", "keep one eye's view, as with ffmpeg -vf stereo3d, to use it"
    if _number(beside.get("SPHERICAL")) not in (None, RECTILINEAR):
        return "spherical video", "cut out a flat view, as with ffmpeg -vf v360, to use it"
    return None


def _number(data: bytes | None) -> int | None:
    """The first field of FFmpeg's AVStereo3D or AVSphericalMapping, a C enumeration."""
    return int.from_bytes(data[:4], sys.byteorder) if data else None


def _turned(picture: Any, beside: dict[str, bytes] | None) -> str | None:
    """The steps of its display matrix; None where it is no multiple of 90 degrees.

    A coded point (x, y) is shown at (a x + c y, b x + d y), but for a shift (ISO/IEC 14496-12).
    """
    if beside is None:
        return QUARTERS.get(picture.rotation % 360)
    if "DISPLAYMATRIX" not in beside:
        return ""
    a, b, _, c, d = np.frombuffer(beside["DISPLAYMATRIX"], np.int32)[:5].tolist()
    small = max(abs(a), abs(b), abs(c), abs(d)) / 1000
    if abs(b) <= small and abs(c) <= small and a and d:
        steps, across, down = [], a, d
    elif abs(a) <= small and abs(d) <= small and b and c:
        steps, across, down = ["transpose"], c, b
    else:
        return None
    return " ".join(steps + ["hflip"] * (across < 0) + ["vflip"] * (down < 0))


class _Seen:
    """What the file held and what came out of the decoder."""

    def __init__(self) -> None:
        self.packets = 0  # with data, of the video stream
        self.times: list[int | None] = []  # of its packets that are to be shown
        self.shown: list[int | None] = []  # times of the pictures that came out
        self.blamed: list[tuple[int | None, str]] = []  # when something was wrong, and what
        self.end = 0.0  # seconds, of the last packet of any stream

    def arrived(self, packet: Any, own: bool) -> None:
        if packet.pts is not None:
            end = packet.pts + (packet.duration or 0)
            self.end = max(self.end, float(end * packet.time_base))
        if own and packet.size:
            self.packets += 1
            if not packet.is_discard:
                self.times.append(packet.pts)
            if packet.is_corrupt:
                self.blamed.append((packet.pts, "it is cut short"))

    def fault(self, container: Any, stream: Any) -> str | None:
        """Why not all that the file promises was shown whole; None where it was."""
        promised = min(stream.frames, len(stream.index_entries))  # an edit list may ask for fewer
        if self.packets < promised:
            return f"cut short: {self.packets} of {promised} frames are there"
        length = (container.duration or 0) / 1e6
        if not stream.frames and self.end < length - SLACK:
            return f"cut short: {self.end:.2f} of {length:.2f} s are there"
        first = None if None in self.times or not self.shown else self.shown[0]
        later = [what for time, what in self.blamed if _from(first, time)]
        if later:
            return f"{len(later)} pictures are damaged; the first: {later[0]}"
        missing = sum(_from(first, time) for time in self.times) - len(self.shown)
        if missing > self._leading() and self.shown and stream.codec_context.name not in HIDDEN:
            return f"{missing} of {len(self.times)} frames do not come out"
        return None

    def _leading(self) -> int:
        """Leading pictures that did not come out, where times are those of decoding, as in AVI."""
        shown = [time for time in self.shown if time is not None]
        if shown == sorted(shown) or shown[0] not in self.times:
            return 0
        later = self.times[self.times.index(shown[0]) + 1 :]
        return sum(1 for _ in itertools.takewhile(lambda time: time not in shown, later))


def _from(first: int | None, time: int | None) -> bool:
    """Whether a time is not before the first picture's, as a leading picture's is."""
    return first is None or time is None or time >= first


def _decoded(packet: Any, seen: _Seen, library: Any) -> Iterator[Any]:
    """The pictures that come out with this packet; what is wrong with them is noted."""
    try:
        found = packet.decode()
    except library.error.InvalidDataError as error:
        seen.blamed.append((packet.pts, str(error)))
        return
    for picture in found:
        seen.shown.append(picture.pts)
        if picture.is_corrupt:
            seen.blamed.append((picture.pts, "the decoder had to guess"))
        yield picture


@contextlib.contextmanager
def _said(library: Any) -> Iterator[list[Any]]:
    """What FFmpeg logs as errors while the block runs: there alone it notes a lost reference."""
    log = library.logging
    before = log.get_level(), log.get_skip_repeated()
    log.set_level(log.ERROR)
    log.set_skip_repeated(False)
    try:
        with log.Capture() as messages:
            yield messages
    finally:
        log.set_level(before[0])
        log.set_skip_repeated(before[1])
