"""Portraits and rendered heads in one folder, as many of each, where what is rare among the portraits counts more.

    python benchmarks/people/weighted.py PORTRAITS/train HEADS/image WEIGHTED

Portraits with dark skin (`fairness.py`) are there twice more, and the quarter with the least of teeth, whose mouths are
closed, three times more; each head is there twice. Copies differ in a corner, as `train-gan` leaves out equal ones.
"""

import argparse
import pathlib

import cv2
import fairness
import numpy as np
from PIL import Image

from gan2shape_jax.detection import faces

_DARK, _CLOSED, _HEADS = 2, 3, 1  # copies beside the picture itself
_QUANTILE = 0.25  # of the portraits: whose mouths count as closed
_STEP = 8  # levels by which a copy's corner differs


def teeth(picture: np.ndarray) -> float:
    """Returns by how much the lightest row between a framed face's lips is lighter and less red than the cheeks.

    In units of L*a*b*; -inf where no landmarks are found.
    """
    marks = faces.landmarks_in(picture)
    if not np.isfinite(marks).all():
        return float("-inf")
    (x, y), width = marks[3:].mean(0), np.linalg.norm(marks[4] - marks[3])
    left, right, top, bottom = (int(at) for at in (x - 0.3 * width, x + 0.3 * width, y - 0.15 * width, y + 0.3 * width))
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[top:bottom, left:right]
    cheek = fairness.cheek_colour(picture, marks)
    return float(np.median(lab[..., 0] - lab[..., 1], axis=1)[1:].max() - (cheek[0] - cheek[1]))


def _write(picture: np.ndarray, copies: int, stem: pathlib.Path) -> None:
    for copy in range(copies + 1):
        marked = picture.copy()
        if copy:
            marked[:2, 2 * copy : 2 * copy + 2] ^= _STEP
        Image.fromarray(marked).save(f"{stem}_{copy}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("portraits", "heads", "out"):
        parser.add_argument(name, type=pathlib.Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    kinds = {kind: sorted(getattr(options, kind).glob("*.[jp][pn]g")) for kind in ("portraits", "heads")}
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in kinds["portraits"]]
    shown = np.array([teeth(picture) for picture in pictures])
    closed = shown <= np.quantile(shown, _QUANTILE)
    dark = np.array([fairness.tone_class(fairness.skin_tone(picture)) == "dark" for picture in pictures])
    copies = _CLOSED * closed + _DARK * dark
    for path, picture, count in zip(kinds["portraits"], pictures, copies, strict=True):
        _write(picture, int(count), options.out / f"portrait_{path.stem}")
    for path in kinds["heads"]:
        _write(np.asarray(Image.open(path).convert("RGB")), _HEADS, options.out / f"head_{path.stem}")
    chosen = f"{closed.sum()} with closed mouths, {dark.sum()} of dark skin"
    print(f"{len(pictures)} portraits as {len(pictures) + copies.sum()}: {chosen}")


if __name__ == "__main__":
    main()
