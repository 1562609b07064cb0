"""Takes screenshots of a run's page for the docs, in a headless Chromium (apt-get install chromium).

    gan2shape-jax --config=people:predict --config.data.latent_root= --config.workdir=RUN
    python benchmarks/pages/page_pictures.py RUN

Writes `page_desktop.jpg` and `page_phone.jpg` into `docs/pictures`: the page on a desktop, with the model turned and
relit; and on a phone, as it opens, as clay in dark mode, and the factors. `overview_people.jpg` is the overview of the
same image.

    gan2shape-jax export web people --out site && python -m http.server --directory site
    python benchmarks/pages/page_pictures.py http://localhost:8000/ --photo PHOTO

Writes `in_a_browser.jpg`: the page that makes 3D itself, on a phone, with what it makes of a photo
of a person.
"""

import argparse
import io
import json
import pathlib
import sys

from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from benchmarks.pages import chromium

PICTURES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "pictures"
_DESKTOP, _PHONE = (1360, 940), (390, 800)
_GAP = 24
_OVERVIEW = 1100  # pixels of its width
_LARGEST = 300_000  # most bytes of a picture


def _opened(browser: chromium.Chromium, page: pathlib.Path, image: str) -> None:
    browser.open(page)
    browser.wait("document.body.dataset.shown")
    index = browser.evaluate(f"gan2shape.data.images.findIndex(image => image.name === {json.dumps(image)})")
    if index < 0:
        raise SystemExit(f"{page} has no image {image}")
    card = f"#cards li[data-index='{index}'] a"
    browser.evaluate(f'document.querySelector("{card}").click()')
    browser.wait(f"document.body.dataset.shown === '{index}'")
    browser.evaluate("scrollTo(0, 0)")
    browser.frames()


def _shot(browser: chromium.Chromium) -> Image.Image:
    browser.evaluate("document.activeElement.blur()")
    browser.evaluate("new Promise(done => setTimeout(done, 400))")  # the words below the model follow it
    browser.frames()
    return Image.open(io.BytesIO(browser.screenshot())).convert("RGB")


def _save(picture: Image.Image, name: str) -> None:
    for quality in range(90, 40, -4):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if len(buffer.getvalue()) < _LARGEST:
            break
    (PICTURES / name).write_bytes(buffer.getvalue())


def _desktop(browser: chromium.Chromium, page: pathlib.Path, image: str) -> Image.Image:
    browser.screen(*_DESKTOP, scale=1.25, still=True)
    _opened(browser, page, image)
    # 25 degrees from the left, a little from above, lit from the left.
    browser.evaluate("gan2shape.viewer().turn(0.44, 0.06); gan2shape.viewer().setLight([0.25, 0.85, 0.9, 0.35])")
    return _shot(browser)


def _phone(browser: chromium.Chromium, page: pathlib.Path, image: str) -> Image.Image:
    shots = []
    for dark, script in (
        (False, "scrollTo(0, 0)"),
        (
            True,
            "document.getElementById('mode-clay').click(); gan2shape.viewer().turn(-0.5, 0.08); "
            "document.getElementById('work').scrollIntoView()",
        ),
        (False, "document.getElementById('found').scrollIntoView()"),
    ):
        browser.screen(*_PHONE, scale=1.5, touch=True, dark=dark, still=True)
        _opened(browser, page, image)
        browser.evaluate(script)
        shots.append(_shot(browser))
    return _beside(shots)


def _made_there(browser: chromium.Chromium, address: str, photo: pathlib.Path) -> Image.Image:
    """Returns the page of `export web` on a phone: the photo, its result in the photo's texture, and turned as clay."""
    browser.screen(*_PHONE, scale=1.5, touch=True, still=True)
    browser.open(f"{address}?by=wasm")
    browser.evaluate("gan2shape.loaded")
    browser.choose("#file", photo)
    browser.wait("document.body.dataset.made")
    shots = []
    for script in (
        "document.getElementById('drop').scrollIntoView()",
        "gan2shape.viewer().turn(0.45, 0.05); document.getElementById('result').scrollIntoView()",
        "gan2shape.viewer().turn(-1, 0); document.querySelector('input[value=clay]').click()",
    ):
        browser.evaluate(script)
        shots.append(_shot(browser))
    return _beside(shots)


def _beside(shots: list[Image.Image]) -> Image.Image:
    width, height = shots[0].size
    contact_sheet = Image.new("RGB", (len(shots) * (width + _GAP) - _GAP, height), (255, 255, 255))
    for k, shot in enumerate(shots):
        contact_sheet.paste(shot, (k * (width + _GAP), 0))
    return contact_sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", help="a run's folder, with its index.html; or the address of a page of export web")
    parser.add_argument("--photo", type=pathlib.Path, help="of a person, for that page")
    parser.add_argument("--image", default="066", help="the image that is shown (default: 066)")
    options = parser.parse_args()
    with chromium.opened() as browser:
        if options.photo:
            _save(_made_there(browser, options.run, options.photo), "in_a_browser.jpg")
            return
        page = pathlib.Path(options.run, "index.html")
        _save(_desktop(browser, page, options.image), "page_desktop.jpg")
        _save(_phone(browser, page, options.image), "page_phone.jpg")
    overview = Image.open(pathlib.Path(options.run, "results", options.image, "overview.png")).convert("RGB")
    _save(overview.resize((_OVERVIEW, round(overview.height * _OVERVIEW / overview.width))), "overview_people.jpg")


if __name__ == "__main__":
    main()
