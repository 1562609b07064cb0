"""The run's page in a real browser: names that mean harm, requests, room, and browsers that cannot do everything."""

import base64
import json
import pathlib
import shutil
import time
import zlib

import numpy as np
import pytest
from helpers.lit_bump import lit_bump
from helpers.shown_page import IS_SHOWN

from benchmarks.pages import chromium
from gan2shape_jax.outputs import OutputOptions, Row, write_outputs, write_page
from gan2shape_jax.outputs.page import write_fragment

pytestmark = pytest.mark.browser

_NASTY = (
    "<script>window.harm=1</script>",
    "</script><script>window.harm=2</script>",
    '"><img src=x onerror="window.harm=3">',
    "' onfocus='window.harm=4' autofocus='",
    "</noscript><svg onload=window.harm=5>",
    "<!-- <script>",
    "]]></style><style>*{display:none}</style>",
    "two\nlines\u2028and\u2029more \u202egnp",
    "{{three}} ${window.harm=6} \\u003cscript>",
    "javascript:window.harm=7",
    "50% & more #1?x=2",
    "名前 ünïcode",
    "\ud800",
)


def _written(folder: pathlib.Path, **fields) -> pathlib.Path:
    write_outputs(lit_bump(**fields), folder, options=OutputOptions(views=False))
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of one result, with a map of how sure its depth is."""
    return _written(tmp_path_factory.mktemp("source") / "bump")


def _run_of(root: pathlib.Path, source: pathlib.Path, names) -> list[Row]:
    for name in names:
        shutil.copytree(source, root / "results" / name)
    return [Row(name, "done", {"side": 0.01 + 0.0001 * k}) for k, name in enumerate(names)]


def _open(browser, path: pathlib.Path, *, width: int = 1300, height: int = 1000, shown: int = 0, **screen) -> None:
    browser.screen(width, height, still=True, **screen)
    browser.open(path)
    browser.wait(IS_SHOWN.format(shown))
    browser.frames()


# --- harm ------------------------------------------------------------------------------------------------------------


def test_hostile_names_and_messages_are_nothing_but_text(browser, source, tmp_path):
    rows = _run_of(tmp_path, source, ["<script>window.harm=0<", "x y'\"&"])
    trust = {"category": 0.5, "verdict": _NASTY[0] + _NASTY[1] + _NASTY[2], "grade": "doubt"}
    rows += [Row(name, f"failed: {name}", {"trust": trust}) for name in _NASTY]
    write_page(tmp_path, rows, title=_NASTY[1])
    _open(browser, tmp_path / "index.html")
    for k in range(len(rows)):
        browser.evaluate(f"document.querySelector('#cards li[data-index=\"{k}\"] a').click()")
        browser.wait(IS_SHOWN.format(k))
    names = browser.evaluate("Array.from(document.querySelectorAll('#cards .name'), e => e.textContent)")
    assert len(names) == len(rows) and names[2:8] == list(_NASTY[:6])
    assert names[9] == "two\\nlines\\u2028and\\u2029more \\u202egnp"
    assert browser.evaluate("document.querySelectorAll('#rows tr').length") == len(rows)
    assert browser.evaluate("document.scripts.length") == 2 + _data_blocks(browser)
    assert browser.evaluate("typeof window.harm") == "undefined"
    assert browser.evaluate("document.title").endswith(_NASTY[1])
    assert trust["verdict"] in browser.evaluate("document.getElementById('verdict').textContent")
    assert browser.complaints() == []


def _data_blocks(browser) -> int:
    return browser.evaluate(
        'document.querySelectorAll(\'script[type="application/json"], script[type="text/plain"]\').length'
    )


def test_an_address_leads_to_its_image_whatever_it_is_called(browser, source, tmp_path):
    rows = _run_of(tmp_path, source, ["a b", "50% & #1"]) + [Row("c", "failed: x")]
    write_page(tmp_path, rows)
    for k, row in enumerate(rows):
        browser.open("about:blank")
        browser.open((tmp_path / "index.html").as_uri() + "#at-" + row.name.replace("%", "%25").replace("#", "%23"))
        browser.wait(IS_SHOWN.format(k))


def test_nothing_leaves_the_page_and_nothing_could(browser, source, tmp_path):
    write_page(tmp_path, _run_of(tmp_path, source, ["a", "b"]))
    _open(browser, tmp_path / "index.html")
    browser.evaluate("document.querySelector('#cards li[data-index=\"1\"] a').click()")
    browser.wait(IS_SHOWN.format(1))
    asked = [address for address in browser.requests() if not address.startswith("data:")]
    assert asked == [(tmp_path / "index.html").as_uri()]
    assert browser.complaints() == []
    # And if somebody had smuggled in a script: the policy stops it and whatever it would ask for.
    refused = """(async () => {
      const told = [];
      document.addEventListener('securitypolicyviolation', e => told.push(e.effectiveDirective));
      const s = document.createElement('script'); s.textContent = 'window.harm = 1'; document.body.append(s);
      const i = new Image(); i.src = 'http://localhost:9/x.png'; document.body.append(i);
      const l = document.createElement('link'); l.rel = 'stylesheet'; l.href = 'http://localhost:9/x.css';
      document.head.append(l);
      const near = new Image(); near.src = 'results/a/input.png'; document.body.append(near);
      const f = await fetch('http://localhost:9/').then(() => 'sent', () => 'refused');
      try { new WebSocket('ws://localhost:9/'); } catch (e) { told.push('websocket ' + e.name); }
      await new Promise(d => setTimeout(d, 300));
      return [f, typeof window.harm, told.sort()];
    })()"""
    fetched, harm, told = browser.evaluate(refused)
    assert fetched == "refused" and harm == "undefined"
    assert {"connect-src", "img-src", "script-src-elem", "style-src-elem"} <= set(told) and told.count("img-src") == 2
    reached = [e for e in browser.events if e.get("method") == "Network.responseReceived"]
    assert not [e for e in reached if e["params"]["response"]["url"].startswith(("http", "ws"))]


@pytest.mark.parametrize(
    "harm",
    [
        {"size": 10**6},
        {"size": -1},
        {"depth": "!!!"},
        {"depth": base64.b64encode(b"no stream").decode()},
        {"inside": None},
        {"albedo": {"kind": "svg+xml", "data": base64.b64encode(b"<svg onload='window.harm=1'/>").decode()}},
        {"albedo": {"kind": "png", "data": "http://localhost:9/x.png"}},
        {"view": "text", "light": []},
    ],
    ids=lambda harm: "-".join(harm),
)
def test_a_fragment_made_to_do_harm_spoils_only_its_own_image(browser, source, tmp_path, harm):
    rows = _run_of(tmp_path, source, ["bad", "good"])
    path = tmp_path / "results" / "bad" / "page.jsonl"
    card, model, *_ = path.read_text().splitlines()
    path.write_text("\n".join([card, json.dumps(json.loads(model) | harm), "{}", "{}"]) + "\n")
    write_page(tmp_path, rows)
    _open(browser, tmp_path / "index.html")
    assert browser.evaluate("typeof window.harm") == "undefined"
    assert "cannot be read" in browser.evaluate("document.getElementById('without').textContent")
    browser.evaluate("document.querySelector('#cards li[data-index=\"1\"] a').click()")
    browser.wait(IS_SHOWN.format(1))
    assert not browser.evaluate("document.getElementById('work').hidden")
    asked = [address for address in browser.requests() if not address.startswith(("data:", "file:"))]
    assert asked == []


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
