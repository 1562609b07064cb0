"""Frames made one after another are the pictures that all views drawn together give, and only a few are in memory."""

import numpy as np
import pytest
from helpers import bump
from PIL import Image

from gan2shape_jax.results import animation, sweeps, view_frames, views
from gan2shape_jax.results.spool import spooled
from gan2shape_jax.results.view_frames import pictures_in_turn

_COUNT = 6  # more than are drawn together, and no multiple of that


@pytest.fixture(scope="module")
def result():
    return bump.result()


@pytest.fixture(scope="module")
def turned():
    return views.sweep_views(yaw_deg=np.linspace(-50, 40, _COUNT), pitch_deg=np.linspace(0, 20, _COUNT))


@pytest.fixture(scope="module")
def surfaces(result, turned):
    return views.draw(result, turned, size=24)


@pytest.mark.parametrize("few", [0, 2**30])
@pytest.mark.parametrize("show", views.SHOWS)
def test_every_bit_is_that_of_all_views_drawn_together(show, few, result, turned, surfaces, monkeypatch):
    monkeypatch.setattr(view_frames, "_FEW_PIXELS", few)
    lights = sweeps.light_circle(result.light, _COUNT)
    frames = list(pictures_in_turn(result, turned, lights, show=show, size=24))
    np.testing.assert_array_equal(np.stack(frames), views.picture(surfaces, show, light=lights))


def test_depths_of_views_that_show_no_object_have_a_range_all_the_same(result, turned, monkeypatch):
    monkeypatch.setattr(view_frames, "_FEW_PIXELS", 0)
    away = turned + np.array([0, 0, 0, 9, 0, 0], np.float32)
    lights = np.broadcast_to(result.light, (_COUNT, 4))
    frames = list(pictures_in_turn(result, away, lights, show="depth", size=16))
    together = views.picture(views.draw(result, away, size=16), "depth", light=result.light)
    np.testing.assert_array_equal(np.stack(frames), together)


def test_a_frame_is_made_when_it_is_asked_for(result, turned, monkeypatch):
    drawn = []
    original = views._draw_chunk

    def counted(*arguments, **options):
        drawn.append(1)
        return original(*arguments, **options)

    monkeypatch.setattr(views, "_draw_chunk", counted)
    frames = pictures_in_turn(result, turned, np.broadcast_to(result.light, (_COUNT, 4)), size=24)
    assert drawn == []
    for made, _ in enumerate(frames):
        assert len(drawn) == made // views._CHUNK + 1


def _frames(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (12, 10, 3), np.uint8) for _ in range(count)]


def test_a_spool_is_a_list_of_its_frames_and_leaves_no_file(tmp_path):
    frames = _frames(5)
    with spooled(iter(frames), tmp_path) as kept:
        assert len(kept) == 5 and list(tmp_path.iterdir()) == []
        for one, other in [*zip(kept, frames), (kept[-1], frames[-1]), (kept[2], frames[2])]:
            np.testing.assert_array_equal(one, other)
        for one, other in zip(kept[::-2], frames[::-2]):
            np.testing.assert_array_equal(one, other)
        with pytest.raises(IndexError):
            kept[5]
    with pytest.raises(OSError), spooled(iter(frames), tmp_path / "absent"):
        pass


@pytest.mark.parametrize("swing", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 13])
@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_an_animation_has_the_bytes_of_one_from_a_list(ending, count, swing, tmp_path):
    frames = _frames(count)
    animation.write_animation(tmp_path / f"turn{ending}", iter(frames), fps=16, swing=swing)
    whole = frames + frames[-2:0:-1] if swing else frames
    animation.write_animation(tmp_path / f"whole{ending}", whole, fps=16)
    assert (tmp_path / f"turn{ending}").read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
    if ending == ".gif":
        with Image.open(tmp_path / "turn.gif") as gif:
            assert getattr(gif, "n_frames", 1) == len(whole)
