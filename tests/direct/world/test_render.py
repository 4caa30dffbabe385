"""Pixels of a film: coverage of known areas, what is in front, what never moves."""

from dataclasses import replace

import numpy as np
import pytest

from direct.world.motion import FLOOR, FRAMES, OTHER_RADIUS, SIZE, WALL
from direct.world.record import BACKGROUNDS, COLORS, RADIUS, SCENES, Record, draw
from direct.world.render import (
    PUDDLE_DEPTH,
    STREAM_WIDTH,
    disk,
    film,
    pour_mask,
    render,
    setting_image,
    square,
    stage,
)

GLIDE = Record("glide", "red", "white", "large", "quickly", "right")


@pytest.mark.parametrize("radius", [2.5, 4.0, 6.3])
@pytest.mark.parametrize("center", [(16.0, 16.0), (10.3, 20.7)])
def test_coverage_is_the_area(radius, center):
    for shape in (disk, square):
        alpha = shape(np.array([center]), np.array([radius]))[0]
        assert alpha.sum() == pytest.approx(np.pi * radius**2, rel=0.02)
        assert alpha.min() >= 0 and alpha.max() == 1
        weights = alpha / alpha.sum()
        x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
        assert ((weights * x).sum(), (weights * y).sum()) == pytest.approx(center, abs=0.02)


@pytest.mark.parametrize("material", ["sand", "water"])
def test_what_lies_on_the_ground_is_what_was_poured(material):
    volume = np.array([0.0, 20.0, 45.0])
    alpha = pour_mask(volume, np.full(3, 16.0), material, "small")
    ground = alpha[:, int(FLOOR) - 8 : int(FLOOR)].copy()
    ground[:, :, 15:17] = 0  # the stream
    height = {"sand": np.sqrt(volume) - 0.5, "water": PUDDLE_DEPTH}[material]  # behind the stream
    hidden = np.where(volume > 0, STREAM_WIDTH["small"] * height, 0)
    assert ground.sum((1, 2)) == pytest.approx(volume - hidden, abs=1)
    assert not alpha[:, int(FLOOR) + 1 :].any()


def test_a_film_holds_what_the_record_says():
    shown = film(
        Record("meet", "red", "grey", "small", "slowly", "right", "wood", "bounces", "blue")
    )
    assert shown.xy.shape == (FRAMES, 2, 2) and shown.volume.size == 0
    assert (shown.radius == [RADIUS["small"], OTHER_RADIUS]).all() and (shown.opacity == 1).all()
    pour = film(Record("pour", "red", "grey", "small", "slowly", material="sand"))
    assert pour.volume[0] == 0 and np.allclose(np.diff(pour.volume, 2), 0)


def test_a_pixel_well_inside_has_the_objects_colour_and_the_rest_the_stages():
    video = render(GLIDE)
    assert video.shape == (FRAMES, SIZE, SIZE, 3) and video.dtype == np.uint8
    empty = np.rint(stage(GLIDE) * 255)
    for frame, (x, y) in zip(video, film(GLIDE).xy[:, 0], strict=True):
        assert (frame[int(y), int(x)] == np.rint(np.array(COLORS["red"]) * 255)).all()
        far = np.hypot(*np.meshgrid(np.arange(SIZE) + 0.5 - x, np.arange(SIZE) + 0.5 - y)) > 6
        assert (frame[far] == empty[far]).all()


def test_the_first_object_is_in_front_and_opacity_mixes():
    record = replace(GLIDE, scene="meet", material="wood", contact="sticks", other="blue")
    shown = film(record)
    both = replace(shown, xy=np.full_like(shown.xy, 16.0))
    red, blue = (np.rint(np.array(COLORS[name]) * 255) for name in ("red", "blue"))
    assert (render(record, both)[0, 16, 16] == red).all()
    opacity = np.ones_like(shown.opacity)
    opacity[:, 0] = 0
    assert (render(record, replace(both, opacity=opacity))[0, 16, 16] == blue).all()
    half = render(record, replace(both, opacity=opacity * 1 + [[0.5, 0]]))[0, 16, 16]
    assert half == pytest.approx((red + blue) / 2, abs=1)


def test_settings_are_cached_read_only_and_differ():
    images = {
        (scene.setting, background): setting_image(scene.setting, background)
        for scene in SCENES.values()
        for background in BACKGROUNDS
    }
    assert len({image.tobytes() for image in images.values()}) == len(images)
    with pytest.raises(ValueError, match="read-only"):
        images["wall", "white"][0] = 0
    left, right = (setting_image("wall", "white", side) for side in ("left", "right"))
    assert np.array_equal(left[:, ::-1], right) and not np.array_equal(left, right)
    brick = (right[10] != right[10, 0]).any(-1)
    assert brick.sum() == WALL and brick[-int(WALL) :].all()


def test_a_stage_is_the_same_for_each_start_but_for_the_spout():
    rng = np.random.default_rng(0)
    for scene in SCENES:
        record = draw(rng, scene)
        other = replace(record, start=(0.0, 0.1, 0.9) if record.start[0] > 0.5 else (0.99, 0, 0))
        assert np.array_equal(stage(record), stage(other)) == (scene != "pour")
