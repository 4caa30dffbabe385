"""Video files by PyAV: writing clips for raters, and decoding files that may be broken.

A damaged file can bring a decoder's process down or hang it, so files of unknown health are decoded
in a child process, under a time limit and a memory limit.
"""

from __future__ import annotations

import io
import multiprocessing
import resource
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import UserError
from ..common.files import write_bytes

CHILD_MEMORY = 16 << 30  # bytes of address space: an endless allocation ends the child, not us


class Unreadable(Exception):
    """The file cannot be decoded; the message says why."""


def av() -> Any:
    """The PyAV module, or one sentence on how to get it."""
    try:
        import av
    except ImportError:
        raise UserError("video files need PyAV; run: pip install 'direct-fm[scale]'") from None
    return av


def write_video(path: Path, frames: np.ndarray, fps: int = 16) -> None:
    """uint8 [T, H, W, 3] as an mp4 (H.264, 4:2:0, crf 12), atomically. H and W must be even."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise UserError(f"{path}: {frames.dtype} {list(frames.shape)} is not uint8 [T, H, W, 3]")
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise UserError(f"{path}: {width}x{height} pixels; H.264 4:2:0 needs even numbers")
    buffer = io.BytesIO()
    with av().open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av().VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    write_bytes(path, buffer.getvalue())


def write_gif(path: Path, frames: np.ndarray, fps: int = 16) -> None:
    """uint8 [T, H, W, 3] as an endless GIF, atomically."""
    write_bytes(path, gif(frames, fps))


def gif(frames: np.ndarray, fps: int) -> bytes:
    """An endless GIF of uint8 [T, H, W, 3]; its clock counts hundredths of a second."""
    from PIL import Image

    first, *rest = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    milliseconds = max(20, round(100 / fps) * 10)
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0)
    return buffer.getvalue()


def rate(path: Path) -> float:
    """Frames per second, as the file says; 0 where it does not."""
    try:
        with av().open(str(path)) as container:
            return float(container.streams.video[0].average_rate or 0)
    except (av().FFmpegError, OSError, ValueError, IndexError):
        return 0.0


def probe(path: Path) -> dict[str, int]:
    """{"frames", "height", "width"} as coded, by decoding every frame; raises `Unreadable`."""
    frames = height = width = 0
    for picture in _pictures(path):
        if frames and (picture.height, picture.width) != (height, width):
            raise Unreadable(f"the picture's size changes at frame {frames}")
        frames, height, width = frames + 1, picture.height, picture.width
    if not frames:
        raise Unreadable("no frame in it")
    return {"frames": frames, "height": height, "width": width}


def read_frames(path: Path, indices: np.ndarray, height: int, width: int) -> np.ndarray:
    """The frames at ascending `indices`, resized (bicubic): uint8 [N, height, width, 3]."""
    wanted, found = set(indices.tolist()), {}
    for n, picture in enumerate(_pictures(path)):
        if n in wanted:
            resized = picture.reformat(width, height, "rgb24", interpolation="BICUBIC")
            found[n] = resized.to_ndarray()
    if len(found) < len(wanted):
        raise Unreadable(f"frame {min(wanted - set(found))} is missing")
    return np.stack([found[n] for n in indices.tolist()])


def _pictures(path: Path) -> Iterator[Any]:
    """Every frame, or `Unreadable`: ffmpeg alone would return what it can of a damaged stream."""
    library = av()
    packets = 0
    try:
        with library.open(str(path)) as container:
            if not container.streams.video:
                raise Unreadable("no video stream in it")
            stream = container.streams.video[0]
            stream.codec_context.options = {"err_detect": "explode"}
            for packet in container.demux(stream):
                packets += packet.size > 0
                yield from packet.decode()
            if packets < stream.frames:  # the header's count; 0 where it has none
                raise Unreadable(f"cut short: {packets} of {stream.frames} frames are there")
    except (library.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise Unreadable(str(error) or type(error).__name__) from None


class Child:
    """A process that runs functions for us, one at a time; started anew after a crash or a hang."""

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Any = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *fault: object) -> None:
        self._end()

    def call(self, function: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
        """`function(*arguments)`; what it raises, a crash or running too long is `Unreadable`."""
        if self._process is None:
            self._start()
        self._pipe.send((function, arguments))
        try:
            if not self._pipe.poll(seconds):
                self._end()
                raise Unreadable(f"decoding took more than {seconds:g} s")
            fault, value = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            status = self._process.exitcode
            self._end()
            raise Unreadable(f"the decoder died (exit status {status})") from None
        if fault is not None:
            raise Unreadable(fault)
        return value

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork may inherit another thread's lock
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self._pipe.recv()  # it is up: from here on the clock measures decoding alone

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._process = self._pipe = None


def _serve(pipe: Connection) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = CHILD_MEMORY if hard == resource.RLIM_INFINITY else min(CHILD_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    pipe.send("up")
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return  # the parent has gone
        try:
            pipe.send((None, function(*arguments)))
        except Exception as error:
            pipe.send((str(error) or type(error).__name__, None))
