"""Judges the taught face detector beside YuNet in one run, on what taught it nothing.

    python benchmarks/detection/judge.py --portraits congress-images-225x275/images --things imagenet-sample-images \\
        --studio webmorphR.stim/inst/neutral_front --strangers dlib/examples/faces

Both are run as `detection.faces` runs YuNet first: by OpenCV, on pictures 640 pixels long. A face is found where the
surest detection near it, by half a side of the face, has at least the score; landmarks' error is the mean distance of
the five, in sides of the face, of those that both find. Truths: portraits, of which those that `scenes.py` keeps out
are looked at, have the program's landmarks; STUDIO those of its `.tem` files; STRANGERS those of dlib's
`*_with_face_landmarks.xml`. THINGS are ImageNet's classes, one picture each, less those with people, drawn ones, dolls
or statues (`data/with_people.txt`); such a picture has a false one where any detection has the score. Lines give YuNet
at the score from which a face is looked at again, the taught one at the same score, and at that with as many false ones
as YuNet. Milliseconds are one thread's.
"""

import argparse
import pathlib
import tempfile
import time
import xml.etree.ElementTree as xml
from collections.abc import Iterator

import cv2
import network
import numpy as np
import scenes
import train
from PIL import Image

from gan2shape_jax.detection.faces import CANDIDATE, LONGER, OVERLAP
from gan2shape_jax.io.bundled import asset

_DATA = pathlib.Path(__file__).parent / "data"
_FRL = [[0], [1], [54, 60], [87], [93]]  # points of a `.tem` whose means are the landmarks
_IBUG = [range(36, 42), range(42, 48), [30], [48], [54]]  # and of 68
_LEAST = 0.02  # score from which detections are counted at all

Truth = tuple[np.ndarray, np.ndarray]  # a picture and its faces' landmarks (n, 5, 2)


def studio(folder: pathlib.Path) -> Iterator[Truth]:
    """Yields photographs with the landmarks of their templates."""
    for path in sorted(folder.glob("[!.]*.tem")):
        count, *lines = path.read_text().splitlines()
        points = np.array([line.split() for line in lines[: int(count)]], float)
        yield _picture(path.with_suffix(".jpg")), np.stack([points[part].mean(0) for part in _FRL])[None]


def strangers(folder: pathlib.Path) -> Iterator[Truth]:
    """Yields photographs with the landmarks of dlib's lists."""
    for path in sorted(folder.glob("*_with_face_landmarks.xml")):
        for image in xml.parse(path).iter("image"):
            boxes = [[(float(part.get("x")), float(part.get("y"))) for part in box] for box in image.iter("box")]
            marks = [np.stack([np.array(points)[list(part)].mean(0) for part in _IBUG]) for points in boxes if points]
            yield _picture(folder / image.get("file")), np.array(marks)


def _picture(path: pathlib.Path) -> np.ndarray:
    with Image.open(path) as photo:
        return np.asarray(photo.convert("RGB"))


class Detector:
    """A detector's file, run by OpenCV; `spent_s` is how long it took for each picture so far."""

    def __init__(self, file: str) -> None:
        self._net = cv2.FaceDetectorYN.create(file, "", (1, 1), _LEAST, OVERLAP, 5000)
        self.spent_s: list[float] = []

    def detect(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns scores (n,) and landmarks (n, 5, 2), pixels of the picture, the surest first."""
        factor = LONGER / max(picture.shape[:2])
        sides = [max(1, round(length * factor)) for length in picture.shape[1::-1]]
        work = cv2.resize(picture, sides, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
        self._net.setInputSize(sides)
        began = time.perf_counter()
        _, rows = self._net.detect(np.ascontiguousarray(work[..., ::-1]))
        self.spent_s.append(time.perf_counter() - began)
        rows = np.zeros((0, 15)) if rows is None else rows[np.argsort(-rows[:, 14])]
        return rows[:, 14], rows[:, 4:14].reshape(-1, 5, 2) / factor


def faces_found(detector: Detector, truths: list[Truth]) -> np.ndarray:
    """Returns score and landmarks' error of each true face (n, 2); a face that is not found has 0 and NaN."""
    rows = []
    for picture, faces in truths:
        scores, marks = detector.detect(picture)
        boxes = scenes.face_box(marks)
        for face in faces:
            x, y, side = scenes.face_box(face)
            near = np.flatnonzero(np.hypot(boxes[:, 0] - x, boxes[:, 1] - y) < 0.5 * side)
            error = np.linalg.norm(marks[near[0]] - face, axis=-1).mean() / side if len(near) else np.nan
            rows.append((scores[near[0]] if len(near) else 0.0, error))
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=pathlib.Path, default=_DATA / "state.safetensors")
    for name in ("portraits", "studio", "strangers", "things"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    kept = [(picture, marks[None]) for picture, marks in scenes.portrait_faces(options.portraits, kept=True)]
    sets = {"portraits": kept, "studio": list(studio(options.studio)), "strangers": list(strangers(options.strangers))}
    named = set((_DATA / "with_people.txt").read_text().split())
    things = [path for path in sorted(options.things.glob("*.JPEG")) if path.name.partition("_")[0] not in named]
    state = train.read_state(options.state)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "detector.onnx"
        file.write_bytes(network.onnx_bytes(**state.average))
        both = [Detector(asset("yunet/yunet_n_dynamic.onnx")), Detector(str(file))]
    surest = np.array([[max([*one.detect(_picture(path))[0], 0.0]) for one in both] for path in things])
    found = {name: [faces_found(one, truths) for one in both] for name, truths in sets.items()}
    as_many = np.sort(surest[:, 1])[::-1][int((surest[:, 0] >= CANDIDATE).sum())]
    print(f"{int(state.moments.count)} steps; {len(things)} pictures of things")
    for who, score in ((0, CANDIDATE), (1, CANDIDATE), (1, as_many)):
        line = f"{('YuNet', 'taught')[who]} at {score:.3f}: {(surest[:, who] > score).mean():.1%} false"
        for name, rows in found.items():
            common = np.isfinite(rows[0][:, 1]) & np.isfinite(rows[1][:, 1])
            error, recall = np.median(rows[who][common, 1]), (rows[who][:, 0] > score).mean()
            line += f"; {name} ({len(rows[who])}) {recall:.1%}, landmarks {error:.3f}"
        print(f"{line}; {1e3 * np.median(both[who].spent_s):.1f} ms")


if __name__ == "__main__":
    main()
