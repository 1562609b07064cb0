"""Draws what a face detector is taught by: the parts of scenes once, and scenes of them, each told by seed and number.

    python benchmarks/detection/scenes.py POOL --sources DIR --portraits congress-images-225x275/images --things FOLDER

DIR holds the clones of both families of heads (see `faces/sources`). The portraits are framed by the program, whose
landmarks are taken for true; every thirteenth is kept out, as by `people/portraits.py`. FOLDERs hold photographs that
show nobody. POOL, a new folder, gets `heads.npz` (rendered, in all turns), `backs.npz` (of heads), `portraits.npz`,
`samples.npz` (of the bundled GANs of people), `others.npz` (of those of cats and cars) and `things.npz`.

A scene (`scene`) is a picture with at most `MOST` faces, each told by five landmarks. Heads stand before drawn rooms,
clutter or photographs of things, with shoulders, some behind a mask, a hand or dark glasses; portraits and samples are
placed at all sizes; a third of the scenes show no face: things, cats, cars, heads from behind or without features.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterator

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.detection import faces
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.crop_box import crop_to_photo, sample_crop
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.files import atomic_file
from gan2shape_jax.results.pictures import to_uint8
from gan2shape_jax.stylegan2.latents import random_images

sys.path.extend(str(pathlib.Path(__file__).parents[1] / name) for name in ("faces", "quality", "people"))

import drawing
import portraits
import render
import verdicts

Part = dict[str, np.ndarray]
Pool = dict[str, Part]

PARTS = ("things", "portraits", "samples", "others", "heads", "backs")
MOST = 6  # faces of a scene
_SIDE, _FRAME = 128, 1.6  # pixels of a part, and how many faces' crops wide a rendered one is
_KEPT = 13  # one portrait in so many is kept out
_LONGER, _ENDINGS = 320, (".jpg", ".jpeg", ".png")  # pixels of a thing, and its files
_TURNED, _PITCHED, _BEHIND = 75, 35, 55  # degrees up to which heads are turned, to the front and from behind
_LEAST = 7  # pixels of a face's side below which it is ignored
_EYES, _DOWN = 0.32, 0.345  # sides of a crop between the eyes, and from them to the mouth
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
_COVERS = ("covered by a mask", "covered by a hand", "sunglasses", "a hand over the mouth", "an arm", "hair")
_TALL = 0.8  # side of a face, from brow to chin, in those of its crop


def face_box(landmarks: np.ndarray) -> np.ndarray:
    """Returns centres and sides (..., 3) of the squares around faces with landmarks (..., 5, 2)."""
    eyes, mouth = landmarks[..., :2, :].mean(-2), landmarks[..., 3:, :].mean(-2)
    across = np.linalg.norm(landmarks[..., 1, :] - landmarks[..., 0, :], axis=-1) / _EYES
    side = _TALL * np.maximum(across, np.linalg.norm(mouth - eyes, axis=-1) / _DOWN)
    return np.concatenate([0.52 * eyes + 0.48 * mouth, side[..., None]], axis=-1)


def landmark_vertices(family: dict) -> list[np.ndarray]:
    """Returns the vertices whose means are a family's landmarks: right eye, left eye, nose, corners of the mouth."""
    rest, lips = family["rest"], np.flatnonzero(family["lips"] > 0.5)
    nose = np.flatnonzero((np.abs(rest[:, 0]) < 0.2) & (rest[:, 1] < -0.15) & (rest[:, 1] > -0.95))
    pupils = [family["eyes"][k][:14] for k in (1, 0)]
    corners = [lips[[order(rest[lips, 0])]] for order in (np.argmin, np.argmax)]
    return [*pupils, nose[[np.argmax(rest[nose, 2])]], *corners]


def _heads(folder: pathlib.Path, count: int, *, behind: bool) -> dict[str, np.ndarray]:
    """Draws heads (n, s, s, 4), the landmarks of which mean nothing from behind; every other batch as portraits are."""
    options = argparse.Namespace(
        seed=0, split="train", pictures=1, yaw=25.0, fov=None, frame=_FRAME, jaw=None, rigid=False
    )
    camera, together = Camera(image_size=_SIDE), 8
    pictures, places = [], []
    for name, family in render.heads(folder).items():
        device, marks = drawing.on_device(family), landmark_vertices(family)

        @jax.jit
        def marked(people, scenes, device=device, marks=marks):
            def one(p, s):
                scene, *_, lens = drawing.in_scene(drawing.shaped(device, p), s)
                points = jnp.stack([scene[vertices].mean(0) for vertices in marks]) * lens
                return points[:, :2] / points[:, 2:] * camera.focal_length + camera.width / 2

            return jax.vmap(one)(people, scenes)

        for first in range(0, count // 2, together):
            turned = _BEHIND if behind else _TURNED
            options.turned = (turned, _PITCHED) if behind or first // together % 2 else None
            persons, scenes = render.described(family["names"], name, [*range(first, first + together)], options)
            persons["weights"] = persons["weights"] - family["mean"]
            scenes["view"][:, 1] += np.float32(np.pi * behind)
            drawn = drawing.draw(device, persons, scenes, size=_SIDE, supersample=1)
            alpha = np.asarray(drawn["mask"], np.uint8)[..., None] * 255
            pictures.append(np.concatenate([np.asarray(drawn["image"]), alpha], -1))
            places.append(np.asarray(marked(persons, scenes)))
    return {"pictures": np.concatenate(pictures), "landmarks": np.concatenate(places)}


def _samples(kinds: list[str], count: int) -> dict[str, np.ndarray]:
    """Draws samples of bundled GANs, and where the program finds landmarks; NaN where it finds none."""
    pictures = []
    for kind in kinds:
        arch, gan = stylegan2.load(pathlib.Path(asset(f"{kind}/gan.safetensors")))
        mean = jnp.zeros((1, arch.style_dim))
        drawn, _ = random_images(
            jax.random.key(5), gan["generator"], arch=arch, count=count // len(kinds), truncation=1.0, mean=mean
        )
        pictures.append(to_uint8(drawn))
    samples = np.concatenate(pictures)
    return {"pictures": samples, "landmarks": np.stack([faces.landmarks_in(sample) for sample in samples]) + 0.5}


def portrait_faces(folder: pathlib.Path, *, kept: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields photographs and the landmarks (5, 2) of those that teach, or of those that are kept out."""
    for count, (picture, box) in enumerate(portraits.portraits(folder), start=1):
        if (count % _KEPT == 0) == kept:
            landmarks = faces.landmarks_in(sample_crop(picture, box, 2 * _SIDE)) + 0.5
            yield picture, crop_to_photo(landmarks, box, 2 * _SIDE)


def _taught_by(folder: pathlib.Path) -> Part:
    pictures, places = zip(*portrait_faces(folder, kept=False))
    sides = np.array([picture.shape[:2] for picture in pictures])
    room = np.zeros((len(pictures), *sides.max(0), 3), np.uint8)
    for one, picture in zip(room, pictures):
        one[: len(picture), : picture.shape[1]] = picture
    return {"pictures": room, "sides": sides, "landmarks": np.stack(places)}


def _things(folders: list[pathlib.Path]) -> dict[str, np.ndarray]:
    """Returns photographs, at most `_LONGER` pixels long."""
    things = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS):
        with Image.open(path) as photo:
            picture = photo.convert("RGB")
            picture.thumbnail((_LONGER, _LONGER))
            things[f"{len(things):05d}"] = np.asarray(picture)
    return things


def load(folder: pathlib.Path) -> Pool:
    """Returns the parts of scenes; raises `OSError`."""
    return {name: dict(np.load(folder / f"{name}.npz")) for name in PARTS}


def scene(pool: Pool, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a picture, uint8 (size, size, 3), and its faces' landmarks (MOST, 5, 2), pixels; NaN where there is none.

    Coordinates are those of a picture from 0 to `size`. A face that is hardly there, see `hardly`, counts as neither.
    """
    canvas, found, taken = _backdrop(pool, rng, size), [], []
    kind = rng.choice(4, p=[0.25, 0.1, 0.35, 0.3])  # none, none that is a photograph alone, one that is large, several
    for _ in range(rng.integers(1, 5) if kind == 0 else kind > 1 and rng.random() < 0.3):
        canvas = _with_other(canvas, pool, rng)
    for _ in range((0, 0, 1, rng.integers(1, MOST + 1))[kind]):
        low, high = (0.3, 0.95) if kind == 2 else (8 / size, 0.4)
        side = size * np.exp(rng.uniform(np.log(low), np.log(high)))
        at = rng.uniform(0.35, 0.65, 2) * size if kind == 2 else rng.uniform(0, size, 2)
        if all(np.abs(at - other[:2]).max() > 0.7 * (side + other[2]) for other in taken):
            canvas, landmarks = _with_face(canvas, pool, rng, side, at, large=kind == 2)
            if landmarks is not None:
                found.append(landmarks)
                taken.append((*at, side))
    marks = np.full((MOST, 5, 2), np.nan)
    marks[: len(found)] = np.reshape(found, (-1, 5, 2))
    if rng.random() < 0.5:
        canvas, marks = canvas[:, ::-1], (marks * (-1, 1) + (size, 0))[:, faces.MIRRORED]
    return _photographed(canvas, rng), marks


def hardly(boxes: np.ndarray, size: int) -> np.ndarray:
    """Returns which faces (..., 3) are too small to be seen, or have their middle too near the edge or beyond it."""
    outside = np.abs(boxes[..., :2] - size / 2).max(-1) > size / 2 - 0.1 * boxes[..., 2]
    return (boxes[..., 2] < _LEAST) | outside


def _pick(rng: np.random.Generator, part: Part) -> int:
    return int(rng.integers(len(part["landmarks"])))


def _with_face(
    canvas: np.ndarray, pool: Pool, rng: np.random.Generator, side: float, at: np.ndarray, *, large: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns a canvas with a rendered head, a portrait or a sample, and its landmarks; None where it has none."""
    name = ("heads", "portraits", "samples")[rng.choice(3, p=[0.45, 0.38, 0.17])]
    part = pool[name]
    number = _pick(rng, part)
    picture, landmarks = part["pictures"][number], part["landmarks"][number]
    if not np.isfinite(landmarks).all():
        return canvas, None
    if name == "portraits":
        height, width = part["sides"][number]
        picture = picture[:height, :width]
    x, y, own = face_box(landmarks)
    roll = rng.normal(0, 12) if rng.random() < 0.85 else rng.uniform(-50, 50)
    turn = cv2.getRotationMatrix2D((0, 0), roll, side / own)
    turn[:, 2] = at - turn[:, :2] @ (x, y)
    marks = landmarks @ turn[:, :2].T + turn[:, 2]
    if name == "heads":
        if rng.random() < 0.8:
            canvas = _with_shoulders(canvas, turn, rng)
    elif name == "portraits" and large and rng.random() < 0.6:  # nothing but the photograph
        shown = _warped(picture, turn, len(canvas), cv2.BORDER_REPLICATE)
        canvas = shown if rng.random() < 0.7 else _warped(picture, turn, len(canvas), cv2.BORDER_REFLECT)
    canvas = _pasted(canvas, picture, turn, soft=name == "samples" or rng.random() < 0.3)
    across, inside = np.linalg.norm(marks[1] - marks[0]), np.abs(marks[2] - len(canvas) / 2).max() < len(canvas) / 2 - 6
    if side > 16 and inside and across > 0.2 * side and rng.random() < 0.18:
        canvas = verdicts.changed(canvas, _COVERS[rng.integers(len(_COVERS))], across, marks, rng)
    return canvas, marks


def _with_other(canvas: np.ndarray, pool: Pool, rng: np.random.Generator) -> np.ndarray:
    """Returns a canvas with a cat, a car, a head from behind or one without features."""
    size = len(canvas)
    what = rng.choice(4, p=[0.4, 0.2, 0.2, 0.2])
    part = pool[("others", "others", "backs", "heads")[what]]
    picture = part["pictures"][_pick(rng, part)]
    if what == 3:
        kernel = 2 * int(rng.integers(14, 30)) + 1
        grey = rng.random() < 0.5
        smooth = cv2.blur(picture[..., :3], (kernel, kernel))
        picture = np.dstack([np.repeat(smooth.mean(-1, keepdims=True), 3, -1) if grey else smooth, picture[..., 3:]])
    scale = size * np.exp(rng.uniform(np.log(0.12), np.log(1.2))) / len(picture)
    turn = cv2.getRotationMatrix2D((len(picture) / 2,) * 2, rng.normal(0, 12), scale)
    turn[:, 2] += rng.uniform(0, size, 2) - len(picture) / 2
    return _pasted(canvas, picture.astype(np.uint8), turn, soft=rng.random() < 0.5)


def _with_shoulders(canvas: np.ndarray, turn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a canvas with shoulders in one colour, where a rendered head is going to be."""
    scale, canvas = np.linalg.norm(turn[0, :2]), np.ascontiguousarray(canvas)
    middle = turn[:, :2] @ (_SIDE / 2 + rng.normal(0, 5), _SIDE * 1.45) + turn[:, 2]
    axes = scale * _SIDE * np.array([rng.uniform(0.55, 0.85), rng.uniform(0.45, 0.6)])
    angle = float(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])))
    ellipse = *np.round(middle).astype(int).tolist(), *np.maximum(np.round(axes), 1).astype(int).tolist()
    cv2.ellipse(canvas, ellipse[:2], ellipse[2:], angle, 0, 360, rng.uniform(10, 240, 3).tolist(), -1, cv2.LINE_AA)
    return canvas


def _warped(picture: np.ndarray, turn: np.ndarray, size: int, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
    """Returns a picture moved by a similarity (2, 3) between coordinates, first shrunk where that makes it smaller."""
    turn, scale = turn.copy(), np.linalg.norm(turn[0, :2])
    if scale < 0.6:
        sides = np.maximum(np.round(np.array(picture.shape[1::-1]) * scale * 1.2), 2).astype(int)
        turn[:, :2] *= np.array(picture.shape[1::-1]) / sides
        picture = cv2.resize(picture, sides.tolist(), interpolation=cv2.INTER_AREA)
    turn[:, 2] += turn[:, :2] @ (0.5, 0.5) - 0.5  # pixels' middles
    return cv2.warpAffine(picture, turn, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)


def _pasted(canvas: np.ndarray, picture: np.ndarray, turn: np.ndarray, *, soft: bool) -> np.ndarray:
    """Returns a canvas with a picture; one without alpha is framed hard, or by a soft oval."""
    height, width = picture.shape[:2]
    alpha = picture[..., 3] if picture.shape[-1] == 4 else np.full((height, width), 255, np.uint8)
    if soft and picture.shape[-1] == 3:
        middle, axes = (width // 2, height // 2), (int(0.44 * width), int(0.45 * height))
        alpha = cv2.ellipse(np.zeros_like(alpha), middle, axes, 0, 0, 360, 255, -1)
        alpha = cv2.GaussianBlur(alpha, (0, 0), 0.04 * width)
    share = cv2.GaussianBlur(_warped(alpha, turn, len(canvas)), (3, 3), 0)[..., None] / np.float32(255)
    colour = _warped(picture[..., :3], turn, len(canvas), cv2.BORDER_REPLICATE)
    return np.rint(colour * share + canvas * (1 - share)).astype(np.uint8)


def _backdrop(pool: Pool, rng: np.random.Generator, size: int) -> np.ndarray:
    """Returns a part of a photograph of a thing, a room or clutter."""
    kind = rng.choice(3, p=[0.55, 0.2, 0.25])
    if kind == 0:
        thing = pool["things"][f"{rng.integers(len(pool['things'])):05d}"]
        height, width = thing.shape[:2]
        side = rng.uniform(0.35, 1) * min(height, width)
        turn = np.array([[size / side, 0, 0], [0, size / side, 0]])
        turn[:, 2] = -turn[0, 0] * rng.uniform(0, 1, 2) * (width - side, height - side)
        return _warped(thing, turn, size, cv2.BORDER_REPLICATE)
    colours = np.clip(rng.uniform(20, 235) + rng.normal(0, 45, (4, 1)) + rng.normal(0, 18, (4, 3)), 0, 255)
    slope = np.linspace(0, 1, size)[:, None, None]
    canvas = (colours[0] * (1 - slope) + colours[1] * slope) * np.ones((1, size, 1))
    if kind == 1:  # a floor, a side wall, windows and furniture
        corner, floor = rng.uniform(-0.2, 1.2), rng.uniform(0.5, 1)
        wall = np.array([[0, 0], [corner, 0], [corner, floor], [0, floor + 0.3]]) * size
        ground = np.array([[0, floor + 0.3], [corner, floor], [1, floor], [1, 1.4], [0, 1.4]]) * size
        for polygon, colour in ((wall, colours[2]), (ground, colours[3])):
            cv2.fillPoly(canvas, [np.round(polygon).astype(np.int32)], colour.tolist(), cv2.LINE_AA)
    for _ in range(rng.integers(0, 6 if kind == 1 else 30)):
        start, length = rng.uniform(-0.1, 1, 2) * size, np.exp(rng.normal(-1.8, 0.8, 2)) * size
        colour = np.clip(colours[rng.integers(4)] + rng.normal(0, 50) + rng.normal(0, 30, 3), 0, 255).tolist()
        ends = [tuple(np.round(place).astype(int).tolist()) for place in (start, start + length)]
        shape = rng.integers(3 if kind == 1 else 4)
        if shape < 2:
            cv2.rectangle(canvas, *ends, colour, -1 if rng.random() < 0.7 else 2)
        elif shape == 2:
            axes = [max(1, int(value / 2)) for value in length]
            cv2.ellipse(canvas, ends[0], axes, rng.uniform(0, 180), 0, 360, colour, -1 if rng.random() < 0.7 else 2)
        else:
            cv2.line(canvas, *ends, colour, int(rng.integers(1, 5)), cv2.LINE_AA)
    if rng.random() < 0.5:
        noise = rng.normal(0, rng.uniform(2, 25), (*rng.integers(4, size, 2), 1))
        canvas += cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)[..., None]
    if rng.random() < 0.4:
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 4))
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _photographed(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a canvas as a camera keeps it: exposed, maybe grey, blurred, noisy, as JPEG."""
    values = canvas.astype(np.float32) / 255
    values = np.maximum(values, 0) ** np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.06, 3))
    values = (values - values.mean()) * np.exp(rng.normal(0, 0.2)) + values.mean() + rng.normal(0, 0.04)
    if rng.random() < 0.15:
        values = np.repeat(values @ _LUMA, 3).reshape(values.shape)
    if rng.random() < 0.25:
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.4, 1.5))
    values = values + rng.normal(0, abs(rng.normal(0, 0.02)) + 1e-4, values.shape)
    picture = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(30, 95))]
        picture = cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=pathlib.Path)
    parser.add_argument("--sources", type=pathlib.Path, required=True, help="folder of the three clones")
    parser.add_argument("--portraits", type=pathlib.Path, required=True)
    parser.add_argument("--things", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=1024, help="heads; four times as many samples of GANs are drawn")
    options = parser.parse_args()
    parts = {
        "things": lambda: _things(options.things),
        "portraits": lambda: _taught_by(options.portraits),
        "samples": lambda: _samples(["people", "people/head", "ictface"], 4 * options.count),
        "others": lambda: _samples(["cat", "car"], options.count),
        "heads": lambda: _heads(options.sources, options.count, behind=False),
        "backs": lambda: _heads(options.sources, options.count // 8, behind=True),
    }
    for name, part in parts.items():
        file = options.pool / f"{name}.npz"
        if not file.exists():  # what is there is not drawn again
            arrays = part()
            atomic_file(file, lambda path, arrays=arrays: np.savez(path, **arrays), parents=True)
            print(file, flush=True)


if __name__ == "__main__":
    main()
