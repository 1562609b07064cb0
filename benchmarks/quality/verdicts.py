"""What verdicts go by, measured on photographs and on rendered heads, as they are and changed; and what comes of it.

    python benchmarks/quality/verdicts.py measure --photos FILES... --changes harmless harmful --out photos.json
    python benchmarks/quality/verdicts.py measure --heads HEADS --changes harmful --out heads.json
    python benchmarks/quality/verdicts.py record heads.json --heads HEADS
    python benchmarks/quality/verdicts.py tell photos.json heads.json
    python benchmarks/quality/verdicts.py uncertainty --heads OTHERS

`measure` does what `gan2shape-jax photo` does, with the largest face of each photo, or of each picture of HEADS with
something around it, and writes what `photos.judge` goes by and, where the true depth is known, the SIDE inside the crop
that was found. Changes are a function of the photo's name; those that a verdict should not notice are `harmless`, of
those that are `harmful` heads get one of each group at random; `close` ones show so many percent of the square that was
found, and nothing around it; `covers` have something drawn over the face. What is in OUT already is not done again.

`record` writes the model's trust record (`NAME.trust.safetensors`): the SIDE to expect, a ridge regression of its
logarithm on the severities of `photos.judge.MEASURES`, with its interval; and the usual error at each place of the
canonical frame, and the mean shape, of heads as they are framed in HEADS.

`tell` prints, for each kind of change, how many photos were found, their grades, how many keep the grade of the
unchanged photo; how many front views are wrong (of photographs: unlike that of the unchanged one), how many of these
are trusted, and of the others not; and where truth is known the area under the curve of risk over coverage, by the SIDE
to expect, beside that of chance and of an oracle, and how often the interval holds. Front views of HEADS are compared
with FRONTS, the same heads rendered with `--yaw 0`.

`uncertainty` prints how many pixels of framed heads have an error within the uncertainty of their depth.
"""

import argparse
import dataclasses
import io
import itertools
import json
import pathlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from scipy import stats

from gan2shape_jax.detection import faces
from gan2shape_jax.detection.detector import PERHAPS, SIDE, exposed
from gan2shape_jax.geometry import camera as cam
from gan2shape_jax.geometry import resample
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, sample_crop
from gan2shape_jax.io.data import Item
from gan2shape_jax.io.files import atomic_bytes, atomic_text, sha256
from gan2shape_jax.io.image_files import Picture
from gan2shape_jax.method import metrics
from gan2shape_jax.photos import explain, judge
from gan2shape_jax.photos.explain import Predictor, load_kind
from gan2shape_jax.photos.find import assess, find
from gan2shape_jax.photos.pipeline import PhotoModel, load_photo_model
from gan2shape_jax.photos.texture import Seen, texture_from_all
from gan2shape_jax.plan.recipe import resolve

LONGER = 640  # pixels of a photo's longer side, at most
_AROUND = 40  # pixels around a rendered head
_HARMLESS = ("contrast 0.6", "contrast 1.6", "grey", "warm", "gain 0.5", "gain 1.5", "JPEG 60", "mirrored")
_HARMFUL = ("blurred", "tiny", "covered by a mask", "covered by a hand", "dark", "cut")
_COVERS = ("sunglasses", "a hand over the mouth", "an arm", "hair", "sunglasses and a cap")
_CLOSE = tuple(f"close {share}{grey}" for share in (100, 88, 75, 65) for grey in ("", " grey"))
_LUMA = np.array((0.299, 0.587, 0.114))
_RIDGE, _FOLDS = 1.0, 8
_SOFT = 2 / 128  # of a side: the usual error is blurred by this much
_SHARE = 0.8  # of pixels within the uncertainty
_WRONG = 0.3  # `front_error` from which a front view is wrong: half the mean of heads turned by 50 to 75 degrees


def changed(photo: np.ndarray, change: str, eyes: float, marks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a photo (h, w, 3), uint8, with a change; `eyes` is their distance, `marks` five landmarks, pixels."""
    values = photo.astype(np.float64)
    name, _, amount = change.rpartition(" ")
    if name == "contrast":
        middle = (values @ _LUMA).mean()
        return _bytes((values - middle) * float(amount) + middle)
    if name == "gain":
        return _bytes(values * float(amount))
    if name == "JPEG":
        file = io.BytesIO()
        Image.fromarray(photo).save(file, "JPEG", quality=int(amount))
        return np.asarray(Image.open(file).convert("RGB"))
    if change == "grey":
        return _bytes(np.repeat((values @ _LUMA)[..., None], 3, axis=-1))
    if change == "warm":
        return _bytes(values * (1.1, 1.0, 0.75))
    if change == "mirrored":
        return np.ascontiguousarray(photo[:, ::-1])
    if change == "dark":
        return _bytes(values * rng.uniform(0.05, 0.3))
    if change == "blurred":
        return cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.08, 0.3) * eyes)
    if change == "tiny":
        factor = rng.uniform(5, 12) / eyes
        sides = (max(16, round(length * factor)) for length in photo.shape[1::-1])
        return cv2.resize(photo, tuple(sides), interpolation=cv2.INTER_AREA)
    if change == "covered by a mask":
        return _with_mask(photo, marks, rng)
    if change == "covered by a hand":
        return _with_hand(photo, marks, rng)
    if change in _COVERS:
        return _covered_by(change, photo, marks, rng)
    assert change == "none", change
    return photo


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _closer(photo: np.ndarray, box: Sequence[float], change: str) -> np.ndarray:
    """Returns what a photo shows inside a share of the square that was found; `box` is its centre and side."""
    _, share, *grey = change.split()
    (x, y), half = box[:2], box[2] * float(share) / 200
    edges = (round(max(value, 0)) for value in (y - half, y + half, x - half, x + half))
    top, bottom, left, right = edges
    cut = np.ascontiguousarray(photo[top:bottom, left:right])
    return changed(cut, "grey", 0, np.zeros((5, 2)), np.random.default_rng()) if grey else cut


def _with_mask(photo: np.ndarray, marks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a photo with a surgical mask, with three pleats, from the bridge of the nose to below the chin."""
    eyes, mouth, across = marks[:2].mean(0), marks[3:].mean(0), marks[1] - marks[0]
    down, nose = mouth - eyes, marks[2] - 0.25 * (mouth - eyes)
    low, lowest = mouth + 0.3 * down, mouth + 0.75 * down
    corners = [nose - 0.95 * across, nose + 0.95 * across, low + 0.85 * across, lowest + 0.4 * across]
    corners += [lowest - 0.4 * across, low - 0.85 * across]
    colour = [(190, 215, 235), (240, 240, 240), (30, 30, 35), (120, 150, 130)][rng.integers(4)]

    def mask(canvas: np.ndarray) -> None:
        cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], colour)
        width = max(1, round(0.05 * np.linalg.norm(down)))
        for share in (0.3, 0.55, 0.8):
            ends = [nose + share * (low - nose) + side * 0.85 * across for side in (-1, 1)]
            places = [tuple(np.round(end).astype(int).tolist()) for end in ends]
            cv2.line(canvas, *places, [0.88 * value for value in colour], width, cv2.LINE_AA)

    return _drawn(photo, mask)


def _with_hand(photo: np.ndarray, marks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a photo with four fingers, as light as the skin, across one side of the face."""
    eyes, mouth, across = marks[:2].mean(0), marks[3:].mean(0), marks[1] - marks[0]
    down, side, (x, y) = mouth - eyes, rng.choice((-1, 1)), np.maximum(np.round(marks[2]).astype(int), 0)
    skin = np.median(photo[max(y - 5, 0) : y + 5, max(x - 5, 0) : x + 5].reshape(-1, 3), axis=0) * rng.uniform(0.7, 1.1)
    base, reach = eyes + rng.uniform(0.2, 1) * down + side * rng.uniform(0.9, 1.2) * across, rng.uniform(0.7, 1.3, 4)

    def fingers(canvas: np.ndarray) -> None:
        for k in range(4):
            ends = base + down * (k * 0.25 - 0.4), base - side * across * reach[k] + down * (k * 0.28 - 0.5)
            places = [tuple(np.round(end).astype(int).tolist()) for end in ends]
            width = max(2, int(0.25 * np.linalg.norm(down)))
            cv2.line(canvas, *places, (skin * (0.9 + 0.04 * k)).tolist(), width, cv2.LINE_AA)

    return _drawn(photo, fingers)


def _covered_by(what: str, photo: np.ndarray, marks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a photo with sunglasses, also under a cap, a hand, an arm or hair drawn over the face."""
    eyes, mouth, across = marks[:2].mean(0), marks[3:].mean(0), marks[1] - marks[0]
    down, side, wide = mouth - eyes, rng.choice((-1, 1)), float(np.linalg.norm(across))
    (x, y), dark = np.maximum(np.round(marks[2]).astype(int), 0), rng.uniform(15, 60) * np.array((1.1, 1.0, 0.9))
    skin = np.median(photo[max(y - 5, 0) : y + 5, max(x - 5, 0) : x + 5].reshape(-1, 3), axis=0) * rng.uniform(0.7, 1.1)

    def line(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, colour: np.ndarray, width: float) -> None:
        ends = [tuple(np.round(place).astype(int).tolist()) for place in (start, end)]
        cv2.line(canvas, *ends, colour.tolist(), max(1, round(width)), cv2.LINE_AA)

    def draw(canvas: np.ndarray) -> None:
        if what.startswith("sunglasses"):
            size, turn = (0.40 * wide, rng.uniform(0.26, 0.36) * wide), np.degrees(np.arctan2(across[1], across[0]))
            for eye in marks[:2]:
                middle = tuple(np.round(eye + 0.05 * down).astype(int).tolist())
                axes = tuple(max(2, round(length)) for length in size)
                cv2.ellipse(canvas, middle, axes, float(turn), 0, 360, dark.tolist(), -1, cv2.LINE_AA)
            line(canvas, marks[0] - 0.6 * across, marks[1] + 0.6 * across, dark, 0.06 * wide)
            if what.endswith("cap"):  # half an ellipse, and its visor
                colour, brim = rng.uniform(20, 230, 3), eyes - 0.45 * down
                middle, axes = tuple(np.round(brim).astype(int).tolist()), (round(1.25 * wide), round(1.3 * wide))
                cv2.ellipse(canvas, middle, axes, float(turn), 180, 360, colour.tolist(), -1, cv2.LINE_AA)
                line(canvas, brim - 1.1 * across, brim + 1.1 * across, 0.7 * colour, 0.25 * wide)
        elif what == "a hand over the mouth":
            for k in range(4):
                start = mouth + side * 1.1 * across + (0.22 * k - 0.15) * down
                line(
                    canvas,
                    start,
                    mouth - side * rng.uniform(0.5, 0.8) * across + (0.24 * k - 0.35) * down,
                    skin * (0.9 + 0.04 * k),
                    0.27 * np.linalg.norm(down),
                )
        elif what == "an arm":
            level = eyes + rng.choice((-0.45, 0.6)) * down
            colour = skin if rng.random() < 0.5 else rng.uniform(30, 220, 3)
            tilt = rng.uniform(-0.4, 0.4) * down
            for k, shade in enumerate((0.75, 0.95, 1.05, 1.0, 0.85)):  # it is round
                along, aside = 2.5 * across + tilt, 0.14 * (k - 2) * down
                width = 0.16 * float(np.linalg.norm(down))
                line(canvas, level + aside - along, level + aside + along, shade * np.asarray(colour), width)
        else:  # hair, in strands that hang over one side
            for share in np.linspace(0.1, 0.9, 14):
                top = eyes + side * (share - 0.2) * across - 1.1 * down
                line(
                    canvas,
                    top,
                    top + side * rng.uniform(-0.1, 0.2) * across + rng.uniform(1.5, 2.4) * down,
                    dark * rng.uniform(0.8, 1.6),
                    0.11 * wide,
                )

    return _drawn(photo, draw)


def _drawn(photo: np.ndarray, draw: Any) -> np.ndarray:
    canvas = photo.copy()
    draw(canvas)
    return cv2.GaussianBlur(canvas, (0, 0), 0.8)


@dataclasses.dataclass(frozen=True)
class _Truth:
    """What is known of a rendered head, in the pixels of its photo."""

    depth: np.ndarray
    mask: np.ndarray
    view: np.ndarray | None


def _cut(
    photo: np.ndarray, truth: _Truth | None, eyes: float, marks: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, _Truth | None]:
    """Returns a photo whose edge goes through the face."""
    axis, first = rng.integers(2), bool(rng.integers(2))
    place = int(marks.mean(0)[1 - axis] + (-1 if first else 1) * rng.uniform(0.5, 1.5) * eyes)
    place = min(max(place, 20), photo.shape[axis] - 20)
    kept = [slice(None)] * 2
    kept[axis] = slice(place, None) if first else slice(None, place)
    rows, columns = kept
    cut = None if truth is None else _Truth(truth.depth[rows, columns], truth.mask[rows, columns], truth.view)
    return np.ascontiguousarray(photo[rows, columns]), cut


def measure_largest_face(
    photo: np.ndarray, truth: _Truth | None, model: PhotoModel, front: np.ndarray | None
) -> tuple[dict[str, Any], np.ndarray, np.ndarray] | None:
    """Returns what a verdict on the largest face goes by, its landmarks in the photo, and what is seen of it from in
    front, as a picture (S, S, 3); None if there is none. `front` is the true such picture, if known.
    """
    picture, finder, networks = Picture(Image.fromarray(photo), None, 1, False), model.finder, model.predictor
    detections = [one for one in find(picture, finder) if one.score >= PERHAPS]
    if not detections:
        return None
    largest = max(range(len(detections)), key=lambda k: detections[k].box.side)
    box = detections[largest].box
    assessment = assess(photo, detections[largest], box, finder)
    crop = exposed(sample_crop(photo, box, networks.settings.image_size))
    image, side = crop.astype(np.float32) / 127.5 - 1, len(crop)
    mask = cv2.resize(finder.mean_mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    result = networks.reconstruct(Item("a", image, mask, None, None, side))
    marks = faces.landmarks_in(crop)
    row = {"score": assessment.score, "box": [box.x, box.y, box.side], "view": np.round(result.view, 4).tolist()}
    row |= {name: float(value) for name, value in judge.measured(assessment, result.view, result.metrics).items()}
    seen_from_front = _front(photo, box, result)
    if front is not None:
        row["front"] = front_error(seen_from_front, front, networks.grader.mask > 0.5)
    if truth is not None:
        rows, columns = np.mgrid[:side, :side] + 0.5
        places = crop_to_photo(np.stack([columns.ravel(), rows.ravel()], axis=1), box, side)
        x, y = np.floor(places).astype(int).T
        height, width = truth.depth.shape
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        x, y = x.clip(0, width - 1), y.clip(0, height - 1)
        known = (truth.mask[y, x] > 0.5) & (truth.depth[y, x] > 0) & inside
        true = np.where(known, truth.depth[y, x], 1.0).reshape(side, side)
        valid = metrics.erode(jnp.asarray(known.reshape(side, side), jnp.float32) * _valid(result))
        row["side"] = float(metrics.side(jnp.asarray(result.input_depth), jnp.asarray(true), valid))
        if truth.view is not None:
            row["yaw_off"] = abs(float(np.degrees(result.view[1] - truth.view[1])))
    there = marks if np.isfinite(marks).all() else np.full((5, 2), side / 2, np.float32)
    return row, crop_to_photo(there + 0.5, box, side), seen_from_front


def _front(photo: np.ndarray, box: CropBox, result: Any) -> np.ndarray:
    """Returns a result with its photo's texture from in front (S, S, 3), 0 to 255."""
    side, seen = result.camera.image_size, Seen(photo, box, result.view, 0.0, result.input_mask)
    lit = texture_from_all(result, [seen], largest=4 * side).lit
    return cv2.resize(lit, (side, side), interpolation=cv2.INTER_AREA).astype(np.float64)


def front_error(picture: np.ndarray, true: np.ndarray, inside: np.ndarray) -> float:
    """Returns how dissimilar a front view is to the true one, 0 to about 1, both softened, at the best of all shifts by
    two pixels: landmarks are that exact.
    """
    first, other = (cv2.GaussianBlur(one, (0, 0), 1.0) for one in (picture, true))
    shifts = itertools.product(range(-2, 3), repeat=2)
    return min(judge.dissimilarity(first, np.roll(other, shift, (0, 1)), inside) for shift in shifts)


def _true_front(file: pathlib.Path, networks: Predictor) -> np.ndarray | None:
    """Returns a picture of a head from in front, moved to where a result's front has its landmarks; None without."""
    picture = np.asarray(Image.open(file).convert("RGB"))
    marks, camera = faces.landmarks_in(picture), networks.settings.camera
    places = np.asarray(cam.project(networks.frozen.landmarks, camera), np.float32)
    move = cv2.estimateAffinePartial2D(marks, places, method=cv2.LMEDS)[0] if np.isfinite(marks).all() else None
    sides = (camera.image_size, camera.image_size)
    return None if move is None else cv2.warpAffine(picture, move, sides, borderMode=cv2.BORDER_REPLICATE) * 1.0


def _valid(result: Any) -> np.ndarray:
    return (result.input_depth < result.camera.background_depth).astype(np.float32)


def _photographs(paths: Sequence[str]) -> Iterator[tuple[str, np.ndarray, None]]:
    for path in map(pathlib.Path, paths):
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            picture = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
            picture.thumbnail((LONGER, LONGER))
            yield file.name, np.asarray(picture), None


def _heads(folder: pathlib.Path, count: int) -> Iterator[tuple[str, np.ndarray, _Truth]]:
    truth = np.load(folder / "truth.npz") if (folder / "truth.npz").is_file() else None
    for k, file in enumerate(sorted((folder / "image").glob("*.png"))[:count]):
        picture, around = np.asarray(Image.open(file).convert("RGB")), ((_AROUND, _AROUND), (_AROUND, _AROUND))
        wide = np.pad(picture, (*around, (0, 0)), mode="edge")
        photo = cv2.GaussianBlur(wide, (0, 0), _AROUND / 6)
        photo[_AROUND:-_AROUND, _AROUND:-_AROUND] = picture
        depth = np.pad(np.load(folder / f"depth/{file.stem}.npy"), around, mode="edge")
        mask = np.pad(_grey(folder / f"mask/{file.stem}.png"), around)
        yield file.name, photo, _Truth(depth, mask, None if truth is None else truth["view"][k])


def _measure(options: argparse.Namespace) -> None:
    model = load_photo_model(load_kind(options.model), log=print)
    rows: list[dict[str, Any]] = json.loads(options.out.read_text()) if options.out.is_file() else []
    done = {row["name"] for row in rows}
    pictures = _heads(options.heads, options.most) if options.heads else _photographs(options.photos)
    for name, photo, truth in pictures:
        if name in done:
            continue
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        front = _true_front(options.fronts / "image" / name, model.predictor) if options.fronts else None
        first = measure_largest_face(photo, truth, model, front)
        fresh = [{"name": name, "change": "none", "found": first is not None} | (first[0] if first else {})]
        changes = list(_HARMLESS) if "harmless" in options.changes else []
        if "harmful" in options.changes:
            changes += list(rng.choice(_HARMFUL, 2, replace=False)) if options.heads else list(_HARMFUL)
        changes += list(_COVERS) if "covers" in options.changes else []
        changes += list(_CLOSE) if "close" in options.changes else []
        for change in changes if first else ():
            marks, front = first[1], front if options.heads else first[2]
            eyes = float(np.hypot(*(marks[1] - marks[0])))
            if change == "cut":
                other, known = _cut(photo, truth, eyes, marks, rng)
            elif change in _CLOSE:
                other, known = _closer(photo, first[0]["box"], change), None
            else:
                other, known = changed(photo, change, eyes, marks, rng), truth
                if known is not None and other.shape != photo.shape:
                    known = _resized(known, other.shape)
            again = measure_largest_face(other, known, model, front)
            fresh.append({"name": name, "change": change, "found": again is not None} | (again[0] if again else {}))
        rows += fresh
        if len(rows) // 40 != (len(rows) - len(fresh)) // 40:
            atomic_text(options.out, json.dumps(rows) + "\n")
            print(f"{len(rows)}", flush=True)
    atomic_text(options.out, json.dumps(rows, indent=1) + "\n")


def _resized(truth: _Truth, shape: tuple[int, ...]) -> _Truth:
    size = shape[1::-1]
    nearest, mean = cv2.INTER_NEAREST, cv2.INTER_AREA
    return _Truth(
        cv2.resize(truth.depth, size, interpolation=nearest),
        cv2.resize(truth.mask, size, interpolation=mean),
        truth.view,
    )


def _rows(files: Sequence[pathlib.Path]) -> list[dict[str, Any]]:
    return [row | {"file": str(file)} for file in files for row in json.loads(file.read_text())]


def verdict_inputs(row: dict[str, Any]) -> dict[str, float]:
    """Returns the values of a row that verdicts go by."""
    return {name: row.get(name, np.nan) for name in judge.MEASURES}


def _fitted(rows: Sequence[dict[str, Any]]) -> tuple[judge.SideModel, np.ndarray]:
    """Returns the SIDE to expect, fitted to rows, and what each row would have if its own head had no part in it."""
    severities = np.array([[judge.MEASURES[k].severity(v) for k, v in verdict_inputs(row).items()] for row in rows])
    columns, logs = np.column_stack([np.ones(len(rows)), severities]), np.log([row["side"] for row in rows])
    penalty = _RIDGE * np.diag([0.0] + [1.0] * severities.shape[1])

    def fit(chosen: np.ndarray) -> np.ndarray:
        return np.linalg.solve(columns[chosen].T @ columns[chosen] + penalty, columns[chosen].T @ logs[chosen])

    fold = np.array([zlib.crc32(row["name"].encode()) % _FOLDS for row in rows])
    without = np.concatenate([[columns[i] @ fit(fold != fold[i])] for i in range(len(rows))])
    interval = np.exp(np.percentile(logs - without, [5, 95]))
    return judge.SideModel(fit(np.ones(len(rows), bool)), interval), np.exp(without)


def _record(options: argparse.Namespace) -> None:
    rows = [row for row in _rows(options.files) if np.isfinite(row.get("side", np.nan))]
    side, _ = _fitted(rows)
    config = load_kind(options.model)
    usual_error, level, mean = _usual_error(explain.load_predictor(resolve(config), None), options.heads, options.most)
    model = pathlib.Path(config.networks.pretrained)
    record = judge.TrustRecord(usual_error, level, side, mean)
    atomic_bytes(judge.beside(model), judge.trust_bytes(record, sha256(model)))
    weights = dict(zip(("usual", *judge.MEASURES), np.round(side.weights, 2).tolist(), strict=True))
    print(
        f"{judge.beside(model)}: level {level:.3f}, interval {np.round(side.interval, 2).tolist()}, weights {weights}"
    )


def _errors(networks: Predictor, folder: pathlib.Path, most: int) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Yields the result of each framed head, its depth error in the input's view, scene units, and where that is."""
    for file in sorted((folder / "image").glob("*.png"))[:most]:
        depth, mask = np.load(folder / f"depth/{file.stem}.npy"), _grey(folder / f"mask/{file.stem}.png")
        image = np.asarray(Image.open(file).convert("RGB"), np.float32) / 127.5 - 1
        result = networks.reconstruct(networks.prepared(Item("a", image, mask, None, depth, len(image))))
        inside = mask > 0.5
        off = np.log(result.input_depth) - np.log(np.where(inside, depth, 1.0))
        yield result, np.where(inside, (off - off[inside].mean()) * result.input_depth, 0), inside


def _seen(canonical: np.ndarray, result: Any) -> np.ndarray:
    """Returns a canonical map (S, S) in the view of a result's input."""
    grid = cam.inverse_warped_grid(jnp.asarray(result.input_depth), jnp.asarray(result.view), result.camera)
    return np.asarray(resample.grid_sample(canonical[..., None].astype(np.float32), np.asarray(grid)))[..., 0]


def _usual_error(networks: Predictor, folder: pathlib.Path, most: int) -> tuple[np.ndarray, float, np.ndarray]:
    """Returns the root mean square depth error of framed heads in the canonical frame, its level for `_SHARE`, and the
    mean shape, see `judge.TrustRecord`.
    """
    squares = weight = np.zeros(())
    heads = list(_errors(networks, folder, most))
    for result, error, inside in heads:
        both = jnp.stack([jnp.asarray(np.square(error)), jnp.asarray(inside, jnp.float32)], -1)
        grid = cam.warped_grid(jnp.asarray(result.depth), jnp.asarray(result.view), result.camera)
        canonical = np.asarray(resample.grid_sample(both, grid))
        squares, weight = squares + canonical[..., 0], weight + canonical[..., 1]
    soft, mean = _SOFT * len(weight), squares.sum() / weight.sum()
    # Where hardly any head was seen, the overall mean takes over.
    total = cv2.GaussianBlur(weight, (0, 0), soft)
    usual = np.sqrt((cv2.GaussianBlur(squares, (0, 0), soft) + mean) / (total + 1)).astype(np.float32)
    ratios = [np.abs(error[inside]) / np.maximum(_seen(usual, result)[inside], 1e-9) for result, error, inside in heads]
    depth = np.mean([result.depth for result, _, _ in heads], axis=0)
    return usual, float(np.quantile(np.concatenate(ratios), _SHARE)), depth - depth.mean()


def _covered(options: argparse.Namespace) -> None:
    networks = explain.load_predictor(resolve(load_kind(options.model)), None)
    heads = _errors(networks, options.heads, options.most)
    shares = [
        np.mean(np.abs(error[inside]) <= _seen(result.uncertainty, result)[inside])
        for result, error, inside in heads
        if result.uncertainty is not None
    ]
    print(f"{np.mean(shares):.1%} of the pixels of {len(shares)} heads are within their uncertainty")


def _grey(file: pathlib.Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("L"), np.float32) / 255


def _area(risk: np.ndarray, doubt: np.ndarray) -> float:
    """Returns the area under the curve of risk over coverage: the mean risk of the best, over all numbers of them."""
    ordered = risk[np.argsort(doubt, kind="stable")]
    return float(np.mean(np.cumsum(ordered) / np.arange(1, len(ordered) + 1)))


def _tell(options: argparse.Namespace) -> None:
    rows, console = _rows(options.files), Console(width=130)
    record = judge.read_trust(pathlib.Path(load_kind(options.model).networks.pretrained), SIDE)
    side = None if record is None else record.side
    for row in rows:
        row["grade"] = "none"
        if row["found"]:
            measured = verdict_inputs(row)
            told = judge.verdict(judge.certainty(row["score"], measured), measured, kind="face", side=side)
            row |= {"grade": told["grade"], "expected": told["expected_side"], "why": told["warnings"]}
    plain = {(row["file"], row["name"]): row["grade"] for row in rows if row["change"] == "none"}
    table = Table("photos", "change", "number", "not found", "trusted", "doubted", "a guess", "grade kept")
    groups = ("none",), ("trust", "unmeasured"), ("doubt",), ("no",)
    for file, change in dict.fromkeys((row["file"], row["change"]) for row in rows):
        some = [row for row in rows if (row["file"], row["change"]) == (file, change)]
        shares = [np.mean([row["grade"] in grades for row in some]) for grades in groups]
        shares.append(np.mean([row["grade"] == plain[file, row["name"]] for row in some]))
        table.add_row(pathlib.Path(file).stem, change, str(len(some)), *(f"{share:.1%}" for share in shares))
    console.print(table)
    table = Table("photos", "change", "front views", "error", "wrong", "wrong, trusted", "right", "right, not trusted")
    for file, change in dict.fromkeys((row["file"], row["change"]) for row in rows if "front" in row):
        some = [row for row in rows if (row["file"], row["change"]) == (file, change) and "front" in row]
        wrong, right = ([row for row in some if (row["front"] >= _WRONG) is one] for one in (True, False))
        kept, lost = (sum(row["grade"] == "trust" for row in wrong), sum(row["grade"] != "trust" for row in right))
        told = (len(some), f"{np.mean([row['front'] for row in some]):.2f}", len(wrong), kept, len(right), lost)
        table.add_row(pathlib.Path(file).stem, change, *map(str, told))
    console.print(table)
    known = [row for row in rows if np.isfinite(row.get("side", np.nan))]
    sets = {"all": known, "as they are": [row for row in known if row["change"] == "none"]}
    sets |= {grade: [row for row in known if row["grade"] == grade] for grade in ("trust", "doubt", "no")}
    table = Table("heads", "number", "yaw off", "SIDE", "expected", "rank", "in interval", "chance", "area", "oracle")
    for name, some in sets.items():
        if side is None or len(some) < 3:
            continue
        risk = np.array([row["side"] for row in some])
        expected = np.array([side.expected(verdict_inputs(row)) for row in some])
        within = np.mean((risk / expected >= side.interval[0]) & (risk / expected <= side.interval[1]))
        told = [f"{risk.mean():.4f}", f"{expected.mean():.4f}", f"{stats.spearmanr(risk, expected).statistic:.2f}"]
        areas = [f"{area:.5f}" for area in (risk.mean(), _area(risk, expected), _area(risk, risk))]
        off = np.mean([row.get("yaw_off", np.nan) for row in some])
        table.add_row(name, str(len(some)), f"{off:.1f}", *told, f"{within:.1%}", *areas)
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes the record or prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "record", "tell", "uncertainty"))
    parser.add_argument("files", nargs="*", type=pathlib.Path, help="what was measured")
    parser.add_argument("--photos", nargs="+", default=[], help="photos, or folders of them")
    parser.add_argument("--heads", type=pathlib.Path, help="folder of rendered heads: image, mask, depth")
    parser.add_argument("--fronts", type=pathlib.Path, help="the same heads, rendered with --yaw 0")
    parser.add_argument("--most", type=int, default=10**6, help="heads (default: all)")
    parser.add_argument("--changes", nargs="*", choices=("harmless", "harmful", "close", "covers"), default=[])
    parser.add_argument("--model", default="people")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args(arguments)
    {"measure": _measure, "record": _record, "tell": _tell, "uncertainty": _covered}[options.what](options)


if __name__ == "__main__":
    main()
