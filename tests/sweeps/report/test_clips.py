"""A clip as it is kept and drawn."""

import base64
import io
import xml.etree.ElementTree as ET

import numpy as np
from PIL import Image

from direct.world.render import film
from sweeps.report import clips

from .galleries import RECORDS


def test_a_small_clip_is_kept_exactly_and_a_large_one_is_reduced():
    video = RECORDS[0].video()
    data, size = clips.picture(video)
    assert size == (32, 32, 17) and clips.PICTURE.fullmatch(data)
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))))
    for t in range(17):
        assert (strip[:, 32 * t : 32 * (t + 1)] == video[t]).all()
    large = np.repeat(np.repeat(np.repeat(video, 3, 0), 15, 1), 26, 2)  # [51, 480, 832, 3]
    data, (width, height, frames) = clips.picture(large)
    assert (width, height, frames) == (139, 80, 17) and data.startswith("data:image/jpeg")


def test_tracks_are_where_the_world_put_the_objects():
    for record in RECORDS:
        tracks, laws = clips.read_world(record.video())
        truth = film(record.record).xy  # [T, objects, 2]
        if record.record.scene == "pour":
            assert laws == ()
            continue
        for k in range(truth.shape[1]):
            off = min(
                np.nanmax(
                    [
                        np.hypot(*(np.array(place) - truth[t, k]))
                        for t, place in enumerate(path)
                        if place and (abs(truth[t, k] - 16) < 11).all()
                    ]
                )
                for path in tracks
            )
            assert off < 0.5
        assert len(laws) == truth.shape[1] and all(len(path) == 17 for path in laws)


def test_what_is_not_seen_breaks_the_line():
    path = ((1.0, 2.0), (2.0, 2.0), None, (4.0, 2.5))
    assert clips._line(path) == "M1 2L2 2M4 2.5"


def test_a_filmstrip_is_xml_with_six_frames_a_row(found):
    own = [x for x in found.examples if x.figure == "figure_5"]
    svg = clips.filmstrip([("why", x.prompt, x.clips) for x in own], found.size)
    tree = ET.fromstring(svg)
    frames = tree.findall("{http://www.w3.org/2000/svg}svg")
    assert len(frames) == 2 * 5 * 6
    pictures = tree.findall(".//{http://www.w3.org/2000/svg}image")
    assert len(pictures) == 2 * 5
    assert all(clips.PICTURE.fullmatch(image.get("href")) for image in pictures)
    moved = [use.get("x") for use in tree.findall(".//{http://www.w3.org/2000/svg}use")[:6]]
    assert [int(x) // -32 for x in moved] == [0, 3, 6, 10, 13, 16]
