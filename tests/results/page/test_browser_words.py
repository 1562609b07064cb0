"""The run's page in a real browser: keyboard, screen readers, verdict, factors and their legends."""

import json

import numpy as np
import pytest
from helpers.shown_page import IS_SHOWN, state

from gan2shape_jax.results import host, pictures
from gan2shape_jax.results.surface import object_mask

pytestmark = pytest.mark.browser


# --- keyboard and screen readers -------------------------------------------------------------------------------------


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


def test_tab_reaches_every_control(page):
    wanted = {"sort", "filter", "canvas", "mode-texture", "to-photo", "to-front", "sway", "reset", "overlaid", "across"}
    wanted |= {"up", "ambient", "diffuse", "relight", "drag-model"}
    seen = set()
    for _ in range(45):
        page.key("Tab")
        seen.add(page.evaluate("document.activeElement.id"))
    assert wanted <= seen


def test_everything_has_a_name_for_screen_readers(page):
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    spoken = ("button", "slider", "radio", "image", "img", "combobox", "searchbox", "link", "application", "meter")
    nameless = [
        node
        for node in nodes
        if node.get("role", {}).get("value") in spoken
        and not node.get("name", {}).get("value")
        and not node.get("ignored")
    ]
    roles = [node["role"]["value"] for node in nodes if "role" in node]
    assert roles.count("image") + roles.count("img") >= 8 and "application" in roles
    assert nameless == []


# --- words -----------------------------------------------------------------------------------------------------------


def test_the_verdict_is_told_in_words_and_by_a_sign(page):
    text = page.evaluate("document.getElementById('verdict').innerText")
    assert "the side turned away is invented" in text and "0.83" in text
    assert page.evaluate("document.querySelectorAll('#verdict svg').length") == 1
    page.evaluate("document.querySelector('#cards li[data-index=\"1\"] a').click()")
    page.wait(IS_SHOWN.format(1))
    text = page.evaluate("document.getElementById('verdict').innerText")
    assert "Worse than its prior" in text and "0." not in text  # nothing is invented
    page.evaluate("document.querySelector('#cards li[data-index=\"2\"] a').click()")
    page.wait(IS_SHOWN.format(2))
    assert "no mask" in page.evaluate("document.getElementById('verdict').innerText")
    assert "no result" in page.evaluate("document.getElementById('without').innerText")
    assert page.evaluate("document.getElementById('work').hidden")


def test_the_factors_stand_side_by_side_with_legends(page):
    titles = page.evaluate("Array.from(document.querySelectorAll('#factors strong'), e => e.textContent)")
    assert len(titles) == 9 and {"The photo", "Depth", "Facing", "Light and shade"} <= set(titles)
    legend = page.evaluate("document.querySelector('#factors .ends').textContent")
    assert "near" in legend and "far" in legend


def test_depth_and_shading_are_drawn_as_the_package_draws_them(page, result):
    near, far = pictures.depth_range(result.depth, result.mask)
    inside = object_mask(result)
    depth = pictures.colour_depth(result.depth, near, far, mask=inside.astype(np.float32))
    assert np.abs(_factor(page, "Depth") - depth).mean() < 1.5
    shading = pictures.colour_mask(np.clip(host.shading(host.normals(result.depth, result.camera), result.light), 0, 1))
    assert np.abs(_factor(page, "Light and shade") - shading).mean() < 1


def _factor(page, title: str) -> np.ndarray:
    script = (
        "(() => { const f = Array.from(document.querySelectorAll('#factors figure')).find(f => "
        "f.querySelector('strong').textContent === %s).querySelector('canvas'); "
        "return Array.from(f.getContext('2d').getImageData(0, 0, f.width, f.height).data); })()"
    )
    values = np.array(page.evaluate(script % json.dumps(title)), np.float32)
    side = round((len(values) / 4) ** 0.5)
    return values.reshape(side, side, 4)[..., :3]
