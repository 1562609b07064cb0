"""Whom a model of people knows less well: errors on photographs by skin tone, and by groups that a table names.

    python benchmarks/people/fairness.py --photos STUDIO --table london_info.csv people other/model.safetensors
    python benchmarks/people/fairness.py --photos congress-images-225x275/images --kept 13 people --gan people

Of the one face that is found in each photograph, as `portraits.py` finds it (`--kept N`: only what it keeps out): the
mean L1 between picture and reconstruction in units of the picture's contrast inside the face, by the lift's own albedo
and by what photos get, with detail; pitch and yaw, mean and deviation, where everybody looks into the camera an error;
and how many are trusted. With `--gan`, L1 of the GAN's inversions, in contrasts of the whole picture (`samples.py`).

Skin tone is the individual typology angle, atan((L* - 50) / b*), of the median colour of both cheeks (Chardon et al.,
1991): light above 41 degrees, dark below 10. It is of the photograph, light and camera included. The table has columns
`face_id`, which is how the photographs' names begin, `face_gender` and `face_eth`.
"""

import argparse
import collections
import csv
import dataclasses
import pathlib
import sys
import tempfile
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image, ImageOps

import gan2shape_jax
from gan2shape_jax.apps.photo import photo_run
from gan2shape_jax.apps.photo.crops import load_cropper
from gan2shape_jax.detection import faces
from gan2shape_jax.method.models import DETAIL
from gan2shape_jax.run import predict, verdict
from gan2shape_jax.run.plan import resolve

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "quality"))
import explained
import portraits
import samples
import verdicts

_LIGHT, _DARK = 41.0, 10.0  # degrees of the typology angle
_CHEEK = 0.12  # of the distance of eyes and mouth: half the side of a patch


def cheek_colour(picture: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Returns the median colour of a framed face's cheeks, CIE L*a*b* (3,); `marks` are its landmarks (5, 2)."""
    half = max(1, round(_CHEEK * np.linalg.norm(marks[3:].mean(0) - marks[:2].mean(0))))
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    patches = []
    for eye, corner in zip(marks[:2], marks[3:], strict=True):
        x, y = np.clip(np.rint(0.45 * eye + 0.55 * corner).astype(int), half, len(picture) - 1 - half)
        patches.append(lab[y - half : y + half + 1, x - half : x + half + 1].reshape(-1, 3))
    return np.median(np.concatenate(patches), axis=0)


def skin_tone(picture: np.ndarray) -> float:
    """Returns the individual typology angle of a framed face's cheeks, degrees; NaN if no landmarks are found."""
    marks = faces.landmarks_in(picture)
    if not np.isfinite(marks).all():
        return float("nan")
    lightness, _, yellow = cheek_colour(picture, marks)
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))


def tone_class(angle: float) -> str:
    return "unknown" if np.isnan(angle) else "light" if angle > _LIGHT else "dark" if angle < _DARK else "medium"


def _table(path: pathlib.Path) -> dict[str, list[str]]:
    """Returns the groups of each face of a table."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"face_id", "face_gender", "face_eth"} <= rows[0].keys():
        raise ValueError("it needs rows, and columns face_id, face_gender and face_eth")
    return {row["face_id"]: [row["face_gender"], row["face_eth"]] for row in rows}


def _measures(name: str, photos: list[np.ndarray], crops: list[np.ndarray]) -> Iterator[dict[str, float]]:
    """Yields what a model makes of each photograph, and of its framed face."""
    model = gan2shape_jax.load_model(name)
    config = photo_run.config_of(photo_run.load_kind(name), pathlib.Path(tempfile.gettempdir()), refine=False)
    cropper, networks = load_cropper(config, say=print), predict.load_predictor(resolve(config), None)
    own = {name: params for name, params in model.params.items() if name != DETAIL}
    lift = dataclasses.replace(model, networks=dataclasses.replace(model.networks, params=own))
    for photo, crop in zip(photos, crops, strict=True):
        result, plain = model.reconstruct(crop), lift.reconstruct(crop)
        inside = explained.face_mask(result)
        row = {"own": explained.region_l1(plain, inside)[1], "l1": explained.region_l1(result, inside)[1]}
        row |= dict(zip(("pitch", "yaw"), np.degrees(result.view[:2]).tolist(), strict=True))
        measured = verdicts.measure_largest_face(photo, None, cropper, networks)
        grade = "no"
        if measured is not None:
            of = verdicts.verdict_inputs(measured[0])
            grade = verdict.verdict(verdict.certainty(measured[0]["score"], of), of, kind="face")["grade"]
        yield row | {"trusted": float(grade in ("trust", "unmeasured"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names or files of lifted models of people")
    parser.add_argument("--photos", type=pathlib.Path, required=True)
    parser.add_argument("--kept", type=int, default=1, metavar="N", help="every N-th face (default: all)")
    parser.add_argument("--table", type=pathlib.Path, help="CSV of the groups of each face")
    parser.add_argument("--gan", nargs="*", default=[], help="names or files of GANs, whose inversions are measured")
    options = parser.parse_args()
    if options.kept < 1:
        parser.error("--kept is 1 or more")
    try:
        table = _table(options.table) if options.table else {}
    except (OSError, ValueError) as error:
        parser.error(f"{options.table}: {error}")
    found = [
        (path, face)
        for k, (path, face) in enumerate(portraits.face_crops(options.photos))
        if k % options.kept == options.kept - 1
    ]
    if not found:
        parser.error(f"no face is kept of {options.photos}")
    photos = []
    for path, _ in found:
        with Image.open(path) as picture:
            photo = ImageOps.exif_transpose(picture).convert("RGB")
            photo.thumbnail((verdicts.LONGER, verdicts.LONGER))
            photos.append(np.asarray(photo))
    groups = collections.defaultdict(list)
    for k, (path, face) in enumerate(found):
        for group in ("all", f"tone: {tone_class(skin_tone(face))}", *table.get(path.stem.partition("_")[0], [])):
            groups[group].append(k)
    small = [cv2.resize(face, (64, 64), interpolation=cv2.INTER_AREA) for _, face in found]
    for name in options.models:
        rows = list(_measures(name, photos, small))
        print(f"\n| {name} | faces | L1, own | L1 | pitch | yaw | yaw off | trusted |\n|---|{'---:|' * 7}")
        for group, members in groups.items():
            names = ("own", "l1", "pitch", "yaw", "trusted")
            own, l1, pitch, yaw, trusted = (np.array([rows[k][name] for k in members]) for name in names)
            views = f"{pitch.mean():.1f} ± {pitch.std():.1f} | {yaw.mean():.1f} ± {yaw.std():.1f}"
            shares = f"{np.abs(yaw).mean():.1f} | {trusted.mean():.0%}"
            print(f"| {group} | {len(members)} | {own.mean():.2f} | {l1.mean():.2f} | {views} | {shares} |", flush=True)
    for name in options.gan:
        targets = np.stack(small).astype(np.float32) / 127.5 - 1
        told = samples.in_contrasts(samples.inverted(gan2shape_jax.load_gan(name), targets), targets)
        print(f"\n| {name} | faces | L1, inverted |\n|---|---:|---:|")
        for group, members in groups.items():
            print(f"| {group} | {len(members)} | {told[members].mean():.3f} |", flush=True)


if __name__ == "__main__":
    main()
