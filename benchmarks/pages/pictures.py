"""Draws pictures of the docs, into docs/pictures unless told otherwise.

    python benchmarks/pages/pictures.py turned results/cat --out docs/pictures/cats.jpg [--names 000 005]

a row for each image of finished runs: the photo, and its shape and mesh, in its colours as `photo` gives them, from
several sides; of several runs, all of which have these images, one is beside the other.

    python benchmarks/pages/pictures.py together OUT/results/a OUT/results/b --out docs/pictures/together.jpg

results of several photographs of one object (`photo --together`): six of those, the model and its shape turned.

(`rotate_006.jpg` and `relight_006.jpg` are what the commands in docs/how-to/editing.md write, 1100 pixels wide.)

    gan2shape-jax --config=ictface:predict --config.workdir=results/predicted
    python benchmarks/pages/pictures.py exports results/predicted/results/006

`textured_NAME.jpg` (the plain mesh above, the photo's texture below it, then that lit from the side, and where its
colours come from) and `solid_NAME.jpg`, of docs/how-to/exporting.md. The bundled photos have 64 pixels: the photo
projected here is one of them, enlarged.

These need a headless Chromium (apt-get install chromium):

    gan2shape-jax --config=people:predict --config.data.latent_root= --config.workdir=RUN
    for result in RUN/results/*; do gan2shape-jax export texture $result $result/input.png; done
    gan2shape-jax page RUN --out RUN/index.html --overwrite
    python benchmarks/pages/pictures.py page RUN

`page_desktop.jpg`, the page with the model turned and relit; `page_phone.jpg`, as it opens, as clay in dark mode, and
the factors; `overview_people.jpg`, the overview of the same image.

    gan2shape-jax export web people --out site && python -m http.server --directory site
    python benchmarks/pages/pictures.py browser http://localhost:8000/ --photo PHOTO

`in_a_browser.jpg`: that page on a phone, with what it makes of a photo, here of a rendered head
(`faces/render.py --split test --count 1 --frame 1.6 --size 256`).

    pip install -e '.[web]' && python benchmarks/pages/pictures.py serving

`serving.jpg`: two of the bundled faces in one picture, as they are sent and framed, and the page with the result.
"""

import argparse
import dataclasses
import io
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import cv2
import jax.numpy as jnp
import numpy as np
import trimesh
from PIL import Image

import gan2shape_jax as g2s
from gan2shape_jax.apps.evaluate import find_runs
from gan2shape_jax.geometry import mesh_rasterizer
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.crop_box import centred_box
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.photos.texture import PhotoTexture, Seen, source_colours, texture_from_all
from gan2shape_jax.results import Reconstruction, build_solid, load, pictures, surface, views
from gan2shape_jax.results.surface import cut_surface

_ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT / "tests"))

from helpers import chromium  # noqa: E402

PICTURES = _ROOT / "docs" / "pictures"
_CELL = 110  # pixels
_YAWS = (-50, -25, 0, 25, 50)
_LARGEST = 300_000  # most bytes of a screenshot


def _turned(options: argparse.Namespace) -> None:
    runs = find_runs([pathlib.Path(run) for run in options.of])
    names = options.names or list(runs[0].images)
    rows = [_turned_row([run.images[name] for run in runs], options.yaws) for name in names]
    Image.fromarray(np.concatenate(rows)).save(options.out, quality=88)


def _worn(result: Reconstruction) -> Reconstruction:
    """Returns a result with the texture of its photo, as `photo` gives it; bundled ones have 64 pixels, enlarged."""
    return result if result.texture is not None else dataclasses.replace(result, texture=_texture(result).lit)


def _texture(result: Reconstruction) -> PhotoTexture:
    enlarged = pictures.enlarge(pictures.to_uint8(result.signed_image), _ENLARGED)
    box = centred_box(_ENLARGED, _ENLARGED)
    return texture_from_all(result, [Seen(enlarged, box, result.view, 0.0, result.input_mask)])


def _turned_row(folders: list[pathlib.Path], yaws: Sequence[float]) -> np.ndarray:
    with Image.open(folders[0] / "input.png") as picture:
        cells = [np.asarray(picture.convert("RGB").resize((_CELL, _CELL), Image.Resampling.BICUBIC))]
    for result in map(_worn, map(g2s.load, folders)):
        for show in ("shape", "image"):
            cells += [np.asarray(result.render(yaw=yaw, size=_CELL, show=show))[..., :3] for yaw in yaws]
    return np.concatenate(cells, axis=1)


_TOGETHER, _SMALL, _BIG = 6, 66, 132  # photographs that are shown in two columns, and the sides of pictures
_TOGETHER_YAWS = (-40, 0, 40)


def _together(options: argparse.Namespace) -> None:
    rows = []
    for result in map(g2s.load, options.of):
        shown = [pictures.to_uint8(one.signed_image) for one in result.photographs[:_TOGETHER]]
        small = [np.asarray(Image.fromarray(each).resize((_SMALL, _SMALL), Image.Resampling.BICUBIC)) for each in shown]
        small += [np.full((_SMALL, _SMALL, 3), 255, np.uint8)] * (_TOGETHER - len(small))
        columns = [np.concatenate(small[k : k + 2]) for k in range(0, _TOGETHER, 2)]
        turned = [
            np.asarray(result.render(yaw=yaw, size=_BIG, show=show))
            for show in ("image", "shape")
            for yaw in _TOGETHER_YAWS
        ]
        rows.append(np.concatenate([*columns, *turned], axis=1))
    Image.fromarray(np.concatenate(rows)).save(options.out, quality=88)


_WIDTH = 1100


def _narrowed(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB").resize((_WIDTH, round(picture.height * _WIDTH / picture.width)))


_EXPORT_YAWS = (-60, -30, 0, 30, 60)
_SIDE, _SAMPLES = 220, 3
_ENLARGED = 1024
_LIGHT = (0.25, 0.75, 0.9, 0.2)
_SOLID_VIEWS = {"flat": ((0, 0), (35, 15), (90, 0)), "round": ((35, 15), (90, 0))}  # yaw, pitch


def _exports(options: argparse.Namespace) -> None:
    for result in map(load, map(pathlib.Path, options.of)):
        made = _texture(result)
        plain = views.draw(result, views.sweep_views(yaw_deg=_EXPORT_YAWS), size=_SIDE, window=1.2)
        rows = [list(views.picture(plain, "image", light=result.light) / 255)]
        for texture, light in ((made.lit, None), (made.albedo, _LIGHT), (source_colours(made.sources), None)):
            rows.append([_textured(result, texture, yaw, light) for yaw in _EXPORT_YAWS])
        _save_sheet(rows, f"textured_{result.name}")
        solids = {back: build_solid(result, back=back).mesh for back in _SOLID_VIEWS}
        drawn = [_solid(solids[back], *view) for back, seen_from in _SOLID_VIEWS.items() for view in seen_from]
        _save_sheet([drawn], f"solid_{result.name}")


def _textured(
    result: Reconstruction, texture: np.ndarray, yaw: float, light: tuple[float, ...] | None = None
) -> np.ndarray:
    """Draws the mesh with a texture over the canonical picture, float (s, s, 3)."""
    part = surface.surface(result)
    piece = cut_surface(part.depth, part.field, result.camera)
    center = np.array([0, 0, result.camera.rot_center_depth])
    rotation = surface.rotations(np.array([0, np.deg2rad(yaw), 0], np.float32))
    side = result.camera.image_size
    camera = Camera(_SIDE * _SAMPLES, fov_deg=result.camera.fov_deg * 1.2)
    faces = piece.faces.astype(np.int32)
    points = jnp.asarray((piece.points - center) @ rotation.T + center, jnp.float32)
    fragments = mesh_rasterizer.rasterize(points, camera, faces=faces)
    values = jnp.asarray(piece.pixels, jnp.float32)
    column, row = np.moveaxis(np.asarray(mesh_rasterizer.interpolate(fragments, values, faces=faces)), -1, 0)
    scale = len(texture) / side
    colours = cv2.remap(texture, (column + 0.5) * scale - 0.5, (row + 0.5) * scale - 0.5, cv2.INTER_LINEAR) / 255
    if light is not None:
        normal = cv2.remap(part.normal, column, row, cv2.INTER_LINEAR)
        colours = colours * surface.shading(normal, np.array(light, np.float32))[..., None]
    drawn = np.where((np.asarray(fragments.triangle) >= 0)[..., None], np.clip(colours, 0, 1), 1.0)
    return drawn.reshape(_SIDE, _SAMPLES, _SIDE, _SAMPLES, 3).mean((1, 3))


def _solid(mesh: trimesh.Trimesh, yaw: float, pitch: float) -> np.ndarray:
    """Draws a solid in grey, seen from above its bed, float (s, s, 3)."""
    camera = Camera(_SIDE * _SAMPLES, fov_deg=15.0)
    rotation = surface.rotations(np.deg2rad([pitch, -yaw, 0]).astype(np.float32))
    centred = (mesh.vertices - mesh.bounds.mean(axis=0)) / np.linalg.norm(mesh.extents) * 0.33
    turned = centred * (1, -1, -1) @ rotation.T + (0, 0, 1)
    faces = np.asarray(mesh.faces, np.int32)
    triangle = np.asarray(mesh_rasterizer.rasterize(jnp.asarray(turned, jnp.float32), camera, faces=faces).triangle)
    facing = mesh.face_normals * (1, -1, -1) @ rotation.T
    light = np.array([-0.4, -0.5, -0.8]) / np.linalg.norm([0.4, 0.5, 0.8])
    grey = 0.2 + 0.7 * np.clip(facing @ light, 0, 1)
    drawn = np.where(triangle >= 0, grey[np.maximum(triangle, 0)], 1.0)
    return np.repeat(drawn.reshape(_SIDE, _SAMPLES, _SIDE, _SAMPLES).mean((1, 3))[..., None], 3, axis=-1)


def _save_sheet(rows: list[list[np.ndarray]], name: str) -> None:
    contact_sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    Image.fromarray(np.rint(contact_sheet * 255).astype(np.uint8)).save(PICTURES / f"{name}.jpg", quality=88)


_DESKTOP, _PHONE = (1360, 940), (390, 800)
_GAP = 24


def _page(options: argparse.Namespace) -> None:
    (run,) = map(pathlib.Path, options.of)
    with chromium.opened() as browser:
        _save_shot(_desktop(browser, run / "index.html", options.image), "page_desktop.jpg")
        _save_shot(_phone(browser, run / "index.html", options.image), "page_phone.jpg")
    _save_shot(_narrowed(Image.open(run / "results" / options.image / "overview.png")), "overview_people.jpg")


def _browser(options: argparse.Namespace) -> None:
    (address,) = options.of
    with chromium.opened() as browser:
        _save_shot(_made_there(browser, address, options.photo), "in_a_browser.jpg")


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


def _save_shot(picture: Image.Image, name: str) -> None:
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


def _beside(shots: list[Image.Image], gap: int = _GAP) -> Image.Image:
    width, height = shots[0].size
    contact_sheet = Image.new("RGB", (len(shots) * (width + gap) - gap, height), (255, 255, 255))
    for k, shot in enumerate(shots):
        contact_sheet.paste(shot, (k * (width + gap), 0))
    return contact_sheet


_SERVED = (860, 1180)
_SERVED_WIDTH = 1300  # pixels of the picture
_PATIENCE = 300  # seconds, including compilation
_DRAWN_MS = 10_000  # after which all is drawn, on a busy machine too


def _serving(options: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "gan2shape_jax.main", "serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT)
    assert server.stdout is not None
    try:
        address = server.stdout.readline().split()[0]
        with tempfile.TemporaryDirectory() as folder, chromium.opened() as page:
            picture = _served(page, address, _two_faces(pathlib.Path(folder)))
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
    picture = picture.resize((_SERVED_WIDTH, round(_SERVED_WIDTH * picture.height / picture.width)))
    picture.save(PICTURES / "serving.jpg", quality=80, optimize=True)


def _two_faces(folder: pathlib.Path) -> pathlib.Path:
    photo = Image.new("RGB", (640, 420), (90, 120, 140))
    for name, side, place in (("006", 230, (300, 90)), ("002", 180, (60, 170))):
        photo.paste(Image.open(asset(f"ictface/image/{name}.png")).convert("RGB").resize((side, side)), place)
    path = folder / "two faces.jpg"
    photo.save(path, quality=92)
    return path


def _served(page: chromium.Chromium, address: str, photo: pathlib.Path) -> Image.Image:
    """Returns the page before and after the reconstruction, side by side."""

    def shot() -> Image.Image:
        page.evaluate(f"new Promise(done => {{ scrollTo(0, 0); setTimeout(done, {_DRAWN_MS}); }})")
        return Image.open(io.BytesIO(page.screenshot())).convert("RGB")

    page.screen(*_SERVED, still=True)
    page.open(address)
    page.wait("document.querySelector('#photo input[type=file]')")
    page.choose("#photo input[type=file]", photo)
    page.wait("document.querySelector('#go:not([disabled])') && document.querySelector('#crop img')", seconds=_PATIENCE)
    shots = [shot()]
    page.press("#go")
    page.wait("document.querySelector('#status').innerText === 'Done.'", seconds=_PATIENCE)
    # The page inside the frame has told its height; its model takes longer, and no script may look into the frame.
    page.wait("document.querySelector('#result iframe').clientHeight > 2000", seconds=_PATIENCE)
    return _beside([*shots, shot()], gap=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ways = {"turned": _turned, "exports": _exports, "page": _page, "browser": _browser}
    ways |= {"serving": _serving, "together": _together}
    parser.add_argument("what", choices=ways)
    parser.add_argument("of", nargs="*", help="runs' or results' folders; the address of a page of export web")
    parser.add_argument("--out", type=pathlib.Path, help="turned, together: the picture")
    parser.add_argument("--names", nargs="*", help="turned: of the images (default: all of the first run)")
    parser.add_argument("--yaws", type=float, nargs="+", default=_YAWS, metavar="DEGREES")
    parser.add_argument("--photo", type=pathlib.Path, help="browser: of a person")
    parser.add_argument("--image", default="000", help="page: the image that is shown (default: 000)")
    options = parser.parse_args()
    ways[options.what](options)


if __name__ == "__main__":
    main()
