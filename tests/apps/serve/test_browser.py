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
from helpers import axe, chromium
from helpers.placed import placed
from helpers.served import served
from PIL import Image

import gan2shape_jax
from gan2shape_jax.apps.photo.folder import PhotoFolder, Request, config_of, prepare
from gan2shape_jax.apps.serve.visits import Limits
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.photos.explain import load_kind
from gan2shape_jax.photos.find import NoDetectionError
from gan2shape_jax.photos.pipeline import load_photo_model

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
    # All tests' visitors have one address, and with it one visitor's share of the room, which goes by a photo's size.
    command = [sys.executable, "-m", "gan2shape_jax.main", "serve", "--port", "0", "--max-mb", "20"]
    command += ["--max-megapixels", "1"]
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
        _start(page, address)
        yield page


def _start(page, address):
    page.open(address)
    page.wait("document.querySelector('#photo input[type=file]')")


def _send(page, *paths):
    page.choose("#photo input[type=file]", *paths)


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
    files = {}
    for link in links:
        with urllib.request.urlopen(link) as answer:
            files[link.split("?")[0].rsplit("/", 1)[1]] = answer.read()
    assert files["mesh.glb"][:4] == b"glTF"
    told = gan2shape_jax.photo(photo, which=2).metrics["trust"]
    assert json.loads(files["metrics.json"])["trust"] == told  # the verdict, and all that it follows from
    assert np.load(io.BytesIO(files["depth.npy"])).shape == (64, 64)
    with zipfile.ZipFile(io.BytesIO(files["all.zip"])) as archive:
        assert any(name.endswith("mesh.obj") for name in archive.namelist())
        assert not [name for name in archive.namelist() if str(cache).encode() in archive.read(name)]


def test_several_photos_of_one_person_become_one_result(address, tmp_path):
    for name, x in (("front", 190), ("side", 110)):
        Image.fromarray(placed(x=x)).save(tmp_path / f"{name}.png")
    with _opened(address) as page:
        _send(page, tmp_path / "front.png")
        page.wait(_READY, seconds=_PATIENCE)
        page.evaluate("document.querySelector('#photo input').addEventListener('click', () => (window.picked = true))")
        page.press("#photo button[aria-label='Add photos']")
        page.wait("window.picked")
        _send(page, tmp_path / "side.png")
        page.wait(f"{_STATUS}.startsWith('2 photos') && {_READY}", seconds=_PATIENCE)
        assert page.evaluate(_STATUS) == "2 photos. If they show one person, say so below."
        page.press("#together input")
        page.press("#go")
        page.wait(f"{_STATUS} === 'Done.'", seconds=_PATIENCE)
        assert page.complaints() == []
        frame = page.evaluate("document.querySelector('#result iframe').src")
        page.open(frame)
        page.wait("document.body.dataset.shown === '0'")
        assert page.evaluate("document.querySelectorAll('#photographs img').length") == 2
        assert "from 2 of 2 photographs" in page.evaluate("document.getElementById('verdict').innerText").lower()


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


def _saved(picture, path):
    """Returns where a picture, of Pillow or an array, was saved."""
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture.astype(np.uint8))).save(path)
    return path


@pytest.fixture(scope="module")
def without_faces(tmp_path_factory):
    """Pictures in which nothing is found: all of one grey, a sky, noise; and a cat."""
    folder, rows = tmp_path_factory.mktemp("without"), np.linspace(0, 1, 240)[:, None, None]
    sky = np.broadcast_to((1 - rows) * (70, 120, 200) + rows * (200, 220, 240), (240, 320, 3))
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3))
    pictures = {"grey": np.full((240, 320, 3), 128), "sky": sky, "noise": noise}
    pictures["cat"] = Image.open(asset("cat/image/001.png")).convert("RGB").resize((256, 256))
    return [_saved(picture, folder / f"{name}.png") for name, picture in pictures.items()]


def _ends_with(page, text):
    page.wait(f"{_STATUS}.includes({json.dumps(text)})", seconds=_PATIENCE)


@pytest.mark.parametrize("model", ["people", "ictface"])
def test_where_nothing_is_found_the_page_says_what_the_command_line_says_and_has_a_square_to_draw(
    address, without_faces, model, tmp_path
):
    kind = load_kind(model)
    folder, finder = PhotoFolder(config_of(kind, tmp_path, refine=False)), load_photo_model(kind, log=print).finder
    with _opened(address) as page:
        for photo in without_faces:
            _start(page, address)
            page.press(f"#model input[value={model}]")
            with pytest.raises(NoDetectionError) as said:
                prepare(Request(photo, photo.stem), folder, finder)
            sentence = str(said.value).replace("use --model cat", 'choose "Cats" above')
            _send(page, photo)
            _ends_with(page, f"{sentence}. If there is one, put the square around it.")
            page.wait(f"{_READY} && document.querySelector('#drawing img') && document.querySelector('#crop img')")
        page.press("#numbers button")
        page.wait("document.querySelector('#side input')?.value > 16")
        page.press("#go")
        _ends_with(page, "Done.")
        assert page.complaints() == []


def test_what_cannot_be_read_or_is_too_small_or_too_large_is_refused_in_a_sentence(address, tmp_path):
    cornered = Image.new("RGBA", (200, 200), (200, 10, 10, 0))
    cornered.paste((200, 10, 10, 255), (0, 0, 18, 18))
    cut = _saved(Image.effect_noise((300, 200), 80), tmp_path / "cut.png")
    cut.write_bytes(cut.read_bytes()[:9000])
    (tmp_path / "text.png").write_text("this is no picture")
    refused = {
        cut: "cut.png",
        tmp_path / "text.png": "text.png",
        _saved(cornered.resize((9, 9)), tmp_path / "small.png"): "small.png",
        _saved(Image.new("L", (1200, 1000)), tmp_path / "many.png"): "at most 1 million are accepted here",
        _saved(Image.new("L", (1100, 100)), tmp_path / "strip.png"): "the longer side may be at most 10 times",
    }
    with _opened(address) as page:
        for photo, words in refused.items():
            _start(page, address)
            _send(page, photo)
            page.wait("document.querySelector('#status .g2s-error')", seconds=_PATIENCE)
            _ends_with(page, words)
            assert photo.name in page.evaluate(_STATUS) and page.evaluate("document.querySelector('#go').disabled")
        _start(page, address)
        _send(page, _saved(cornered, tmp_path / "cornered.png"))
        _ends_with(page, "put the square around it")
        page.press("#go")
        _ends_with(page, "the alpha channel of cornered.png shows no object inside the crop: move the square")


def test_a_file_of_too_many_bytes_is_refused_in_a_sentence(failing, tmp_path):
    heavy = tmp_path / "heavy.png"
    heavy.write_bytes(bytes(2_100_000))
    with _opened(f"http://127.0.0.1:{failing[0].port}") as page:
        _send(page, heavy)
        said = 'exceed the maximum allowed size of 1.9 Mb: "heavy.png"'  # Gradio's own words
        page.wait(f"document.body.innerText.includes({json.dumps(said)})")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("crash", "the worker process ended unexpectedly (exit code 3); a new one is started"),
        ("faulty", "the program failed unexpectedly; the server's log has the details of error "),
        ("full", "there is no room on the server's disk now: try again later"),
        ("exhausted", "this takes more memory than there is for one photo here"),
        ("refused", "the photo is refused"),
        ("late", "this took more than 0 minutes, and was stopped"),
        ("wrong", "the program failed unexpectedly; the server's log has the details of error "),
    ],
)
def test_a_job_that_fails_says_how(failing, tmp_path, name, words):
    """`wrong` is a framing that the page does not understand: an exception in the server."""
    server, log = failing
    with _opened(f"http://127.0.0.1:{server.port}") as page:
        _send(page, _saved(Image.new("RGB", (64, 48)), tmp_path / f"{name}.png"))
        _ends_with(page, words)
        told = page.evaluate(_STATUS)
        assert "waiting" not in told and str(server.root) not in told
        number = told.partition("of error ")[2]
        assert name not in ("faulty", "wrong") or f"error {number}: Traceback" in log.read_text()


def test_a_result_does_not_go_without_a_question(failing, tmp_path):
    server, _ = failing
    there, away = "document.querySelector('#result iframe')", "!document.querySelector('#result iframe')"
    with _opened(f"http://127.0.0.1:{server.port}") as page:
        _send(page, _saved(Image.new("RGB", (64, 48)), tmp_path / "me.png"))
        page.wait(_READY)
        page.press("#go")
        page.wait(f"{_STATUS} === 'Done.' && {there}")
        assert page.asked == []
        page.agrees = False
        clear, add = (f"#photo button[aria-label='{name}']" for name in ("Clear", "Add photos"))
        for selector in (clear, add, "#model input:not(:checked)"):
            before = len(page.asked)
            page.press(selector)
            page.wait("document.readyState === 'complete'")
            assert len(page.asked) == before + 1 and "This result will be discarded" in page.asked[-1]
            page.frames()
            assert page.evaluate(f"Boolean({there} && document.querySelector('#model [value=people]').checked)")
        page.evaluate("void setTimeout(() => location.reload())")
        page.frames(10)
        assert page.asked[-1] == "beforeunload" and page.evaluate(f"Boolean({there})")
        page.agrees = True
        page.press(clear)
        page.wait(away)
        asked = list(page.asked)
        _start(page, f"http://127.0.0.1:{server.port}")
        assert page.asked == asked  # there is nothing to lose


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """A server whose worker does what a photo's name says, and its log."""
    if chromium.find() is None:
        pytest.skip("no Chromium: apt-get install chromium, or set CHROMIUM")
    folder = tmp_path_factory.mktemp("failing")
    with (folder / "log").open("w") as log, served(folder, Limits(job_s=2, file_bytes=2_000_000), log=log) as server:
        yield server, folder / "log"


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
