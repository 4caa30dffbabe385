"""A clip as it is kept and drawn."""

import base64
import io
import json
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

from direct.world.render import film
from sweeps.report import clips

from .galleries import RECORDS


@pytest.mark.slow
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


@pytest.mark.slow
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


CLIP = clips.Clip(
    "DiReCT",
    {"SA": 0.914, "PC": 0.1251},
    "data:image/png;base64,AA==",
    (((1.0, 2.0), None, (3.25, 4.0)),),
    (((1.0, 2.0), (2.0, 3.0), (3.0, 4.0)),),
)


def test_a_clip_is_read_back_from_its_json():
    assert clips.clip_of(json.loads(json.dumps(asdict(CLIP)))) == CLIP


@pytest.mark.parametrize(
    "damage",
    [
        {"picture": "https://example.invalid/x.png"},
        {"picture": 'data:image/png;base64,AA" onload="x'},
        {"picture": None},
        {"scores": 3},
        {"scores": {"SA": "high", "PC": 0.5}},
        {"tracks": [[[1]]]},
        {"laws": [["ab"]]},
        {"laws": None},
    ],
)
def test_what_is_no_clip_is_refused(damage):
    with pytest.raises((ValueError, TypeError, KeyError, IndexError)):
        clips.clip_of(asdict(CLIP) | damage)


def test_a_film_has_words_paths_and_the_places_of_its_spots():
    found = clips.film(CLIP)
    assert found["scores"] == clips.score_words(CLIP) == "SA 91, PC 13"
    own = replace(CLIP, scores={"image_text": 0.25678})
    assert clips.score_words(own) == "image_text 0.257", "a judge's own, as it is"
    assert found["tracks"] == ["M1 2M3.25 4"] and found["laws"] == ["M1 2L2 3L3 4"]
    assert found["spots"] == ["1,2 - 3.25,4"]


def test_few_frames_are_shown_as_they_are_and_many_are_thinned_from_first_to_last():
    video = np.zeros((50, 4, 6, 3), np.uint8)
    video[0], video[-1] = 200, 100
    for frames, kept in ((video[:3], 3), (video, clips.FRAMES)):
        data, size = clips.picture(frames)
        assert size == (6, 4, kept)
        strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))))
        assert strip.shape == (4, 6 * kept, 3) and strip[0, 0, 0] == frames[0, 0, 0, 0]
        assert strip[-1, -1, 0] == frames[-1, -1, -1, 0]
