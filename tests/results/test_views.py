"""New views and lights of a result, a few at a time in memory, true to the data; and animations of them."""

import dataclasses
import errno
import os
import pathlib
import re
import subprocess
import sys
from unittest import mock

import imageio_ffmpeg
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bump
from helpers.bump import SIZE
from PIL import Image

from gan2shape_jax.apps.edit import write
from gan2shape_jax.errors import FatalRunError, UserError
from gan2shape_jax.geometry import lighting, mesh_rasterizer, rasterizer
from gan2shape_jax.geometry.camera import Camera, back_project
from gan2shape_jax.results import Reconstruction, draw_gan_views, load, pictures, save_result, views
from gan2shape_jax.results.views import fitting_window, pictures_in_turn

_COUNT = 6  # more than are drawn together, and no multiple of that


@pytest.fixture(scope="module")
def result() -> Reconstruction:
    return bump.result()


def test_frontal_view_shows_the_canonical_picture(result):
    """The lit mesh from the front is the canonical picture, softened by averaging samples."""
    ramp = np.linspace(-0.8, 0.6, SIZE, dtype=np.float32)
    albedo = np.stack(np.broadcast_arrays(ramp, ramp[:, None], -ramp), axis=-1)
    normal = np.asarray(lighting.normals(result.depth, result.camera))
    shading = np.asarray(lighting.shade(normal, result.light)[0])
    expected = np.clip(np.asarray(lighting.apply_shading(albedo, shading)), -1, 1)
    surfaces = views.draw(dataclasses.replace(result, signed_albedo=albedo), views.sweep_views(), size=SIZE, cut=False)
    drawn = views.picture(surfaces, "image", light=result.light)[0].astype(np.float32) / 127.5 - 1
    assert np.abs(drawn - expected)[3:-3, 3:-3].max() < 0.06


@pytest.mark.parametrize("wide", [False, True])
def test_no_pixel_of_a_turned_mesh_touches_the_border(result, wide):
    if wide:  # an object that fills the photograph, as faces do
        result = dataclasses.replace(result, mask=np.ones_like(result.mask))
    around = views.turn_views(result.category)
    windows = [fitting_window(result, around, cut=cut) for cut in (True, False)]
    drawn = [views.draw(result, around, size=32, cut=cut, window=window) for cut, window in zip((True, False), windows)]
    for surfaces in drawn:
        covered = surfaces.coverage.any(axis=0)
        rings = [covered[[k, -1 - k]].any() or covered[:, [k, -1 - k]].any() for k in range(4)]
        assert not rings[0]
        assert any(rings) or not wide  # and it is no smaller than need be


def test_a_mesh_that_fits_and_one_of_the_reference_are_framed_as_the_camera_sees_them(result):
    mask = np.zeros_like(result.mask)
    mask[SIZE // 2 - 2 : SIZE // 2 + 2, SIZE // 2 - 2 : SIZE // 2 + 2] = 1
    turns = views.sweep_views(yaw_deg=[-60, 60])
    assert fitting_window(dataclasses.replace(result, mask=mask), turns) == 1
    assert fitting_window(result, turns, cut=False) > 1
    assert fitting_window(dataclasses.replace(result, reference=True), turns, cut=False) == 1


def test_positive_yaw_turns_the_front_left_and_positive_dx_lights_from_the_left(result):
    spot = np.full_like(result.signed_albedo, -1)
    spot[np.unravel_index(result.depth.argmin(), result.depth.shape)] = 1
    surfaces = views.draw(dataclasses.replace(result, signed_albedo=spot), views.sweep_views(yaw_deg=[0, 40]), size=32)
    front, turned = (view.sum(axis=(0, 2)).argmax() for view in surfaces.albedo)
    assert turned < front - 2
    white = dataclasses.replace(surfaces, albedo=np.ones_like(surfaces.albedo))
    lit = views.picture(white, "image", light=np.array([0.0, 1.0, 1.0, 0.0], np.float32))[0].mean(axis=-1)
    observed = surfaces.coverage[0] > 0.9
    assert lit[:, :16][observed[:, :16]].mean() > lit[:, 16:][observed[:, 16:]].mean() + 20


def test_the_photos_texture_is_shown_as_it_is_under_its_own_light_and_follows_others(result):
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:, :32, 0], texture[:, 32:, 2] = 200, 200  # red at the left, blue at the right
    shown = dataclasses.replace(result, texture=texture)
    surfaces = views.draw(shown, views.sweep_views(), size=64)
    brighter = result.light * np.array([1, 1.5, 1, 1], np.float32)
    as_it_is, bright = views.picture(surfaces, "image", light=np.stack([result.light, brighter])).astype(int)
    inside = surfaces.coverage[0] > 0.99
    one_colour = inside & (np.abs(np.arange(64) - 31.5) > 2)
    assert np.abs(as_it_is - texture)[one_colour].max() <= 1
    assert (bright >= as_it_is)[inside].all() and bright[inside].mean() > 1.1 * as_it_is[inside].mean()
    plain = views.draw(result, views.sweep_views(), size=64)
    np.testing.assert_allclose(surfaces.albedo, plain.albedo, atol=1e-6)  # the method's own is a view of it


@pytest.mark.parametrize("category, yaw", [("car", 45), ("cat", 70)])
def test_turntables_are_as_the_method_says(category, yaw):
    turns = np.rad2deg(views.turn_views(category))
    np.testing.assert_allclose(turns[:9, 1], np.linspace(-yaw, yaw, 9), atol=1e-4)
    np.testing.assert_allclose(turns[9:, 0], np.linspace(-20, 20, 5), atol=1e-4)


def test_lights_are_as_the_method_says(result):
    lights = views.relight_rows(result.light)
    assert lights.shape == (4, 5, 4)
    np.testing.assert_allclose(lights[0, 0], [0.4 - 0.18, 0.9, -1.5, 0], atol=1e-6)
    np.testing.assert_allclose(lights[3, 4], [0.4 - 0.36, 1.2, 1.5, 0.6], atol=1e-6)


def test_gan_views_project_every_view_and_light_once_in_equal_batches(result):
    project = mock.Mock(side_effect=lambda pictures: pictures)
    drawn = draw_gan_views(result, project, batch=8)
    observed = [call.args[0] for call in project.call_args_list]
    assert [len(pictures) for pictures in observed] == [8] * 5
    assert drawn.yaws.shape == (9, SIZE, SIZE, 3) and drawn.pitches.shape == (5, SIZE, SIZE, 3)
    np.testing.assert_array_equal(drawn.yaws, np.concatenate(observed)[:9])
    assert drawn.lights.shape == (4, 5, SIZE, SIZE, 3)
    # The two frontal pictures of the sweeps are one, and the canonical picture but for sampling.
    np.testing.assert_allclose(drawn.yaws[4], drawn.pitches[2], atol=1e-6)
    assert np.abs(drawn.yaws[4] - result.canonical)[2:-2, 2:-2].mean() < 0.05


def test_gan_views_are_lit_from_the_side_that_was_asked_for(result):
    white = dataclasses.replace(result, signed_albedo=np.full_like(result.signed_albedo, -0.2), view=np.zeros(6))
    lights = draw_gan_views(white, lambda pictures: pictures).lights[-1].mean(axis=-1)
    halves = [picture[4:-4, 8:-4].mean() - picture[4:-4, 4:8].mean() for picture in lights]
    assert np.all(np.diff(halves) < 0)  # from the right to the left


def test_a_result_of_the_reference_is_drawn_with_its_faults(result, tmp_path):
    faulty = dataclasses.replace(result, reference=True)
    save_result(faulty, tmp_path / "faulty")
    assert load(tmp_path / "faulty").reference
    front = np.zeros((1, 6), np.float32)
    mended, drawn = (views.draw(some, front, size=32).albedo for some in (result, faulty))
    assert np.abs(mended - drawn).max() > 0.1  # the colours differ from pixel to pixel
    observed = [draw_gan_views(some, lambda images: images).yaws for some in (result, faulty)]
    assert np.abs(observed[0] - observed[1]).max() > 0.1  # sampled half a pixel off


@pytest.fixture(scope="module")
def turned():
    return views.sweep_views(yaw_deg=np.linspace(-50, 40, _COUNT), pitch_deg=np.linspace(0, 20, _COUNT))


def test_every_bit_is_that_of_all_views_drawn_together(result, turned):
    lights = views.relight_rows(result.light).reshape(-1, 4)[:_COUNT]
    surfaces = views.draw(result, turned, size=24)
    for show in views.SHOWS:
        frames = list(pictures_in_turn(result, turned, lights, show=show, size=24))
        np.testing.assert_array_equal(np.stack(frames), views.picture(surfaces, show, light=lights))
    away = turned + np.array([0, 0, 0, 9, 0, 0], np.float32)  # no view shows the object
    frames = list(pictures_in_turn(result, away, lights, show="depth", size=24))
    assert (np.stack(frames) == 255).all()


def test_a_frame_is_made_when_it_is_asked_for(result, turned, monkeypatch):
    draw = mock.Mock(wraps=views._draw_chunk)
    monkeypatch.setattr(views, "_draw_chunk", draw)
    frames = pictures_in_turn(result, turned, np.broadcast_to(result.light, (_COUNT, 4)), size=24)
    assert draw.call_count == 0
    for made, _ in enumerate(frames):
        assert draw.call_count == made // views._CHUNK + 1


_FRAME = np.zeros((16, 16, 3), np.uint8)
_FULL = pathlib.Path("/dev/full")
_NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# an odd side too
@pytest.mark.parametrize(("count", "side"), [(1, 12), (5, 11)])
def test_a_swing_has_the_bytes_of_its_frames_there_and_back(tmp_path, count, side):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (side, 10, 3), np.uint8) for _ in range(count)]
    whole = frames + frames[-2:0:-1]
    pictures.write_animation(tmp_path / "turn", iter(frames), fps=16, swing=True)
    for ending in pictures.MOVING:
        pictures.write_animation(tmp_path / f"whole{ending}", whole, fps=16)
        assert (tmp_path / f"turn{ending}").read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
    with Image.open(tmp_path / "turn.gif") as gif:
        assert getattr(gif, "n_frames", 1) == len(whole) and gif.size == (10, side)
    # Not `imageio_ffmpeg.read_frames`, which forks this process, of which JAX warns.
    look = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", tmp_path / "turn.mp4"]
    assert re.search(rb"Video: .* 10x12\b", subprocess.run(look, capture_output=True, check=False).stderr)


@pytest.mark.parametrize("ending", [".mp4", ".gif", ""])
@pytest.mark.parametrize("error, raised", [(KeyboardInterrupt(), KeyboardInterrupt), (_NO_SPACE, FatalRunError)])
def test_frames_that_end_early_leave_the_former_file(ending, error, raised, tmp_path):
    def frames():
        yield "0.png", _FRAME
        raise error

    out = tmp_path / f"turn{ending}"
    if ending:
        out.write_bytes(b"former")
    with pytest.raises(raised):
        write(out, still=dict, moving=lambda: (frame for _, frame in frames()), single=frames, swing=False)
    assert [path.name for path in tmp_path.iterdir()] == ([out.name] if ending else [])
    assert not ending or out.read_bytes() == b"former"


@pytest.mark.skipif(not _FULL.exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_said(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    for ending in pictures.MOVING:
        (tmp_path / f"turn{ending}").symlink_to(_FULL)
        with pytest.raises(OSError) as refusal:
            pictures.write_animation(tmp_path / f"turn{ending}", iter(noise), fps=16)
        assert refusal.value.errno == errno.ENOSPC


def test_an_encoder_that_gives_up_leaves_nothing(tmp_path, monkeypatch):
    program = "import sys; sys.stdin.buffer.read(9); sys.exit('no such codec')"
    (tmp_path / "ffmpeg").write_text(f"#!{sys.executable}\nopen({str(tmp_path / 'half')!r}, 'w')\n{program}\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(tmp_path / "ffmpeg"))
    with pytest.raises(UserError, match="no such codec"):
        write(tmp_path / "turn.mp4", still=dict, moving=lambda: [_FRAME] * 50, single=dict, swing=False)
    assert {path.name for path in tmp_path.iterdir()} == {"ffmpeg", "half"}


def test_exchanged_vertices_are_the_ends_of_every_cells_diagonal():
    """The published code hands a cell's colours over in the order of reading, not of its triangles' vertices."""
    side = 5
    camera = Camera(side)
    rng = np.random.default_rng(0)
    colours = rng.uniform(size=(side, side, 3)).astype(np.float32)
    flat = back_project(np.ones((side, side), np.float32), camera)
    observed = rasterizer.rasterize(flat, camera, samples=rasterizer.SampleGrid.over(camera, size=4 * side))
    faces = views.exchanged_faces(mesh_rasterizer.grid_faces(side, side))
    drawn = np.asarray(mesh_rasterizer.interpolate(observed, jnp.asarray(colours.reshape(-1, 3)), faces=faces))
    fraction = (np.arange(4 * side) + 0.5) / 4 - 0.5  # image coordinates of the samples
    y, x = np.meshgrid(fraction, fraction, indexing="ij")
    inside = (np.minimum(x, y) >= 0) & (np.maximum(x, y) < side - 1)
    inside &= np.abs(x % 1 + y % 1 - 1) >= 1e-3  # not on a diagonal
    assert inside.mean() > 0.4
    i, j = y[inside].astype(int), x[inside].astype(int)
    u, v = (y[inside] % 1)[:, None], (x[inside] % 1)[:, None]
    right, below = colours[i + 1, j], colours[i, j + 1]  # exchanged
    near = (1 - u - v) * colours[i, j] + v * right + u * below
    far = (u + v - 1) * colours[i + 1, j + 1] + (1 - u) * right + (1 - v) * below
    np.testing.assert_allclose(drawn[inside], np.where(u + v < 1, near, far), atol=1e-4)
