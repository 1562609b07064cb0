"""The run's page in a real browser: the model appears, turns, is relit, and agrees with the method's own renderer."""

import io
import time

import numpy as np
import pytest
from helpers.shown_page import IS_SHOWN, difference, middle, snapshot, state
from PIL import Image

from gan2shape_jax.results import build_mesh, host
from gan2shape_jax.results.mesh import mesh_scale

pytestmark = pytest.mark.browser


# --- the model -------------------------------------------------------------------------------------------------------


def test_the_model_appears_and_the_browser_complains_of_nothing(page):
    shot = snapshot(page)
    assert 0.3 < (shot[..., 3] > 0).mean() < 0.95  # the object, and something around it
    assert shot[shot[..., 3] > 0][:, :3].std() > 10
    on_screen = _canvas_pixels(page)
    assert len(np.unique(on_screen.reshape(-1, 3), axis=0)) > 500
    assert page.complaints() == []


def _canvas_pixels(page) -> np.ndarray:
    box = page.box("#canvas")
    page.frames()
    shot = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    x, y, side = round(box["x"]), round(box["y"]), round(box["width"])
    return shot[y : y + side, x : x + side]


def _photo_of(shown: np.ndarray) -> np.ndarray:
    """The part of the canvas that is the photo's: it shows 1.2 times as much along each side."""
    margin = round(len(shown) * (1 - 1 / 1.2) / 2)
    return shown[margin:-margin, margin:-margin]


def test_what_is_on_the_screen_is_the_photos_picture_and_what_lies_around_it(page, result):
    shown = _photo_of(_canvas_pixels(page))
    drawn = snapshot(page, len(shown))
    covered = drawn[..., 3] > 254.5
    off = np.abs(shown.astype(np.float32) - drawn[..., :3]).mean(axis=-1)[covered]
    assert covered.mean() > 0.3 and np.median(off) < 2 and off.mean() < 4


def test_the_mesh_is_that_of_build_mesh(page, result):
    script = (
        "(() => { const g = gan2shape.viewer().geometry(); const of = n => Array.from(g.getAttribute(n).array);"
        "return {position: of('position'), normal: of('normal'), place: of('place'), "
        "faces: Array.from(g.getIndex().array)}; })()"
    )
    shown = {key: np.array(values) for key, values in page.evaluate(script).items()}
    expected = build_mesh(result)
    faces = shown["faces"].reshape(-1, 3)
    assert faces.shape == expected.faces.shape
    flipped = (shown["position"].reshape(-1, 3) - [0, 0, result.camera.rot_center_depth]) * [1, -1, -1]
    pixel = 1 / result.camera.image_size  # in the mesh's units
    corners = flipped[faces] * mesh_scale(result.camera)
    assert np.abs(corners - expected.vertices[expected.faces]).max() < 0.001 * pixel
    normals = (shown["normal"].reshape(-1, 3) * [-1, 1, 1])[faces]
    cosine = (normals * expected.vertex_normals[expected.faces]).sum(axis=-1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.2
    places = shown["place"].reshape(-1, 2)[faces]
    assert np.abs(places * [1, -1] + [0, 1] - expected.visual.uv[expected.faces]).max() < 1e-5


def test_the_photos_camera_shows_what_the_methods_own_renderer_does(page, result):
    """Mean difference from `reconstruction` below 1 of 255; half a pixel off it would be above 2."""
    size = result.camera.image_size
    shot = snapshot(page, size, samples=4)
    expected = (result.reconstruction / 2 + 0.5) * 255
    covered = shot[..., 3] > 254.5
    assert covered.mean() > 0.3
    off = np.abs(shot[..., :3] - expected).mean(axis=-1)
    print("mean difference", off[covered].mean(), "95th percentile", np.percentile(off[covered], 95))
    assert off[covered].mean() < 1.0 and np.percentile(off[covered], 95) < 3.0
    half_off = (expected + np.roll(expected, 1, axis=1)) / 2
    assert np.abs(half_off - expected).mean(axis=-1)[covered].mean() > 2 * off[covered].mean()


def test_each_mode_shows_something_else(page):
    shots = {}
    for mode in ("texture", "albedo", "normals", "clay", "wire"):
        page.evaluate(f"document.getElementById('mode-{mode}').click()")
        shots[mode] = snapshot(page)
        assert state(page)["mode"] == mode
    names = list(shots)
    for k, one in enumerate(names):
        for other in names[k + 1 :]:
            assert difference(shots[one], shots[other]) > 3, (one, other)


def test_unlit_colours_and_normals_are_those_of_the_arrays(page, result):
    size = result.camera.image_size
    page.evaluate("gan2shape.viewer().home(1)")  # the canonical frame: pixel for pixel the arrays
    for mode, expected in (("albedo", result.albedo), ("normals", _normals(result))):
        page.evaluate(f"document.getElementById('mode-{mode}').click()")
        shot = snapshot(page, size, samples=3)
        inside = shot[..., 3] > 254.5
        off = np.abs(shot[..., :3] - (expected / 2 + 0.5) * 255).mean(axis=-1)
        assert inside.mean() > 0.3 and off[inside].mean() < 1.5, mode


def _normals(result) -> np.ndarray:
    return host.normals(result.depth, result.camera)


# --- turning ---------------------------------------------------------------------------------------------------------


def test_dragging_turns_the_model_and_a_button_brings_it_back(page):
    before, (x, y) = snapshot(page), middle(page)
    assert state(page)["atPhoto"]
    page.drag((x, y), (x + 140, y))
    turned = state(page)
    assert turned["fromRight"] < -10 and not turned["atPhoto"]  # to the right: one sees its left side
    assert difference(before, snapshot(page)) > 5
    page.click("#to-photo")
    assert state(page)["atPhoto"]
    assert difference(before, snapshot(page)) < 0.01


def test_a_finger_turns_the_model(browser, folder):
    browser.screen(390, 844, scale=2, touch=True, still=True)
    browser.open(folder / "index.html")
    browser.wait(IS_SHOWN.format(0))
    before, (x, y) = snapshot(browser), middle(browser)
    scrolled = browser.evaluate("scrollY")
    browser.touch((x, y), (x - 80, y + 30))
    assert state(browser)["fromRight"] > 8 and browser.evaluate("scrollY") == scrolled
    assert difference(before, snapshot(browser)) > 5


def test_the_wheel_scrolls_the_page_until_one_handles_the_model(page):
    (x, y) = middle(page)
    near = state(page)["distance"]
    page.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-120)
    assert state(page)["distance"] == near
    page.click("#canvas")
    page.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-120)
    assert state(page)["distance"] < near


def test_the_front_is_the_canonical_view(page, result):
    page.click("#to-front")
    turned = state(page)
    assert turned["atFront"] and not turned["atPhoto"] and turned["pose"] == 1
    size = result.camera.image_size
    shot = snapshot(page, size, samples=3)
    inside = shot[..., 3] > 254.5
    expected = (result.canonical / 2 + 0.5) * 255
    assert np.abs(shot[..., :3] - expected).mean(axis=-1)[inside].mean() < 1.5


def test_the_photo_lies_over_the_model_and_leaves_when_it_turns(page, result):
    page.evaluate("gan2shape.viewer().turn(0.4, 0)")
    page.evaluate(
        "(() => { const s = document.getElementById('overlaid'); s.value = 100; "
        "s.dispatchEvent(new Event('input')); })()"
    )
    assert state(page)["atPhoto"]  # there the two agree
    shown = _photo_of(_canvas_pixels(page))
    photo = Image.fromarray(np.rint((result.image / 2 + 0.5) * 255).astype(np.uint8))
    expected = np.asarray(photo.resize(shown.shape[1::-1], Image.Resampling.BILINEAR), np.float32)
    assert np.abs(shown.astype(np.float32) - expected)[20:-20, 20:-20].mean() < 3
    page.evaluate("gan2shape.viewer().turn(0.3, 0)")
    page.frames()
    assert page.evaluate("document.getElementById('overlay').hidden")


def test_swaying_stops_when_asked(page):
    page.click("#sway")
    time.sleep(0.3)
    assert state(page)["swaying"] and not state(page)["atPhoto"]
    page.click("#sway")
    assert not state(page)["swaying"]


# --- light -----------------------------------------------------------------------------------------------------------


def _sides(shot: np.ndarray) -> tuple[float, float]:
    """Mean brightness of the object's left and right thirds."""
    columns = np.flatnonzero((shot[..., 3] > 0).any(axis=0))
    third = len(columns) // 3
    grey = shot[..., :3].mean(axis=-1)
    means = []
    for chosen in (columns[:third], columns[-third:]):
        covered = shot[:, chosen, 3] > 254.5
        means.append(float(grey[:, chosen][covered].mean()))
    return means[0], means[1]


def test_dragging_the_light_ball_lights_the_side_it_is_dragged_to(page):
    box, (x, y) = page.box("#ball"), middle(page, "#ball")
    page.drag((x, y), (x - box["width"] * 0.42, y))
    left = _sides(snapshot(page))
    assert state(page)["light"][2] > 1  # positive dx lights from the picture's left
    page.drag((x, y), (x + box["width"] * 0.42, y))
    right = _sides(snapshot(page))
    assert state(page)["light"][2] < -1
    assert left[0] > right[0] + 15 and right[1] > left[1] + 15
    page.drag((x, y), (x, y - box["height"] * 0.42))
    assert state(page)["light"][3] > 1  # positive dy lights from above
    above = snapshot(page)
    rows = np.flatnonzero((above[..., 3] > 0).any(axis=1))
    grey, covered = above[..., :3].mean(axis=-1), above[..., 3] > 254.5
    top, low = rows[: len(rows) // 3], rows[-len(rows) // 3 :]
    assert grey[top][covered[top]].mean() > grey[low][covered[low]].mean() + 15


def test_the_light_is_the_methods_own(page, result):
    """Any light, not only the result's: albedo * (ambient + diffuse * max(0, n . direction)), in the canonical view."""
    light = np.array([0.2, 0.7, -0.8, 0.6], np.float32)
    page.evaluate(f"gan2shape.viewer().home(1); gan2shape.viewer().setLight({light.tolist()})")
    shot = snapshot(page, result.camera.image_size, samples=3)
    expected = host.lit(result.albedo, host.shading(_normals(result), light))
    inside = shot[..., 3] > 254.5
    off = np.abs(shot[..., :3] - np.clip(expected / 2 + 0.5, 0, 1) * 255).mean(axis=-1)
    assert off[inside].mean() < 1.5


def test_dragging_can_move_the_light_and_a_button_brings_it_back(page, result):
    page.evaluate("document.getElementById('drag-light').click()")
    before, (x, y) = state(page), middle(page)
    page.drag((x, y), (x - 150, y))
    after = state(page)
    assert after["atPhoto"] and after["light"][2] > before["light"][2] + 0.2
    page.click("#relight")
    assert state(page)["light"] == pytest.approx(result.light.tolist())
