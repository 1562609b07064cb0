"""The served page in a real browser, with the bundled model: a photo to its result, cancelling, leaving, waiting."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import urllib.request
import zipfile

import numpy as np
import pytest
from helpers import axe
from PIL import Image

from benchmarks.pages import chromium
from gan2shape_jax.io.bundled import asset

pytestmark = pytest.mark.browser
pytest.importorskip("gradio", reason="the extra `web` is not installed")

_READY = "document.querySelector('#go:not([disabled])')"
_STATUS = "document.querySelector('#status').innerText"
_REFINES = f"{_STATUS}.includes('latent by inversion')"
_PATIENCE = 150


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def address(cache):
    """The address of a server, which has to leave nothing behind."""
    if chromium.find() is None:
        pytest.skip("no Chromium: apt-get install chromium, or set CHROMIUM")
    command = [sys.executable, "-m", "gan2shape_jax.main", "serve", "--port", "0", "--max-mb", "2"]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    yield process.stdout.readline().split()[0]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    process.stdout.close()
    assert list((cache / "gan2shape_jax" / "serving").iterdir()) == []


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """Two faces in a picture, under a name that is markup."""
    picture = Image.new("RGB", (480, 360), (90, 120, 140))
    for name, side, place in (("006", 165, (195, 90)), ("002", 135, (20, 150))):
        face = Image.open(asset(f"ictface/image/{name}.png")).convert("RGB")
        picture.paste(face.resize((side, side)), place)
    path = tmp_path_factory.mktemp("photos") / "<img src=x onerror=hacked=1>.jpg"
    picture.save(path, quality=92)
    return path


@contextlib.contextmanager
def _opened(address):
    with chromium.opened() as page:
        page.screen(1200, 900, still=True)
        page.open(address)
        page.wait("document.querySelector('#photo input[type=file]')")
        yield page


def _send(page, path):
    page.choose("#photo input[type=file]", path)


def test_a_photo_becomes_a_page_and_files(address, photo, cache):
    with _opened(address) as page:
        accepted = page.evaluate("document.querySelector('#photo input[type=file]').accept").split(", ")
        assert {"image/*", ".heic", ".avif"} <= set(accepted)
        _send(page, photo)
        page.wait(_READY, seconds=_PATIENCE)
        assert "2 faces found" in page.evaluate(_STATUS)
        page.wait("document.querySelector('#crop img')")
        before = page.evaluate("document.querySelector('#crop img').src")
        page.press("#which label:nth-of-type(2)")
        page.wait(f"document.querySelector('#crop img').src !== {json.dumps(before)}")
        page.press("#go")
        page.wait("document.querySelector('#stages img')", seconds=_PATIENCE)
        page.wait(f"{_STATUS} === 'Done.'", seconds=_PATIENCE)
        links = page.evaluate("[...document.querySelectorAll('#files a')].map(a => a.href)")
        page.screen(390, 800, touch=True, still=True)
        page.frames()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "too wide for a phone"
        assert page.evaluate("document.querySelectorAll('#model input').length") >= 2
        assert str(cache) not in page.evaluate("document.documentElement.outerHTML")  # not in a link either
        page.box("#result iframe")  # what cannot be seen, a browser does not lay out
        page.wait("document.querySelector('#result iframe').clientHeight > 2000")  # its page's: nothing scrolls inside
        frame = page.evaluate("document.querySelector('#result iframe').src")
        assert not page.evaluate("'hacked' in window") and page.complaints() == []
        requests = [url for url in page.requests() if not url.startswith((address, "data:", "blob:"))]
        assert requests == []
        page.open(frame)
        page.wait("document.body.dataset.shown === '0'")
        box = page.box("#canvas")
        before, (x, y) = page.evaluate("scrollY"), (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.touch((x, y + 100), (x, y - 100))  # up over the model: the page scrolls
        page.wait(f"scrollY > {before} + 50")
    files = {link.split("?")[0].rsplit("/", 1)[1]: urllib.request.urlopen(link).read() for link in links}
    assert files["mesh.glb"][:4] == b"glTF" and "metrics.json" in files
    assert np.load(io.BytesIO(files["depth.npy"])).shape == (64, 64)
    with zipfile.ZipFile(io.BytesIO(files["all.zip"])) as archive:
        assert any(name.endswith("mesh.obj") for name in archive.namelist())
        assert not [name for name in archive.namelist() if str(cache).encode() in archive.read(name)]


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_the_result_comes_into_view_above_the_controls_and_nothing_bars_anybody(address, photo, width, dark):
    with _opened(address) as page:
        page.screen(width, 844, touch=width < 500, dark=dark, still=True)
        page.open(address)
        page.wait("document.querySelector('#photo input[type=file]')")
        page.wait("!document.querySelector('.upload-container[aria-label]')")
        assert axe.barriers(page) == []
        _send(page, photo)
        page.wait(_READY, seconds=_PATIENCE)
        page.wait("document.querySelector('#crop img') && document.querySelector('#numbers button')")
        page.press("#numbers button")
        page.wait("document.querySelector('#roll input')")
        assert axe.barriers(page) == []
        page.press("#go")
        page.wait(f"{_STATUS} === 'Done.'", seconds=_PATIENCE)
        page.wait("document.querySelector('#result iframe').clientHeight > 2000")
        top = "document.querySelector('{}').getBoundingClientRect().top"
        assert 0 <= page.evaluate(top.format("#status")) < page.evaluate(top.format("#result")) < 200
        assert page.evaluate(top.format("#result")) < page.evaluate(top.format("#photo"))
        assert axe.barriers(page) == []
        page.open(page.evaluate("document.querySelector('#result iframe').src"))
        page.wait("document.body.dataset.shown === '0'")
        assert axe.barriers(page) == []


def test_cancelling_leaving_and_waiting(address, photo):
    with _opened(address) as second:
        with _opened(address) as first:
            _send(first, photo)
            first.wait(_READY, seconds=_PATIENCE)
            first.press("#refine input")
            first.press("#go")
            first.wait(_REFINES, seconds=_PATIENCE)
            first.press("#stop")
            first.wait(f"{_STATUS} === 'Cancelled.'", seconds=5)
            first.press("#go")
            first.wait(_REFINES, seconds=_PATIENCE)
            _send(second, photo)
            second.wait(f"{_STATUS}.startsWith('Waiting: 1 photo')")
        # The first has closed its browser in the middle of minutes of refinement.
        second.wait(_READY, seconds=60)
        assert "2 faces found" in second.evaluate(_STATUS)
