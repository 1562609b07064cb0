"""The run's page in a real browser: the model agrees with the method's own renderer, and names do no harm.

The browser is Chromium (`apt-get install chromium`, or set CHROMIUM); without it these tests skip.
"""

import dataclasses
import os
import shutil
import time

import numpy as np
import pytest
from helpers import axe, chromium, several, whole_head
from helpers.plain_result import plain_result
from helpers.site import served_folder
from scipy import ndimage

from gan2shape_jax.geometry import render
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results import OutputOptions, Row, write_outputs, write_page
from gan2shape_jax.results.pictures import encoded
from gan2shape_jax.results.surface import lit, normals, shading

pytestmark = pytest.mark.browser

IS_SHOWN = "document.body.dataset.shown === '{}'"  # whether the image of that number is
_TITLES = "Array.from(document.querySelectorAll('#factors strong'), e => e.textContent)"
_VERDICT = "Looks like what this GAN draws; the side turned away is invented."
_TRUST = {"category": 0.83, "expected_side": 0.0111, "verdict": _VERDICT, "grade": "trust"}
_TRUST |= {"found": "a face", "shape": "its own shape", "invented": "the side turned away is invented"}


def snapshot(page, side: int = 96, samples: int = 1) -> np.ndarray:
    """Returns the photo's frame as the model fills it now, RGBA in 0..255 (side, side, 4)."""
    values = page.evaluate(f"Array.from(gan2shape.viewer().snapshot({side}, {samples}))")
    return np.array(values, np.float32).reshape(side, side, 4)


def state(page) -> dict:
    """Returns camera, light and mode of the viewer, once it has drawn."""
    page.frames()
    return page.evaluate("gan2shape.viewer().state()")


def middle(page, selector: str = "#canvas") -> tuple[float, float]:
    """Scrolls to an element and returns its middle in the window."""
    box = page.box(selector)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def open_page(browser, path, *, width: int = 1300, height: int = 1000, **screen) -> None:
    browser.screen(width, height, still=True, **screen)
    browser.open(path)
    browser.wait(IS_SHOWN.format(0))
    browser.frames()


def show(browser, number: int) -> None:
    """Chooses an image in the gallery."""
    browser.evaluate(f"document.querySelector('#cards li[data-index=\"{number}\"] a').click()")
    browser.wait(IS_SHOWN.format(number))


def text_of(browser, name: str) -> str:
    return browser.evaluate(f"document.getElementById('{name}').innerText")


@pytest.fixture(scope="module")
def browser():
    if chromium.find() is None:
        pytest.skip("no Chromium: apt-get install chromium, or set CHROMIUM")
    with chromium.opened() as first:
        yield first


@pytest.fixture(scope="module")
def result():
    """A smooth bump with colours that change slowly, so that pixels of different grids can be compared."""
    size = 48
    camera = Camera(size)
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    height = np.clip(1 - ((x - 0.08) / 0.8) ** 2 - (y / 0.9) ** 2, 0, None) ** 0.8
    depth = (1.04 - 0.07 * height - 0.02 * np.exp(-(((x - 0.1) / 0.2) ** 2) - (y / 0.3) ** 2)).astype(np.float32)
    colours = [0.2 + 0.5 * np.sin(3 * x + k) * np.cos(2.5 * y - k) for k in range(3)]
    albedo = np.stack(colours, axis=-1).astype(np.float32)
    mask = (height > 0.15).astype(np.float32)
    light = np.array([0.35, 0.6, 0.5, 0.2], np.float32)
    view = np.array([0.06, -0.2, 0.05, 0.004, -0.003, 0.002], np.float32)
    canonical = lit(albedo, shading(normals(depth, camera), light))
    warped = np.asarray(render.warp_depth(depth, view, camera))
    reconstruction = np.asarray(render.draw_texture(canonical, warped, view, camera))
    arrays = {"depth": depth, "input_depth": warped, "signed_albedo": albedo, "view": view, "light": light}
    arrays |= {"mask": mask, "input_mask": (warped < 1.035).astype(np.float32)}
    arrays |= {"canonical": np.clip(canonical, -1, 1), "signed_image": reconstruction, "reconstruction": reconstruction}
    arrays["true_depth"] = np.where(warped < 1.035, warped - 0.01 * np.cos(9 * x), np.float32(1.1)).astype(np.float32)
    return plain_result("bump", size, **arrays, metrics={"side": 0.0123}, category="bump")


@pytest.fixture(scope="module")
def folder(result, tmp_path_factory):
    """A run of four images, the last with a spread of depth, the third without a result."""
    root = tmp_path_factory.mktemp("run")
    uncertainty = np.tile(np.linspace(0, 0.02, 48), (48, 1))
    unsure = dataclasses.replace(result, uncertainty=uncertainty)
    for name, full in (("bump", result), ("a: <b>", result), ("sure", unsure)):
        write_outputs(full, root / "results" / name, options=OutputOptions(preset="mesh"))
    rows = [
        Row("bump", "done", dict(result.metrics) | {"trust": _TRUST}),
        Row("a: <b>", "done, worse than its prior", {"side": 0.05}),
        Row("third", "failed: no mask"),
        Row("sure", "done", {"side": 0.02, "trust": {"grade": "doubt", "verdict": "v", "category": 0.3}}),
    ]
    write_page(root, rows)
    return root


@pytest.fixture
def page(browser, folder):
    """The page, opened anew, in a window of a desktop and without movement that would have to be waited for."""
    open_page(browser, folder / "index.html")
    return browser


def test_the_photos_camera_shows_what_the_methods_own_renderer_does(page, result):
    """Mean difference from `reconstruction` below 1 of 255; half a pixel off it would be above 2."""
    size = result.camera.image_size
    shot = snapshot(page, size, samples=4)
    expected = (result.reconstruction / 2 + 0.5) * 255
    covered = shot[..., 3] > 254.5
    assert covered.mean() > 0.3
    off = np.abs(shot[..., :3] - expected).mean(axis=-1)
    assert off[covered].mean() < 1.0 and np.percentile(off[covered], 95) < 3.0
    half_off = (expected + np.roll(expected, 1, axis=1)) / 2
    assert np.abs(half_off - expected).mean(axis=-1)[covered].mean() > 2 * off[covered].mean()


def test_unlit_colours_normals_and_light_are_the_methods_own(page, result):
    light = np.array([0.2, 0.7, -0.8, 0.6], np.float32)  # any light, not only the result's
    normal = normals(result.depth, result.camera)
    shown = {
        "albedo": result.signed_albedo,
        "normals": normal,
        "texture": lit(result.signed_albedo, shading(normal, light)),
    }
    page.evaluate(f"gan2shape.viewer().home(1); gan2shape.viewer().setLight({light.tolist()})")  # the canonical frame
    for mode, expected in shown.items():
        page.evaluate(f"document.getElementById('mode-{mode}').click()")
        shot = snapshot(page, result.camera.image_size, samples=3)
        inside = shot[..., 3] > 254.5
        off = np.abs(shot[..., :3] - np.clip(expected / 2 + 0.5, 0, 1) * 255).mean(axis=-1)
        assert inside.mean() > 0.3 and off[inside].mean() < 1.5, mode


def test_dragging_turns_the_model_and_a_button_brings_it_back(page):
    before, (x, y) = snapshot(page), middle(page)
    assert state(page)["atPhoto"]
    page.drag((x, y), (x + 140, y))
    turned = state(page)
    assert turned["fromRight"] < -10 and not turned["atPhoto"]  # to the right: one sees its left side
    assert np.abs(before - snapshot(page)).mean() > 5
    page.click("#to-photo")
    assert state(page)["atPhoto"]
    assert np.abs(before - snapshot(page)).mean() < 0.01


def _thirds(shot: np.ndarray, axis: int) -> tuple[float, float]:
    """Mean brightness of the object's first and last third along an axis."""
    shot = np.moveaxis(shot, axis, 0)
    there = np.flatnonzero((shot[..., 3] > 0).any(axis=1))
    third = len(there) // 3
    first, last = (shot[chosen] for chosen in (there[:third], there[-third:]))
    return tuple(float(part[part[..., 3] > 254.5][:, :3].mean()) for part in (first, last))


def test_dragging_the_light_ball_lights_the_side_it_is_dragged_to(page):
    box, (x, y) = page.box("#ball"), middle(page, "#ball")
    reach = box["width"] * 0.42
    # Positive dx lights from the picture's left, positive dy from above.
    for to, axis, sign in (((x - reach, y), 1, 1), ((x + reach, y), 1, -1), ((x, y - reach), 0, 1)):
        page.drag((x, y), to)
        assert sign * state(page)["light"][3 - axis] > 1
        first, last = _thirds(snapshot(page), axis)
        assert sign * (first - last) > 15


def test_the_keyboard_does_all_of_it(page):
    page.evaluate("document.getElementById('canvas').focus()")
    page.key("ArrowRight")
    page.key("ArrowDown")
    turned = state(page)
    assert turned["fromRight"] < -3 and turned["fromAbove"] > 3
    page.key("+")
    assert state(page)["distance"] < turned["distance"]
    light = state(page)["light"]
    page.key("ArrowLeft", shift=True)
    assert state(page)["light"][2] > light[2]
    page.key("4")
    assert state(page)["mode"] == "clay" and page.evaluate("document.getElementById('mode-clay').checked")
    page.key("6")  # there is no spread
    assert state(page)["mode"] == "clay"
    page.key("f")
    assert state(page)["atFront"]
    page.key("p")
    assert state(page)["atPhoto"]
    page.key("r")
    assert state(page)["mode"] == "texture"


def test_everything_has_a_name_for_screen_readers(page):
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    spoken = {"button", "slider", "radio", "image", "img", "combobox", "searchbox", "link", "application", "meter"}
    roles = [node["role"]["value"] for node in nodes if "role" in node]
    assert roles.count("image") + roles.count("img") >= 8 and "application" in roles
    named = [node for node in nodes if node.get("name", {}).get("value") or node.get("ignored")]
    assert not [node for node in nodes if node.get("role", {}).get("value") in spoken and node not in named]
    titles = page.evaluate(_TITLES)
    assert len(titles) == 9 and {"The photo", "Depth", "Normals", "Light and shade"} <= set(titles)
    legend = page.evaluate("document.querySelector('#factors .ends').textContent")
    assert "near" in legend and "far" in legend
    assert page.complaints() == []


@pytest.mark.parametrize(("width", "dark"), [(1300, False), (390, False), (1300, True)])
def test_axe_finds_nothing_that_bars_anybody(browser, folder, width, dark):
    open_page(browser, folder / "index.html", width=width, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for k in range(4):
        show(browser, k)
        assert axe.barriers(browser) == []


def test_the_verdict_is_said_in_words_and_by_a_sign(page):
    verdict = text_of(page, "verdict")
    assert verdict.startswith("A face") and "Its own shape" in verdict and "0.83" in verdict
    assert "The side turned away is invented" in verdict and _VERDICT not in verdict  # said once
    assert page.evaluate("document.querySelectorAll('#verdict svg').length") == 1
    show(page, 1)
    verdict = text_of(page, "verdict")
    assert "Worse than its prior" in verdict and "0." not in verdict  # nothing is invented
    show(page, 2)
    assert "no mask" in text_of(page, "verdict") and "no result" in text_of(page, "without")
    assert page.evaluate("document.getElementById('work').hidden")


def test_the_photo_lies_over_the_model_as_sharp_as_it_is(browser, result, tmp_path):
    photo = encoded(np.zeros((300, 300, 3), np.uint8), "JPEG")
    for name, extra in (("a", {"photo_crop.jpg": photo}), ("b", {})):
        write_outputs(result, tmp_path / "results" / name, options=OutputOptions(preset="mesh"), extra=extra)
    write_page(tmp_path, [Row("a"), Row("b"), Row("c", "not used: c.png is damaged"), Row("d", "failed: x")])
    open_page(browser, tmp_path / "index.html")
    sides = []
    for number in range(2):
        show(browser, number)
        browser.evaluate("document.getElementById('overlay').decode()")
        sides.append(browser.evaluate("document.getElementById('overlay').naturalWidth"))
    assert sides == [300, 48]
    assert text_of(browser, "summary") == "4 images, 2 done, 1 not used, 1 failed"
    show(browser, 2)
    assert text_of(browser, "verdict").startswith("Not used")


def test_every_photograph_is_beside_the_model_and_what_they_gave_is_said(browser, result, tmp_path):
    several_of = several.result()
    for name, one in (("several", several_of), ("one", result)):
        write_outputs(one, tmp_path / "results" / name, options=OutputOptions(preset="mesh"))
    trust = _TRUST | {"photographs": "from 2 of 3 photographs"}
    write_page(tmp_path, [Row("several", "done", {"trust": trust}), Row("one", "done", {"trust": _TRUST})])
    open_page(browser, tmp_path / "index.html")
    assert "From 2 of 3 photographs" in text_of(browser, "verdict")
    captions = text_of(browser, "photographs").split("\n")
    captions = [line for line in captions if line]
    assert [line.split(" ")[0] for line in captions] == [name.split(" ")[0] for name in several.NAMES]
    assert "turned 17° to the right" in captions[0] and "not used" in captions[2] and "not used" not in captions[1]
    sizes = "Array.from(document.querySelectorAll('#photographs img'), e => [e.naturalWidth, e.naturalHeight])"
    assert browser.evaluate(sizes) == [[4 * 144, 144]] * 3
    show(browser, 1)
    assert browser.evaluate("document.getElementById('beside').hidden")


def test_what_awaits_its_refinement_says_so(browser, result, tmp_path):
    for name in ("first", "refined"):
        write_outputs(result, tmp_path / "results" / name, options=OutputOptions(preset="mesh"))
    awaits = {"awaits_refinement": True, "trust": _TRUST}
    rows = [Row("first", "done, not refined yet", awaits), Row("refined", "done", {"trust": _TRUST})]
    write_page(tmp_path, rows)
    open_page(browser, tmp_path / "index.html")
    assert text_of(browser, "summary") == "1 of 2 images refined: open this page again to see more"
    badges = "Array.from(document.querySelectorAll('#cards li'), e => e.innerText.includes('not refined yet'))"
    assert browser.evaluate(badges) == [
        True,
        False,
    ] and "Not refined yet: this is the model's first estimate" in text_of(browser, "verdict")
    show(browser, 1)
    assert "refined" not in text_of(browser, "verdict")
    write_page(tmp_path, [Row(row.name, "done", {"trust": _TRUST}) for row in rows])
    open_page(browser, tmp_path / "index.html")
    assert text_of(browser, "summary") == "2 images, 2 done" and browser.evaluate(badges) == [False, False]


def test_a_served_page_shows_by_itself_what_has_been_refined_since(browser, result, tmp_path):
    write_outputs(result, tmp_path / "results" / "a", options=OutputOptions(preset="mesh"))
    write_page(tmp_path, [Row("a", "done, not refined yet", {"awaits_refinement": True, "trust": _TRUST})])
    with served_folder(tmp_path) as address:
        browser.open(f"{address}index.html")
        browser.wait(IS_SHOWN.format(0))
        assert "Not refined yet" in text_of(browser, "verdict")
        write_page(tmp_path, [Row("a", "done", {"trust": _TRUST})])
        now = time.time()
        os.utime(tmp_path / "index.html", (now, now + 2))  # servers and browsers tell versions apart by the second
        said = "(document.getElementById('verdict')?.innerText ?? '')"
        browser.wait(f"{said}.includes('Its own shape') && !{said}.includes('Not refined yet')")


def test_a_page_of_a_thousand_results_opens_in_two_seconds_scrolls_and_leads_to_the_next(browser, result, tmp_path):
    write_outputs(result, tmp_path / "results/0000", options=OutputOptions("mesh", animation=False))
    for k in range(1, 1001):
        shutil.copytree(tmp_path / "results/0000", tmp_path / f"results/{k:04}", copy_function=os.link)
    write_page(tmp_path, [Row(f"{k:04}", "done", {"side": 0.01}) for k in range(1001)])
    loaded = []
    for _ in range(3):
        open_page(browser, tmp_path / "index.html")
        loaded.append(browser.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
    assert min(loaded) < 2000, f"ms: {loaded}"
    assert browser.evaluate("document.querySelectorAll('#cards li').length") == 1000
    browser.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert browser.evaluate("scrollY + innerHeight") > browser.evaluate("document.body.scrollHeight") - 2
    browser.click(".pages a")
    browser.wait("document.querySelectorAll('#cards li').length === 1")  # the next page has loaded,
    browser.wait(IS_SHOWN.format(0))  # and its image is shown
    assert text_of(browser, "name") == "1000" and browser.complaints() == []
    assert axe.barriers(browser) == []  # in the links between pages


def test_images_can_be_sorted_and_searched(page):
    shown = "Array.from(document.querySelectorAll('#cards li:not([hidden])'), e => Number(e.dataset.index))"

    def choose(name, value, kind):
        element = f"const e = document.getElementById('{name}'); e.value = '{value}'"
        page.evaluate(f"(() => {{ {element}; e.dispatchEvent(new Event('{kind}')); }})()")

    # What is not known comes last either way.
    for order, expected in (("listed", [0, 1, 2, 3]), ("most", [0, 3, 1, 2]), ("least", [3, 0, 1, 2])):
        choose("sort", order, "change")
        assert page.evaluate(shown) == expected
    facts = "Array.from(document.querySelectorAll('#facts div'), e => [e.title, e.textContent])"
    assert ["Scale-invariant error of depth: 0 is exact", "depth errorSIDE0.0123"] in page.evaluate(facts)
    assert "largest depth error first" in page.evaluate("document.getElementById('sort').textContent")
    choose("sort", "worst-side", "change")
    assert page.evaluate("Number(document.querySelector('#rows tr').dataset.index)") == 1
    choose("filter", "UR", "input")
    assert page.evaluate(shown) == [3]
    assert text_of(page, "count") == "1 of 4 images"
    choose("filter", "done", "input")
    assert page.evaluate(shown) == [1, 3, 0]
    show(page, 1)
    page.click("#after")
    page.wait(IS_SHOWN.format(3))
    assert page.complaints() == []


def test_downloads_are_the_files_themselves(page, folder, tmp_path):
    show(page, 1)
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True)
    count = page.evaluate("document.querySelectorAll('.downloads button').length")
    assert count == 5 and page.evaluate("document.querySelectorAll('.downloads a').length") == 0
    for k in range(count):
        page.evaluate(f"document.querySelectorAll('.downloads button')[{k}].click()")
        page.wait("true")
    as_is = ("mesh.glb", "depth.npy", "camera.json", "metrics.json")
    wanted = {f"a_b_{name}" for name in (*as_is, "mesh_obj.zip")}
    until = time.monotonic() + 60  # a file has its own name only once all of it is there
    while {path.name for path in tmp_path.iterdir()} != wanted:
        assert time.monotonic() < until
        time.sleep(0.1)
    source = folder / "results" / "a: <b>"
    assert [name for name in as_is if (tmp_path / f"a_b_{name}").read_bytes() != (source / name).read_bytes()] == []
    shutil.unpack_archive(tmp_path / "a_b_mesh_obj.zip", tmp_path / "unpacked")
    parts = ("mesh.obj", "mesh.mtl", "mesh.png")
    assert [part for part in parts if (tmp_path / "unpacked" / part).read_bytes() != (source / part).read_bytes()] == []


def test_the_uncertainty_of_depth_is_a_mode_and_a_map_where_it_is_known(page):
    show(page, 3)
    page.evaluate("document.getElementById('mode-spread').click()")
    shot = snapshot(page, 48)
    columns = np.flatnonzero((shot[..., 3] > 254.5).sum(axis=0) > 12)
    warm = [(shot[:, c, 0] - shot[:, c, 2])[shot[:, c, 3] > 254.5].mean() for c in (columns[2], columns[-3])]
    assert warm[1] > warm[0] + 40  # cividis: from blue to yellow
    assert "uncertain 0.020" in text_of(page, "legend")
    assert "Expected error" in page.evaluate(_TITLES)


def test_the_true_shape_is_one_more_model_to_turn_where_it_is_known(page):
    button = "document.getElementById('to-truth')"
    depth = "Array.from(gan2shape.model().truth.depth)"
    assert page.evaluate(f"!{button}.hidden && {button}.getAttribute('aria-pressed')") == "false"
    before = snapshot(page)
    page.evaluate(f"{button}.click()")
    page.frames()
    assert page.evaluate(f"{button}.getAttribute('aria-pressed')") == "true" and state(page)["atPhoto"]
    assert np.ptp(page.evaluate(depth)) > 0.01 and np.abs(snapshot(page) - before).max() > 20
    page.evaluate("document.getElementById('canvas').focus()")
    page.key("ArrowLeft")
    page.frames()
    assert not state(page)["atPhoto"]  # it turns
    page.key("t")
    page.frames()
    assert page.evaluate(f"{button}.getAttribute('aria-pressed')") == "false"
    assert np.abs(snapshot(page) - before).max() < 2


def test_a_whole_head_is_closed_from_every_side_in_its_own_colours(browser, tmp_path):
    head = whole_head.egg()
    write_outputs(head, tmp_path / "results" / "egg", options=OutputOptions(preset="mesh"))
    write_page(tmp_path, [Row("egg", "done")])
    open_page(browser, tmp_path / "index.html")
    browser.evaluate("gan2shape.viewer().home(1, {fly: false})")
    wide = []
    for turn in (0, 60, 30, 45, 45):
        browser.evaluate(f"gan2shape.viewer().turn({np.deg2rad(turn)}, 0)")
        browser.frames()
        shot = snapshot(browser)
        inside = shot[..., 3] > 254.5
        wide.append(inside.any(axis=0).sum())
        assert ndimage.label(shot[..., 3] < 0.5)[1] == 1  # without holes
    assert wide[2] > 1.05 * wide[0]  # a head is deeper than wide
    crown = shot[inside.argmax(axis=0).max() + 30, 40:56, :3]
    np.testing.assert_allclose(crown.mean(axis=0), whole_head.HAIR, atol=30)  # behind, where the face is in front


@pytest.mark.skipif(chromium.find() is None, reason="no Chromium: apt-get install chromium, or set CHROMIUM")
def test_without_webgl_the_page_says_so_and_shows_the_still_pictures(folder):
    with chromium.opened("--disable-3d-apis") as browser:
        open_page(browser, folder / "index.html")
        assert "WebGL" in text_of(browser, "without")
        assert browser.evaluate("document.getElementById('work').hidden")
        assert browser.evaluate("document.querySelectorAll('#factors figure').length") == 9
        assert browser.evaluate("document.querySelectorAll('.downloads button').length") == 5


_NASTY = (
    "<script>window.harm=1</script>",
    "</script><script>window.harm=2</script>",
    '"><img src=x onerror="window.harm=3">',
    "' onfocus='window.harm=4' autofocus='",
    "</noscript><svg onload=window.harm=5>",
    "<!-- <script>",
    "two\nlines\u2028and\u2029more \u202egnp",
    "{{three}} ${window.harm=6} \\u003cscript>",
    "50% & more #1?x=2 名前",
    "\ud800",
)


@pytest.fixture(scope="module")
def hostile(folder, tmp_path_factory):
    """The page of a run whose names and messages are made to do harm, or too long for a narrow window."""
    root = tmp_path_factory.mktemp("hostile")
    names = ("<script>window.harm=0<", "x y'\"&" + "a" * 120)
    for name in names:
        shutil.copytree(folder / "results" / "bump", root / "results" / name)
    trust = {"category": 0.5, "verdict": _NASTY[0] + _NASTY[1] + _NASTY[2], "grade": "doubt"}
    rows = [Row(name, "done", {"side": 0.01}) for name in names]
    rows += [Row(name, f"failed: {name}", {"trust": trust}) for name in _NASTY]
    write_page(root, [*rows, Row("c " * 60, "failed: " + "x" * 300)], title=_NASTY[1])
    return root / "index.html"


def test_hostile_names_and_messages_are_nothing_but_text_and_nothing_leaves_the_page(browser, hostile):
    open_page(browser, hostile)
    count = len(_NASTY) + 2
    for k in range(count):
        show(browser, k)
    names = browser.evaluate("Array.from(document.querySelectorAll('#cards .name'), e => e.textContent)")
    assert len(names) == count + 1 and names[2:8] == list(_NASTY[:6])
    assert names[8] == "two\\nlines\\u2028and\\u2029more \\u202egnp"
    assert browser.evaluate("document.querySelectorAll('#rows tr').length") == count + 1
    blocks = 'script[type="application/json"], script[type="text/plain"]'
    assert browser.evaluate(f"document.scripts.length - document.querySelectorAll('{blocks}').length") == 2
    assert browser.evaluate("typeof window.harm") == "undefined"
    assert browser.evaluate("document.title").endswith(_NASTY[1])
    assert _NASTY[0] + _NASTY[1] + _NASTY[2] in text_of(browser, "verdict")
    assert browser.complaints() == []
    assert [requested for requested in browser.requests() if not requested.startswith("data:")] == [hostile.as_uri()]


@pytest.mark.parametrize(("width", "touch"), [(320, True), (1000, False)])
def test_no_window_is_too_narrow(browser, hostile, width, touch):
    open_page(browser, hostile, width=width, height=800, touch=touch)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("document.getElementById('canvas').clientWidth") > min(width, 500) * 0.8
    if touch:  # fingers need room
        chosen = "document.querySelectorAll('button, .segments span, select')"
        small = f"Array.from({chosen}, e => e.getBoundingClientRect().height)"
        assert min(height for height in browser.evaluate(small) if height) >= 39
