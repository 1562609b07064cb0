"""How reliably objects of a GAN's kind are found in photos.

    python benchmarks/quality/found.py place --kind CATS/image --without PICTURES --out PLACED
    python benchmarks/quality/found.py found --model cat --kind PLACED --without PICTURES [--half judging --most 40]
    python benchmarks/quality/found.py others --model cat --without PICTURES --half choosing --out found.safetensors

`place` draws crops of objects into pictures that show none of their kind, at several sizes and turned a little, each
into two of them, so that `photo` has something to search. Object and picture are of the same half: names' hashes split
all files into those for choosing numbers by and those for judging.

`found` searches pictures with and without the kind as `photo` does, at most so many of either. It prints the AUROC of
the certainty, how many of either are called found, perhaps or none, and, for placed objects, how many frames are right.
OUT.png shows all. What is in OUT already is not done again.

`others` measures typicality anew, with what a search prefers in pictures without the kind as further counterexamples,
and writes the detector's weights with it.
"""

import argparse
import hashlib
import itertools
import json
import math
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageOps
from rich.console import Console
from rich.table import Table
from scipy import stats

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.photo.folder import framing_picture
from gan2shape_jax.apps.photo.naming import expand
from gan2shape_jax.detection import gan_detector, weights
from gan2shape_jax.detection.detector import PERHAPS, SURE
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo
from gan2shape_jax.io.files import atomic_bytes, atomic_text, sha256
from gan2shape_jax.io.image_files import open_upright
from gan2shape_jax.photos.explain import load_kind
from gan2shape_jax.photos.find import LEAST_SIDE, Finder, find
from gan2shape_jax.photos.pipeline import load_photo_model
from gan2shape_jax.results.pictures import strip
from gan2shape_jax.stylegan2 import typicality

_HALVES = ("choosing", "judging")
_SAMPLES = 2048  # of the GAN, as for weights learnt anew
_TRUTH = "truth.json"  # where `place` put what
_LONGER = 640  # pixels of the pictures that objects are placed in
_SHARES = (0.22, 0.3, 0.42, 0.6, 0.85)  # of the shorter side
# Sides, ratio of sides and degrees within which a frame shows the object that was placed.
_NEAR, _SIMILAR, _UPRIGHT = 0.3, 1.7, 30
_DRAWN = 200  # pixels of a picture on the sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("place", "found", "others"))
    parser.add_argument("--model", default="ictface")
    parser.add_argument("--kind", nargs="+", help="folders: objects to place, or pictures with some")
    parser.add_argument("--without", nargs="*", default=[], help="folders of pictures without it")
    parser.add_argument("--half", choices=_HALVES, help="(default: both)")
    parser.add_argument("--most", type=int, default=10**6, help="pictures with and without the kind (default: all)")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file of what is found; folder or weights that are made")
    options = parser.parse_args(arguments)
    {"place": _place, "found": _detections, "others": _others}[options.what](options)


def _half(file: pathlib.Path) -> str:
    return _HALVES[_digest(file)[0] % 2]


def _digest(file: pathlib.Path) -> bytes:
    return hashlib.sha256(file.stem.partition("+")[0].encode()).digest()


def _place(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    pictures, truth = expand(options.without, say=print), {}
    for number, (file, times) in enumerate(itertools.product(expand(options.kind, say=print), (0, 1))):
        rng, name = np.random.default_rng(number), f"{file.parent.parent.name}{file.stem}{'+again' * times}"
        backs = [background for background in pictures if _half(background) == _half(pathlib.Path(name))]
        back = Image.open(backs[rng.integers(len(backs))]).convert("RGB")
        back.thumbnail((_LONGER, _LONGER))
        side = min(back.size) * rng.choice(_SHARES) * rng.uniform(0.9, 1.1)
        x, y = (rng.uniform(side / 2, max(side / 2 + 1, length - side / 2)) for length in back.size)
        box = CropBox(x, y, side, rng.normal(0, 10))
        crop = np.asarray(Image.open(file).convert("RGB"))
        Image.fromarray(_placed(crop, np.asarray(back), box)).save(options.out / f"{name}.png")
        truth[name] = [box.x, box.y, box.side, box.roll_deg]
    atomic_text(options.out / _TRUTH, json.dumps(truth, indent=1) + "\n")


def _placed(crop: np.ndarray, back: np.ndarray, box: CropBox) -> np.ndarray:
    """Returns a picture with a crop drawn into it, whose edges fade."""
    side, rim = len(crop), len(crop) // 4
    wide = np.pad(crop, ((rim, rim), (rim, rim), (0, 0)), mode="edge").astype(np.float32)
    places = np.arange(len(wide))
    out = np.maximum(np.maximum(rim - places, places - (rim + side - 1)), 0)
    share = np.clip(1 - np.maximum(out[:, None], out[None, :]) / (0.18 * side), 0, 1).astype(np.float32)
    if box.side < side:
        wide = cv2.GaussianBlur(wide, (0, 0), 0.4 * side / box.side)
    corners = np.array([[0.0, 0], [len(wide), 0], [0, len(wide)]])
    there = crop_to_photo(corners - rim, box, side)
    turn = cv2.getAffineTransform((corners - 0.5).astype(np.float32), (there - 0.5).astype(np.float32))
    size = back.shape[1::-1]
    drawn = cv2.warpAffine(wide, turn, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.warpAffine(share, turn, size, flags=cv2.INTER_LINEAR)[..., None]
    return np.clip(drawn * covered + back * (1 - covered), 0, 255).astype(np.uint8)


def _others(options: argparse.Namespace) -> None:
    config = load_kind(options.model)
    file = pathlib.Path(config.gan.checkpoint)
    arch, gan = stylegan2.load(file)
    detector_weights = weights.weights_of(file, arch, gan, "gan", log=print)
    detector = weights.detector_by(detector_weights, arch, gan, batch=gan_detector.CROPS)
    assert isinstance(detector, gan_detector.GanDetector)
    crops = []
    for picture in expand(options.without, say=print):
        if options.half in (None, _half(picture)):
            photo = np.asarray(Image.open(picture).convert("RGB"))
            work = gan_detector.resized(photo, gan_detector._WORK_SIDE / max(photo.shape))
            crops += list(gan_detector.crops_of(work, detector.candidates(work, turned=0.0)))
            print(f"{picture.stem}: {len(crops)} crops", flush=True)
    samples = weights.drawn_samples(arch, gan, _SAMPLES).astype(np.float32) / 127.5 - 1
    others = np.stack(crops).astype(np.float32) / 127.5 - 1
    fitted = typicality.measure(gan["discriminator"], samples, arch=arch, seed=0, others=others)
    atomic_bytes(options.out, weights.weights_bytes(detector_weights._replace(typicality=fitted), sha256(file)))


def _detections(options: argparse.Namespace) -> None:
    finder = load_photo_model(load_kind(options.model), log=print).finder
    truth: dict[str, list[float]] = {}
    for file in (pathlib.Path(folder, _TRUTH) for folder in options.kind):
        truth |= json.loads(file.read_text()) if file.is_file() else {}
    rows: dict[str, dict[str, Any]] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    labelled = [(file, True) for file in expand(options.kind, say=print)]
    files = labelled + [(file, False) for file in expand(options.without, say=print)]
    files.sort(key=lambda pair: _digest(pair[0])[1:], reverse=True)  # mixed: the first ones are a fair sample
    for file, shows in files:
        enough = sum(row["with"] is shows for row in rows.values()) >= options.most
        if options.half not in (None, _half(file)) or enough or file.stem in rows:
            continue
        began, photo = time.monotonic(), open_upright(file, least=LEAST_SIDE)
        detections = find(photo, finder)
        if not detections:
            continue
        best = max(detections, key=lambda detection: detection.score)
        row = {"with": shows, "half": _half(file), "certainty": best.score, "objects": len(detections)}
        row["seconds"] = time.monotonic() - began
        row["box"] = [best.box.x, best.box.y, best.box.side, best.box.roll_deg]
        if file.stem in truth:
            x, y, side, roll = truth[file.stem]
            off, ratio = math.dist((x, y), row["box"][:2]) / side, row["box"][2] / side
            upright = abs((row["box"][3] - roll + 180) % 360 - 180) < _UPRIGHT
            row["right"] = off < _NEAR and 1 / _SIMILAR < ratio < _SIMILAR and upright
        rows[file.stem] = row
        atomic_text(options.out, json.dumps(rows, indent=1) + "\n")
        print(f"{file.stem}: {row['certainty']:.3f}, {row['seconds']:.1f} s", flush=True)
    _sheet([(file, rows[file.stem]) for file, _ in files if file.stem in rows], finder).save(f"{options.out}.png")
    _tell(rows)


def _sheet(rows: Sequence[tuple[pathlib.Path, dict[str, Any]]], finder: Finder) -> Image.Image:
    cells = []
    for file, row in rows:
        picture = np.asarray(open_upright(file, least=LEAST_SIDE).picture)
        drawn = framing_picture(picture, [CropBox(*row["box"])], 0, finder.mean_mask)
        cell = ImageOps.pad(drawn, (_DRAWN, _DRAWN))
        ImageDraw.Draw(cell).text((2, 2), f"{file.stem} {row['certainty']:.2f}", fill="red")
        cells.append(np.asarray(cell))
    return Image.fromarray(strip(cells[i : i + 8] for i in range(0, len(cells), 8)))


def _tell(rows: dict[str, dict[str, Any]]) -> None:
    table = Table("", "pictures", "found", "perhaps", "none", "frame right, if not none")
    for half in _HALVES:
        positives, others = ([r for r in rows.values() if r["half"] == half and r["with"] is w] for w in (True, False))
        for name, some in (("with", positives), ("without", others)):
            if some:
                confidence = np.array([row["certainty"] for row in some])
                shares = (confidence >= SURE).mean(), (confidence >= PERHAPS).mean(), 1.0
                cells = [f"{share:.1%}" for share in np.diff(shares, prepend=0)]
                right = [row["right"] for row in some if "right" in row]
                shown = [row["right"] for row, score in zip(some, confidence) if "right" in row and score >= PERHAPS]
                framed = f"{sum(right)} of {len(right)}, {sum(shown)} of {len(shown)}" if right else "–"
                table.add_row(f"{half}, {name}", str(len(some)), *cells, framed)
        if positives and others:
            pairs = stats.mannwhitneyu(*([row["certainty"] for row in some] for some in (positives, others))).statistic
            table.add_row(f"{half}, AUROC", f"{pairs / (len(positives) * len(others)):.3f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
