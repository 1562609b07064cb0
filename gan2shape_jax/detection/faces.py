"""People's faces, found by YuNet in OpenCV, and framed as a GAN frames faces.

YuNet: Wu, Peng and Yu, 2023, "YuNet: A Tiny Millisecond-level Face Detector"; the weights are those of
ShiqiYu/libfacedetection.train, which OpenCV's `FaceDetectorYN` runs.

A photo is searched at two scales, and lying and upside down if nothing is found. Each face is then looked at again in
an upright crop of one size, with its surroundings, as it is and mirrored: this gives the same landmarks whatever the
photo's size and rotation, and no longer finds what only resembled a face, such as a cat's. YuNet is unsure of a face
that fills its photo: such a one is searched and looked at with grey around the photo.

From five landmarks (eyes, nose, corners of the mouth) to the crop as the GAN frames faces: the similarity that takes
them to their mean place in the GAN's own samples, moved and scaled in proportion to what it leaves of the nose, which
tells how far a head is turned. Both are measured on samples by the same detector (`measure`), once for each GAN.
Coordinates are pixels of the photo, as in `geometry.crop_box`.
"""

import dataclasses
import math
import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from etils import epy
from jaxtyping import Float, UInt8

from gan2shape_jax.detection.detector import SURE, Detection, apart, between, certain, corrected
from gan2shape_jax.geometry import landmark_pose
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, sample_crop
from gan2shape_jax.io.bundled import asset

with epy.lazy_imports():  # importing it changes the environment
    import cv2

_MODEL = "yunet/yunet_n_dynamic.onnx"
LONGER, _LARGEST = 640, 1920  # pixels of the photo's longer side in the search, and for small faces
_ENLARGED = 1.5  # photos are searched for small faces if they are larger than `LONGER` by this factor
CANDIDATE = 0.6  # YuNet's score from which a face is looked at again
FILLS, GREY = 0.8, 128  # shorter sides of a photo from which a face's crop fills it, and what is put around it then
LEAST_SCORE = 0.3  # from which it is still one there
_FACE = 0.8  # from which it is certain
_LEAST = 20  # pixels of the photo: smaller faces are not searched for
_MOST = 100  # faces of one photo
OVERLAP = 0.3  # intersection over union above which YuNet's boxes are of one face

LOOKS = 3  # times that a face is looked at again, each time where the last one has found it
WIDE, LOOKED_AT = 2.0, 256  # side of what is looked at, in sides of the face's crop and in pixels
_UPRIGHT_SCORE = 0.92  # YuNet's score from which a face is the right way up: others have at most 0.89
_OVER = 0.02  # by what YuNet's score must be higher for a face that is turned
UPRIGHT = 60  # degrees: further from upright only certain faces count, and a photo of such alone is searched turned
NEAR = 0.35  # furthest that a face may lie from where it is expected, in sides of its crop

# The score's odds, from the lowest of YuNet's: 0.76 may be a face, 0.83 is one (docs/reports/framing.md).
MIDDLE, STEEPNESS = 0.7387, 19.0
_LEAST_FOUND = 0.9  # share of the GAN's samples that faces must be found in
_RIDGE = 1e-6

# Where eyes, nose and mouth lie in pictures of faces, before a GAN's own samples have been measured.
USUAL = np.array([[0.34, 0.31], [0.66, 0.31], [0.5, 0.5], [0.36, 0.66], [0.64, 0.66]])

_own = threading.local()  # each thread's YuNet, which takes longer to load than to search a small picture

Landmarks = Float[np.ndarray, "5 2"]  # right eye, left eye, nose, right and left corner of the mouth, (x, y)
NOSE, MIRRORED = 2, [1, 0, 2, 4, 3]  # and which landmark is which in the mirror image


class Framing(NamedTuple):
    """Where the landmarks of faces lie in a GAN's samples, of side 1."""

    landmarks: Landmarks  # their mean places
    # Of the similarity's dx, dy, log scale: linear in 1 and what is left of the nose.
    correction: Float[np.ndarray, "3 3"]


class _Face(NamedTuple):
    """A face as YuNet finds it."""

    score: float
    landmarks: Landmarks


@dataclasses.dataclass(frozen=True)
class FaceDetector:
    """Finds people's faces, framed as in a GAN's pictures; see `detector.Detector`."""

    framing: Framing  # how the GAN frames them
    most = _MOST

    def detect(self, photo: UInt8[np.ndarray, "height width 3"]) -> list[Detection]:
        """Returns the faces in an upright photo, from left to right, see `detector.Detector`."""
        kept: list[tuple[float, CropBox]] = []
        for score, box in sorted(_detect_turned(photo, self.framing), key=lambda pair: -pair[0]):
            if all(apart(box, other) for _, other in kept):
                kept.append((score, box))
        return certain([Detection(box, score) for score, box in kept[:_MOST]])

    def scores(self, crops: UInt8[np.ndarray, "n s s 3"]) -> list[float]:
        """Returns how certainly each of at least one crop shows a face the right way up, 0 to 1."""
        return list(map(self._score, crops))

    def _score(self, crop: UInt8[np.ndarray, "s s 3"]) -> float:
        looks = [_look(crop, _whole(crop, roll), self.framing) for roll in (0.0, 90.0, 180.0, 270.0)]
        right, *others = (0.0 if look is None else look.score for look in looks)
        return _certainty(0.0 if max(others) > right + _OVER else right)


def measure(samples: UInt8[np.ndarray, "n s s 3"]) -> Framing | None:
    """Returns how a GAN frames faces, measured on its samples; None if too few of them show a face."""
    expected = Framing(USUAL, np.zeros((3, 3)))
    faces = [_look(sample, _whole(sample), expected) for sample in samples]
    landmarks = np.stack([face.landmarks for face in faces if face is not None] or [USUAL]) / samples.shape[1]
    if len(landmarks) < _LEAST_FOUND * len(samples):
        return None
    mean, home = landmarks.mean(axis=0), CropBox(0.5, 0.5, 1.0)
    boxes, rows = zip(*(_similarity(places, mean) for places in landmarks), strict=True)
    wanted, rows = np.stack([between(box, home)[:3] for box in boxes]), np.stack(rows)
    products = rows.T @ rows / len(rows) + _RIDGE * np.eye(rows.shape[1])
    return Framing(mean, np.linalg.solve(products, rows.T @ wanted / len(rows)))


def landmarks_in(picture: UInt8[np.ndarray, "s s 3"]) -> Landmarks:
    """Returns a framed face's landmarks, pixels with centres at integers; NaN if no face is detected."""
    face = _look(picture, _whole(picture), Framing(USUAL, np.zeros((3, 3))))
    places = np.full((len(USUAL), 2), np.nan) if face is None else face.landmarks - 0.5
    return np.asarray(places, np.float32)


def measure_points(
    pictures: UInt8[np.ndarray, "n s s 3"], views: Float[np.ndarray, "n 6"], camera: Camera
) -> Float[np.ndarray, "5 3"] | None:
    """Returns where landmarks lie on the mean face of a model's samples; None if too few of them show a face.

    `views` are where the model's network sees them from; see `landmark_pose.fit_points`.
    """
    landmarks = np.stack([landmarks_in(picture) for picture in pictures])
    usable = np.isfinite(landmarks).all(axis=(1, 2))
    if usable.mean() < _LEAST_FOUND:
        return None
    fx, fy, cx, cy = camera.intrinsics
    usual = USUAL * pictures.shape[1] - 0.5
    plane = np.stack([(usual[:, 0] - cx) / fx, (usual[:, 1] - cy) / fy, np.ones(len(usual))], axis=1)
    start = np.asarray(plane * camera.rot_center_depth, np.float32)
    return landmark_pose.fit_points(landmarks[usable], views[usable], start, tuple(MIRRORED), camera)


def _detect_turned(photo: np.ndarray, framing: Framing) -> Iterator[tuple[float, CropBox]]:
    """Yields score and box of each face in a photo as it is or, if there is none, turned; some may come twice."""
    height, width = photo.shape[:2]
    longer = max(height, width)
    sides = [LONGER] + [min(longer, _LARGEST)] * (longer > _ENLARGED * LONGER)
    for turns in (0, 1, 3, 2):
        turned = np.ascontiguousarray(np.rot90(photo, turns))  # anticlockwise
        faces = _faces(turned, sides, framing)
        fill = [box.side > FILLS * min(height, width) for score, box in faces if score >= SURE]
        if turns == 0 and (any(fill) or not fill):
            faces += _filling(turned, framing)
        for score, box in faces:
            if score < SURE and (turns > 0 or abs(box.roll_deg) > UPRIGHT):
                continue
            for turn in range(turns, 0, -1):
                box = CropBox((height, width)[turn % 2] - box.y, box.x, box.side, box.roll_deg + 90)
            yield score, dataclasses.replace(box, roll_deg=(box.roll_deg + 180) % 360 - 180)
        if any(score >= SURE and abs(box.roll_deg) < UPRIGHT for score, box in faces):
            return


def _faces(photo: np.ndarray, sides: list[int], framing: Framing) -> list[tuple[float, CropBox]]:
    """Returns certainty and box of each face that is found in a photo resized to these longer sides, pixels."""
    candidates = [candidate for side in sides for candidate in _search(photo, side)]
    candidates.sort(key=lambda candidate: -candidate.score)
    places = [(candidate, _framed(candidate.landmarks, framing)) for candidate in candidates]
    once = [candidate for k, (candidate, box) in enumerate(places) if all(apart(box, other) for _, other in places[:k])]
    faces = (_look_again(photo, candidate, framing) for candidate in once)
    return [pair for pair in faces if _lies_in(photo, pair[1])]


def _filling(photo: np.ndarray, framing: Framing) -> list[tuple[float, CropBox]]:
    """Returns certainty and box of a face that fills its photo, seen with grey around that."""
    height, width = photo.shape[:2]
    wide = CropBox(width / 2, height / 2, 2 * max(height, width))
    places = np.stack(np.meshgrid(*2 * (np.arange(LONGER) + 0.5,)), axis=-1)
    x, y = np.moveaxis(crop_to_photo(places, wide, LONGER), -1, 0)
    beyond = (x < 0) | (y < 0) | (x > width) | (y > height)
    around = np.where(beyond[..., None], np.uint8(GREY), sample_crop(photo, wide, LONGER))
    factor, found = wide.side / LONGER, []
    for score, box in _faces(around, [LONGER], framing):
        x, y = crop_to_photo(np.array([box.x, box.y]), wide, LONGER)
        found.append((score, CropBox(x, y, factor * box.side, box.roll_deg)))
    return [(score, box) for score, box in found if box.side > FILLS * min(height, width) and _lies_in(photo, box)]


def _search(photo: np.ndarray, side: int) -> list[_Face]:
    """Returns what may be faces in a photo whose longer side is resized to `side` pixels."""
    factor = side / max(photo.shape[:2])
    sides = max(1, round(photo.shape[1] * factor)), max(1, round(photo.shape[0] * factor))
    work = cv2.resize(photo, sides, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    candidates = [_Face(score, landmarks / factor) for score, landmarks in _yunet(work, CANDIDATE)]
    return [candidate for candidate in candidates if _similarity(candidate.landmarks, USUAL)[0].side >= _LEAST][:_MOST]


def _look_again(photo: np.ndarray, candidate: _Face, framing: Framing) -> tuple[float, CropBox]:
    """Returns how certainly there is a face where one was seen, 0 to 1, and the crop as the GAN frames it."""
    scores, box = [candidate.score], _framed(candidate.landmarks, framing)
    for number in range(LOOKS):
        closer = _look(photo, box, framing)
        if number == 0 and (closer is None or closer.score < _UPRIGHT_SCORE):
            for turn in (90, 180, 270):  # YuNet takes some faces that lie or are upside down for upright ones
                other = _look(photo, dataclasses.replace(box, roll_deg=box.roll_deg + turn), framing)
                if other is not None and other.score > max(closer.score if closer else 0.0, _FACE) + _OVER:
                    closer, scores = other, []
        scores.append(closer.score if closer else 0.0)
        if closer is None:
            break
        box = _framed(closer.landmarks, framing)
    return _certainty(min(scores)), box


def _look(photo: np.ndarray, box: CropBox, framing: Framing) -> _Face | None:
    """Returns the face that `box` frames, seen upright and as large as any, as it is and mirrored; None if none is."""
    if not _lies_in(photo, box):
        return None
    wide = dataclasses.replace(box, side=WIDE * box.side)
    crop = sample_crop(photo, wide, LOOKED_AT)
    side, best = LOOKED_AT / WIDE, list[_Face]()
    for mirrored in (False, True):
        for score, landmarks in _yunet(np.ascontiguousarray(crop[:, ::-1]) if mirrored else crop, LEAST_SCORE):
            if mirrored:
                landmarks = (landmarks * (-1, 1) + (LOOKED_AT, 0))[MIRRORED]
            place = _framed(landmarks, framing)
            if math.hypot(place.x - LOOKED_AT / 2, place.y - LOOKED_AT / 2) < NEAR * side:
                best.append(_Face(score, landmarks))
                break  # the surest
    if not best:
        return None
    landmarks = np.mean([face.landmarks for face in best], axis=0)
    return _Face(max(face.score for face in best), crop_to_photo(landmarks, wide, LOOKED_AT))


def _yunet(picture: UInt8[np.ndarray, "h w 3"], least: float) -> list[_Face]:
    """Returns the faces that YuNet finds in a picture with at least this score, the surest first."""
    if not hasattr(_own, "yunet"):
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns of a target nobody asked for
        try:
            _own.yunet = cv2.FaceDetectorYN.create(asset(_MODEL), "", (1, 1), least, OVERLAP, 5000)
        finally:
            cv2.utils.logging.setLogLevel(level)
    _own.yunet.setScoreThreshold(least)
    _own.yunet.setInputSize((picture.shape[1], picture.shape[0]))
    _, rows = _own.yunet.detect(np.ascontiguousarray(picture[..., ::-1]))
    faces = [] if rows is None else [_Face(float(row[14]), row[4:14].reshape(5, 2).astype(np.float64)) for row in rows]
    return sorted(faces, key=lambda face: -face.score)


def _framed(landmarks: Landmarks, framing: Framing) -> CropBox:
    """Returns the crop that shows a face as the GAN frames faces."""
    box, row = _similarity(landmarks, framing.landmarks)
    return corrected(box, np.append(row @ framing.correction, 0.0))


def _similarity(landmarks: Landmarks, mean: Landmarks) -> tuple[CropBox, Float[np.ndarray, "3"]]:
    """Returns the crop in which landmarks are nearest to their mean places, and 1 with how far the nose is from its."""
    there, here = landmarks @ (1, 1j), mean @ (1, 1j) - (0.5 + 0.5j)
    middle, moved = there.mean(), here - here.mean()
    turn = np.vdot(moved, there - middle) / np.vdot(moved, moved).real or 1e-9
    centre = middle - turn * here.mean()
    nose = (there[NOSE] - centre) / turn - here[NOSE]
    box = CropBox(centre.real, centre.imag, float(np.abs(turn)), math.degrees(np.angle(turn)))
    return box, np.array([1.0, nose.real, nose.imag])


def _lies_in(photo: np.ndarray, box: CropBox) -> bool:
    """Whether a box has its centre in the photo, and is not much larger."""
    height, width = photo.shape[:2]
    return 0 <= box.x <= width and 0 <= box.y <= height and box.side <= 4 * max(height, width)


def _whole(crop: np.ndarray, roll_deg: float = 0.0) -> CropBox:
    return CropBox(crop.shape[1] / 2, crop.shape[0] / 2, len(crop), roll_deg)


def _certainty(score: float) -> float:
    """Returns how certainly there is a face, 0 to 1, from YuNet's score."""
    return 1 / (1 + math.exp(-STEEPNESS * (score - MIDDLE)))
