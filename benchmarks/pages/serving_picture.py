"""Takes a screenshot of the served page with a result for the docs, in a headless Chromium (apt-get install chromium).

    pip install -e '.[web]'
    python benchmarks/pages/serving_picture.py

Writes `docs/pictures/serving.jpg`: two of the bundled faces in one picture; left as they are sent and framed, right
the page with the result.
"""

import argparse
import io
import pathlib
import signal
import subprocess
import sys
import tempfile

from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from benchmarks.pages import chromium
from gan2shape_jax.io.bundled import asset

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_OUT = _ROOT / "docs" / "pictures" / "serving.jpg"
_WIDTH, _HEIGHT = 860, 1180
_SHOWN = 1300  # pixels of the picture's width
_PATIENCE = 300  # seconds, including compilation
_DRAWN_MS = 10_000  # after which all is drawn, on a busy machine too


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=_OUT, help="picture to write (default: that of the docs)")
    out = parser.parse_args().out
    command = [sys.executable, "-m", "gan2shape_jax.main", "serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT)
    assert server.stdout is not None
    try:
        address = server.stdout.readline().split()[0]
        with tempfile.TemporaryDirectory() as folder, chromium.opened() as page:
            picture = _photographed(page, address, _photo(pathlib.Path(folder)))
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
    picture = picture.resize((_SHOWN, round(_SHOWN * picture.height / picture.width)))
    picture.save(out, quality=80, optimize=True)
    print(f"{out}: {out.stat().st_size} bytes")


def _photo(folder: pathlib.Path) -> pathlib.Path:
    photo = Image.new("RGB", (640, 420), (90, 120, 140))
    for name, side, place in (("006", 230, (300, 90)), ("002", 180, (60, 170))):
        photo.paste(Image.open(asset(f"ictface/image/{name}.png")).convert("RGB").resize((side, side)), place)
    path = folder / "two faces.jpg"
    photo.save(path, quality=92)
    return path


def _photographed(page: chromium.Chromium, address: str, photo: pathlib.Path) -> Image.Image:
    """Returns the page before and after the reconstruction, side by side."""
    page.screen(_WIDTH, _HEIGHT, still=True)
    page.open(address)
    page.wait("document.querySelector('#photo input[type=file]')")
    page.choose("#photo input[type=file]", photo)
    page.wait("document.querySelector('#go:not([disabled])') && document.querySelector('#crop img')", seconds=_PATIENCE)
    shots = [_shot(page)]
    page.press("#go")
    page.wait("document.querySelector('#status').innerText === 'Done.'", seconds=_PATIENCE)
    # The page inside the frame has told its height; its model takes longer, and no script may look into the frame.
    page.wait("document.querySelector('#result iframe').clientHeight > 2000", seconds=_PATIENCE)
    shots.append(_shot(page))
    pair = Image.new("RGB", (2 * _WIDTH, _HEIGHT))
    for column, shot in enumerate(shots):
        pair.paste(shot, (column * _WIDTH, 0))
    return pair


def _shot(page: chromium.Chromium) -> Image.Image:
    page.evaluate(f"new Promise(done => {{ scrollTo(0, 0); setTimeout(done, {_DRAWN_MS}); }})")
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    main()
