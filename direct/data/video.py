"""Video files by PyAV: writing clips for raters, and reading files as a player shows them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import UserError
from ..common.files import write_bytes
from .decode import TURNS, Unreadable, av, look, pictures, video_stream


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
            return float(video_stream(container).average_rate or 0)
    except (av().FFmpegError, Unreadable, OSError, ValueError):
        return 0.0


def probe(path: Path) -> dict[str, Any]:
    """What a player shows, by decoding every frame; raises `Unreadable`.

    {"frames", "height", "width"}: upright and in square pixels. Also "turned", where the coded
    pictures are not upright (for `read_frames`), and "unfit": [reason, remedy], where a player does
    more than turning them to show them.
    """
    frames, shape, unfit = 0, None, None
    for picture, aspect in pictures(path):
        seen = look(picture, aspect)
        if shape not in (None, seen[:3]):
            raise Unreadable(f"the picture's size or turn changes at frame {frames}")
        frames, shape, unfit = frames + 1, seen[:3], unfit or seen.unfit
    if shape is None:
        raise Unreadable("no frame in it")
    found: dict[str, Any] = {"frames": frames, "height": shape[0], "width": shape[1]}
    if shape[2]:
        found["turned"] = shape[2]
    return found | ({"unfit": list(unfit)} if unfit else {})


def read_frames(
    path: Path, indices: np.ndarray, height: int, width: int, turned: str = ""
) -> np.ndarray:
    """The frames at ascending `indices`, resized (bicubic), turned: uint8 [N, height, width, 3].

    turned: steps of `decode.TURNS`, as `probe` gives them; "" reads the coded pictures.
    """
    wanted, found = set(indices.tolist()), {}
    coded = (height, width) if "transpose" in turned else (width, height)
    for n, (picture, _) in enumerate(pictures(path)):
        if n in wanted:
            found[n] = picture.reformat(*coded, "rgb24", interpolation="BICUBIC").to_ndarray()
    if len(found) < len(wanted):
        raise Unreadable(f"frame {min(wanted - set(found))} is missing")
    frames = np.stack([found[n] for n in indices.tolist()])
    for step in turned.split():
        frames = TURNS[step](frames)
    return np.ascontiguousarray(frames)
