"""How well models explain pictures: people in photographs, rendered heads with true albedo, and other things.

    python benchmarks/quality/explained.py --people PHOTOS --others THINGS --out sheet.jpg head amortized.safetensors

Of every face that the program's own detector finds in PHOTOS, the mean L1 between picture and reconstruction inside the
face, in units of the picture's own contrast there: 1 is a flat colour. The face is where the model's objects are, as
seen by it. The sheet, to be looked at, has a row for each face: photograph, then each model's albedo and
reconstruction. Of heads (`benchmarks/faces/data/validation`): the same on the object, L1 as it is, and how far the
albedo as seen is from the true one, each scaled to the same mean, since light and albedo share a factor. Of THINGS, in
whose middle a face is looked for: how often a face's L1 is lower than a thing's (AUROC).

With `--framed`, PHOTOS are taken whole, as those of cats (`cat`) are, and there are no heads.
"""

import argparse
import pathlib
import sys

import numpy as np
from PIL import Image, ImageOps

import gan2shape_jax
from gan2shape_jax.config import load_config
from gan2shape_jax.detection import faces, weights
from gan2shape_jax.detection.detector import SURE
from gan2shape_jax.geometry import camera, render, resample
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop
from gan2shape_jax.results import Reconstruction

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "faces"))
import committed

_SIDE, _SHOWN = 64, 96


def _photos(folder: pathlib.Path) -> list[np.ndarray]:
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")]
    photos = []
    for path in paths:
        with Image.open(path) as picture:
            photos.append(np.asarray(ImageOps.exif_transpose(picture).convert("RGB")))
    return photos


def _faces(photos: list[np.ndarray]) -> list[np.ndarray]:
    """Returns the crops of all faces that are found."""
    known = weights.stored_weights(pathlib.Path(load_config("people").gan.checkpoint), "face")
    assert known is not None and known.framing is not None
    detector = faces.FaceDetector(known.framing)
    found = [(photo, one.box) for photo in photos for one in detector.detect(photo) if one.score >= SURE]
    return [sample_crop(photo, box, _SIDE) for photo, box in found]


def _middle(photo: np.ndarray) -> np.ndarray:
    height, width = photo.shape[:2]
    return sample_crop(photo, CropBox((width - 1) / 2, (height - 1) / 2, min(height, width)), _SIDE)


def face_mask(result: Reconstruction) -> np.ndarray:
    """Returns where a model sees its object in a picture (S, S)."""
    grid = camera.inverse_warped_grid(result.input_depth, result.view, result.camera)
    inside = resample.grid_sample(np.asarray(result.mask)[..., None], grid)[..., 0] > 0.5
    return np.asarray(inside) & (np.asarray(result.input_depth) < result.camera.background_depth)


def region_l1(result: Reconstruction, inside: np.ndarray) -> tuple[float, float]:
    """Returns the L1 in a region, and in units of that of the region's median colour."""
    image = result.signed_image[inside]
    flat = np.abs(image - np.median(image, axis=0)).mean()
    l1 = np.abs(result.reconstruction[inside] - image).mean()
    return float(l1), float(l1 / flat)


def _albedo_off(result: Reconstruction, truth: np.ndarray, inside: np.ndarray) -> float:
    """Returns the mean difference of albedos on [0, 1] in the picture's view, scaled to the true one's mean."""
    seen = render.draw_texture(result.signed_albedo, result.input_depth, result.view, result.camera)
    own, true = np.asarray(seen)[inside] / 2 + 0.5, truth[inside].astype(np.float32) / 255
    return float(np.abs(own * (true.mean() / own.mean()) - true).mean())


def _sheet(results: list[tuple[Reconstruction, ...]]) -> Image.Image:
    rows = []
    for row in results:
        pictures = [row[0].signed_image, *(part for one in row for part in (one.signed_albedo, one.reconstruction))]
        values = np.uint8(np.clip(np.concatenate(pictures, axis=1) / 2 + 0.5, 0, 1) * 255)
        shown = Image.fromarray(values).resize((len(pictures) * _SHOWN, _SHOWN), Image.Resampling.BICUBIC)
        rows.append(np.asarray(shown))
    rows += [np.full_like(rows[0], 255)] * (len(rows) % 2)
    half = len(rows) // 2
    return Image.fromarray(np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names or files of lifted models")
    parser.add_argument("--people", type=pathlib.Path, required=True, help="folder of photographs of people")
    parser.add_argument("--framed", action="store_true", help="PHOTOS are framed like the models' pictures already")
    parser.add_argument("--others", type=pathlib.Path, help="folder of pictures of other things")
    parser.add_argument("--heads", type=pathlib.Path, default=committed.DATA / "validation")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the sheet")
    options = parser.parse_args()
    photos = _photos(options.people)
    people = photos if options.framed else _faces(photos)
    others = [_middle(photo) for photo in _photos(options.others)] if options.others else []
    heads = {} if options.framed else committed.packed.load(options.heads)
    drawn = []
    print(f"{len(people)} faces, {len(heads.get('image', ()))} heads, {len(others)} other things")
    print("| model | photographs, in contrasts: mean (range) | heads: L1, in contrasts, albedo off | AUROC |")
    print("|---|---|---|---|")
    for name in options.models:
        model = gan2shape_jax.load_model(name)
        results = [model.reconstruct(image) for image in people]
        ratios = np.array([region_l1(one, face_mask(one))[1] for one in results])
        of_heads = ""
        if heads:
            on_heads = []
            for image, mask, albedo in zip(heads["image"], heads["mask"], heads["albedo"], strict=True):
                result = model.reconstruct(image)
                on_heads.append((*region_l1(result, mask), _albedo_off(result, albedo, mask)))
            of_heads = "{:.3f}, {:.2f}, {:.3f}".format(*np.mean(on_heads, axis=0))
        things = [model.reconstruct(image) for image in others]
        far = np.array([region_l1(one, face_mask(one))[0] for one in things])
        near = np.array([region_l1(one, face_mask(one))[0] for one in results])
        auroc = f"{(near[:, None] < far[None]).mean():.2f}" if others else ""
        spread = f"{ratios.mean():.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        print(f"| {name} | {spread} | {of_heads} | {auroc} |", flush=True)
        drawn.append(results)
    _sheet([*zip(*drawn, strict=True)]).save(options.out)


if __name__ == "__main__":
    main()
