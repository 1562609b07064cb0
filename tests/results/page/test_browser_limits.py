"""The run's page in a real browser: room, and browsers, windows and results that lack something."""

import base64
import json
import shutil
import time
import zlib

import numpy as np
import pytest
from helpers.copied_runs import open_page as _open
from helpers.copied_runs import run_of as _run_of
from helpers.lit_bump import lit_bump
from helpers.shown_page import IS_SHOWN

from benchmarks.pages import chromium
from gan2shape_jax.results import OutputOptions, Row, write_outputs, write_page
from gan2shape_jax.results.page import write_fragment

pytestmark = pytest.mark.browser


# --- room ------------------------------------------------------------------------------------------------------------


def test_five_hundred_images_make_a_page_below_ten_megabytes_that_can_be_searched(browser, source, tmp_path):
    names = [f"image {k:03}" for k in range(500)]
    rows = _run_of(tmp_path, source, names)
    grades = ["trust", "doubt", "no"]
    rows = [
        Row(row.name, "done", row.metrics | {"trust": {"grade": grades[k % 3], "verdict": "v", "category": k / 500}})
        for k, row in enumerate(rows)
    ]
    write_page(tmp_path, rows)
    assert (tmp_path / "index.html").stat().st_size < 10e6
    _open(browser, tmp_path / "index.html")
    shown = "Array.from(document.querySelectorAll('#cards li:not([hidden])'), e => Number(e.dataset.index))"
    assert browser.evaluate(shown) == list(range(500))
    choose = (
        "(() => {{ const e = document.getElementById('{}'); e.value = '{}'; e.dispatchEvent(new Event('{}')); }})()"
    )
    browser.evaluate(choose.format("sort", "most", "change"))
    assert browser.evaluate(shown)[:3] == [498, 495, 492]
    assert browser.evaluate("Number(document.querySelector('#rows tr').dataset.index)") == 498
    browser.evaluate(choose.format("sort", "least", "change"))
    assert browser.evaluate(shown)[:3] == [2, 5, 8]
    browser.evaluate(choose.format("sort", "worst-side", "change"))
    assert browser.evaluate(shown)[:2] == [499, 498]
    browser.evaluate(choose.format("filter", "e 04", "input"))
    assert browser.evaluate(shown) == [49, 48, 47, 46, 45, 44, 43, 42, 41, 40]
    assert browser.evaluate("document.getElementById('count').textContent") == "10 of 500 images"
    browser.evaluate("document.querySelector('#cards li:not([hidden]) a').click()")
    browser.wait(IS_SHOWN.format(49))
    browser.click("#after")
    browser.wait(IS_SHOWN.format(48))
    assert browser.complaints() == []


def test_downloads_are_the_files_themselves(browser, source, tmp_path):
    write_page(tmp_path, _run_of(tmp_path, source, ["a: <b>"]))
    _open(browser, tmp_path / "index.html")
    saved = tmp_path / "saved"
    saved.mkdir()
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(saved), eventsEnabled=True)
    count = browser.evaluate("document.querySelectorAll('.downloads button').length")
    assert count == 5 and browser.evaluate("document.querySelectorAll('.downloads a').length") == 0
    for k in range(count):
        browser.evaluate(f"document.querySelectorAll('.downloads button')[{k}].click()")
        browser.wait("true")
    as_is = ("mesh.glb", "depth.npy", "camera.json", "metrics.json")
    wanted = {f"a_b_{name}" for name in (*as_is, "mesh_obj.zip")}
    until = time.monotonic() + 60  # a file has its own name only once all of it is there
    while {path.name for path in saved.iterdir()} != wanted and time.monotonic() < until:
        time.sleep(0.1)
    assert {path.name for path in saved.iterdir()} == wanted
    for name in as_is:
        assert (saved / f"a_b_{name}").read_bytes() == (source / name).read_bytes()
    shutil.unpack_archive(saved / "a_b_mesh_obj.zip", tmp_path / "unpacked")
    for name in ("mesh.obj", "mesh.mtl", "mesh_albedo.png"):
        assert (tmp_path / "unpacked" / name).read_bytes() == (source / name).read_bytes()


# --- browsers, windows and results that lack something ---------------------------------------------------------------


@pytest.mark.parametrize(("width", "touch"), [(320, True), (390, True), (768, True), (1000, False), (1600, False)])
def test_no_window_is_too_narrow(browser, source, tmp_path, width, touch):
    write_page(tmp_path, _run_of(tmp_path, source, ["a" * 120, "b"]) + [Row("c " * 60, "failed: " + "x" * 300)])
    _open(browser, tmp_path / "index.html", width=width, height=800, touch=touch)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("document.getElementById('canvas').clientWidth") > min(width, 500) * 0.8
    if touch:  # fingers need room
        chosen = "document.querySelectorAll('button, .segments span, select')"
        small = f"Array.from({chosen}, e => e.getBoundingClientRect().height)"
        assert min(height for height in browser.evaluate(small) if height) >= 39


def test_the_spread_of_depth_is_a_mode_and_a_map_where_it_is_known(browser, source, tmp_path):
    shutil.copytree(source, tmp_path / "results" / "sure")
    path = tmp_path / "results" / "sure" / "page.jsonl"
    spread = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (48, 1))
    card, model, extras, texture = path.read_text().splitlines()
    more = {"spread": base64.b64encode(zlib.compress(spread.tobytes())).decode(), "spread_high": 0.02}
    path.write_text("\n".join([card, model, json.dumps(json.loads(extras) | more), texture]) + "\n")
    write_page(tmp_path, [Row("sure", "done", {})])
    _open(browser, tmp_path / "index.html")
    browser.evaluate("document.getElementById('mode-spread').click()")
    shot = np.array(browser.evaluate("Array.from(gan2shape.viewer().snapshot(48))")).reshape(48, 48, 4)
    columns = np.flatnonzero((shot[..., 3] > 254.5).sum(axis=0) > 12)
    warm = [(shot[:, c, 0] - shot[:, c, 2])[shot[:, c, 3] > 254.5].mean() for c in (columns[2], columns[-3])]
    assert warm[1] > warm[0] + 40  # cividis: from blue to yellow
    assert "unsure 0.020" in browser.evaluate("document.getElementById('legend').textContent")
    titles = browser.evaluate("Array.from(document.querySelectorAll('#factors strong'), e => e.textContent)")
    assert "How sure" in titles


def test_a_finer_texture_takes_the_place_of_the_albedo_on_the_model(browser, tmp_path):
    result = lit_bump()
    folder = tmp_path / "results" / "fine"
    write_outputs(result, folder, options=OutputOptions(views=False))
    stripes = np.zeros((480, 480, 3), np.uint8)
    stripes[:, ::20] = stripes[:, 1::20] = stripes[:, 2::20] = stripes[:, 3::20] = stripes[:, 4::20] = 255
    write_fragment(result, folder, texture=stripes)
    write_page(tmp_path, [Row("fine")])
    _open(browser, tmp_path / "index.html")
    browser.evaluate("document.getElementById('mode-albedo').click(); gan2shape.viewer().home(1)")
    shot = np.array(browser.evaluate("Array.from(gan2shape.viewer().snapshot(480))")).reshape(480, 480, 4)
    row = shot[240, 120:360, 0]  # two of its pixels are one of the depth map, which could show no such stripes
    assert row.min() < 40 and row.max() > 215 and 20 <= (np.diff(row > 128) != 0).sum() <= 28


def test_results_of_older_versions_show_their_pictures(browser, source, tmp_path):
    rows = _run_of(tmp_path, source, ["old"])
    (tmp_path / "results" / "old" / "page.jsonl").unlink()
    write_page(tmp_path, rows)
    _open(browser, tmp_path / "index.html")
    titles = browser.evaluate("Array.from(document.querySelectorAll('#factors strong'), e => e.textContent)")
    assert len(titles) == 7 and "Depth" in titles
    assert "not in this page" in browser.evaluate("document.getElementById('without').textContent")
    assert browser.evaluate("Array.from(document.querySelectorAll('#factors img'), i => i.naturalWidth)") == [48] * 7


def test_without_webgl_the_page_says_so_and_shows_the_still_pictures(source, tmp_path):
    if chromium.find() is None:
        pytest.skip("no Chromium: apt-get install chromium, or set CHROMIUM")
    write_page(tmp_path, _run_of(tmp_path, source, ["a"]))
    with chromium.opened("--disable-3d-apis") as browser:
        _open(browser, tmp_path / "index.html")
        assert "WebGL" in browser.evaluate("document.getElementById('without').innerText")
        assert browser.evaluate("document.getElementById('work').hidden")
        assert browser.evaluate("document.querySelectorAll('#factors figure').length") == 9
        assert browser.evaluate("document.querySelectorAll('.downloads button').length") == 5


def test_without_javascript_figures_and_links_remain(browser, source, tmp_path):
    write_page(tmp_path, _run_of(tmp_path, source, ["a", "b"]))
    browser.screen(1000, 800)
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.events.clear()
        browser.send("Page.navigate", url=(tmp_path / "index.html").as_uri())
        for _ in range(100):
            tree = browser.send("Accessibility.getFullAXTree")["nodes"]
            spoken = [node["name"]["value"] for node in tree if node.get("name", {}).get("value")]
            if "mesh.glb" in spoken:
                break
        assert "mesh.glb" in spoken and any("needs JavaScript" in words for words in spoken)
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
