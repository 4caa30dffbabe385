"""Pictures for a person: contact sheets (a row per clip) and GIFs, captions beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from .motion import Array

SCALE = 3  # screen pixels per pixel
TEXT_HEIGHT = 14


def sheet(path: Path, videos: Sequence[Array], captions: Sequence[str], every: int = 2) -> None:
    """A PNG: one row per video [T, H, W, 3], every second frame, its caption above it."""
    rows = [_enlarge(np.concatenate(list(video[::every]), axis=1)) for video in videos]
    width, height = rows[0].width, rows[0].height + TEXT_HEIGHT
    image = Image.new("RGB", (width, height * len(rows)), "white")
    pen = ImageDraw.Draw(image)
    for k, (row, text) in enumerate(zip(rows, captions, strict=True)):
        pen.text((2, k * height + 1), text, fill="black")
        image.paste(row, (0, k * height + TEXT_HEIGHT))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def gif(path: Path, videos: Sequence[Array], columns: int = 4, fps: int = 8) -> None:
    """An endless GIF with the videos side by side, `columns` to a row."""
    gap = 1
    frames = []
    blank = np.full_like(videos[0], 255)
    padded = [*videos, *[blank] * (-len(videos) % columns)]
    for t in range(len(videos[0])):
        tiles = [
            np.pad(video[t], ((gap, gap), (gap, gap), (0, 0)), constant_values=255)
            for video in padded
        ]
        rows = [
            np.concatenate(tiles[k : k + columns], axis=1) for k in range(0, len(tiles), columns)
        ]
        frames.append(_enlarge(np.concatenate(rows)))
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=1000 // fps, loop=0)


def _enlarge(pixels: Array) -> Image.Image:
    image = Image.fromarray(pixels)
    return image.resize((image.width * SCALE, image.height * SCALE), Image.Resampling.NEAREST)
