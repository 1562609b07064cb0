"""Finds objects of any kind by what a GAN's samples teach, without labels.

Coarse to fine, at one size whatever the file's: crops of all sizes and positions are scored by how typical they are of
the GAN's pictures; the best are moved by the alignment network, and looked at more closely. Of several crops of the
same object, the one is kept that most certainly shows it, larger ones before others.

Whether a crop shows the GAN's kind of object at all (`GanDetector.scores`) is judged by how typical it is, and by
two things that a search for the most typical crop does not improve: whether the network leads wrong crops of it back to
one place, and how much less typical it is upside down and on its sides. See docs/reports/trust.md.

The alignment network, which predicts how a crop has to be moved to be framed like a GAN's pictures, has the view
network's architecture and learns from the GAN's own samples, without photos or labels: a sample is framed correctly by
definition, and wrong crops of it are drawn along with the corrections that lead back. What a photo shows beyond the
GAN's frame is not known, so samples are extended in several ways, none of them right: by repeating their outermost
pixels, with increasing blur, by a single colour, or by fading into another sample.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epy
from jaxtyping import Array, Float, UInt8

from gan2shape_jax.detection.detector import (
    PERHAPS,
    SIDE,
    SURE,
    Detection,
    apart,
    between,
    certain,
    corrected,
    exposed,
)
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop, scaled_box
from gan2shape_jax.method.models import Params
from gan2shape_jax.networks.modules import Encoder
from gan2shape_jax.platforms import in_batches

with epy.lazy_imports():  # importing it changes the environment
    import cv2

_WORK_SIDE = 448  # pixels of the photo's longer side in the search
_LARGEST, _SMALLEST = 1.25, 0.2  # crop sides, as shares of the photo's shorter side
_LEAST = 20  # pixels of the photo: smaller objects are not searched for
_FINER = 1.4  # ratio of successive sizes
_STRIDE, _COARSER = 0.35, 0.5  # sides between positions, upright and turned: the network recovers from that far off
_KEPT, _MOVES = (32, 12), (3, 6)  # crops that are moved in the first round and in the last, and how often
_LARGER = 1.0  # by what a crop's size counts, beside the odds
_GREATEST_TURN = 50  # degrees: objects rotated further are searched for in a rotated photo
_TILTED = 30  # degrees: beyond this, what is not certain may be an object that is rotated further

# Wrong crops whose ends are compared, as corrections of the right one.
_NUDGES = np.concatenate([np.diag((0.2, 0.2, 0.3, 0.35)), -np.diag((0.2, 0.2, 0.3, 0.35))])
_LEADS = 4  # corrections of each
_LEAST_SPREAD = 0.003  # below which differences are noise
# The logarithm of the odds: of 1, atypicality, log(spread), and how much more atypical the crop is turned; fitted to
# pictures with and without cats and faces (docs/reports/trust.md).
_ODDS = np.array([-3.84, -0.69, -1.36, 0.64])


_WIDTH = 32
# Scale of the network's outputs, in (-1, 1) before an inverse tanh: sides, sides, log scale, radians.
_RANGE = (0.5, 0.5, 0.6, 0.6)
_INSIDE = 0.999  # of (-1, 1): keeps the inverse finite
CROPS = 32  # crops per batch of a search; of one image, there are eight

KINDS = ("repeated", "blurred", "plain", "faded")
# Greatest perturbation: sides, log scale, radians. Smaller ones are drawn as often, since the last moves are small.
_GREATEST = (0.42, 0.42, 0.58, 0.65)
_SHARES = (1.0, 0.5, 0.25)

TRAINING_STEPS = 2500
_BATCH = 64
_LEARNING_RATE, _LAST_LEARNING_RATE, _WARMUP = 1e-3, 1e-5, 50
_AVERAGE = 0.99  # decay per step of the moving average of weights, which is returned
_BETWEEN = 200  # steps between reports
MODULE = Encoder(size=SIDE, channels_out=len(_RANGE), width=_WIDTH)  # the network's architecture


@dataclasses.dataclass(frozen=True)
class GanDetector:
    """Finds objects of the kind that a GAN draws; see `detector.Detector`."""

    alignment: Params  # the alignment network's weights
    atypicality: Callable[[UInt8[np.ndarray, "n s s 3"]], Float[np.ndarray, " n"]]  # how unlike the GAN's pictures
    batch: int  # crops that are corrected at a time
    most = _KEPT[-1]

    def detect(self, photo: UInt8[np.ndarray, "height width 3"]) -> list[Detection]:
        """Returns the objects in an upright photo, from left to right, see `detector.Detector`; at least one.

        If the photo has none as it is, or perhaps one far from upright, it is also searched sideways and upside down.
        """
        factor = max(photo.shape) / _WORK_SIDE
        work = exposed(resized(photo, 1 / factor))
        best = self._search(work, turned=0.0)
        enough = SURE if abs(best[0].box.roll_deg) > _TILTED else PERHAPS
        for turned in (90.0, 270.0, 180.0) if best[0].score < enough else ():
            other = self._search(work, turned=turned)
            if other[0].score > max(SURE, best[0].score):
                best = other
        return [detection._replace(box=scaled_box(detection.box, factor)) for detection in certain(best)]

    def scores(self, crops: UInt8[np.ndarray, "n s s 3"]) -> list[float]:
        """Returns how certainly each of at least one crop shows an object of the GAN's kind, 0 to 1."""
        turned = np.concatenate([np.rot90(crops, turns, axes=(1, 2)) for turns in range(4)])
        plain, *others = np.asarray(self.atypicality(turned), np.float64).reshape(4, -1)
        disagreement = np.log(_disagreement(self.alignment, crops, self.batch) + _LEAST_SPREAD)
        odds = _ODDS @ np.stack([np.ones(len(crops)), plain, disagreement, np.min(others, axis=0) - plain])
        certainty: list[float] = (1 / (1 + np.exp(-np.clip(odds, -50, 50)))).tolist()
        return certainty

    def aligned(self, work: np.ndarray, boxes: Sequence[CropBox], moves: int, *, upright: float) -> list[CropBox]:
        """Returns the boxes aligned with the objects near them."""
        boxes, (height, width) = list(boxes), work.shape[:2]
        least, most = min(_LEAST, height, width) / 2, 2 * max(height, width)
        for _ in range(moves):
            for i, step in enumerate(corrections(self.alignment, crops_of(work, boxes), self.batch)):
                box = corrected(boxes[i], step)
                inside = 0 <= box.x <= width and 0 <= box.y <= height and least <= box.side <= most
                if inside and abs(box.roll_deg - upright) <= _GREATEST_TURN:
                    boxes[i] = box
        return boxes

    def candidates(self, work: np.ndarray, *, turned: float) -> list[CropBox]:
        """Returns the crops that a search ends with, whatever they show; at most `most`."""
        boxes = list(_grid(work, turned))
        for keep, moves in zip(_KEPT, _MOVES, strict=True):
            typical = (-float(value) for value in self.atypicality(crops_of(work, boxes)))
            ranked = sorted(map(Detection, boxes, typical), key=lambda detection: detection.score, reverse=True)
            best = _without(ranked, _hardly_differ)[:keep]
            boxes = self.aligned(work, [detection.box for detection in best], moves, upright=turned)
        return boxes

    def _search(self, work: np.ndarray, *, turned: float) -> list[Detection]:
        boxes = self.candidates(work, turned=turned)
        ranked = sorted(map(Detection, boxes, self.scores(crops_of(work, boxes))), key=_worth, reverse=True)
        return _without(ranked, lambda first, other: not apart(first, other))


def _worth(detection: Detection) -> float:
    """Returns by what detections are ranked: the logarithm of the odds, and of the size."""
    odds = math.log(max(detection.score, 1e-9) / max(1 - detection.score, 1e-9))
    return odds + _LARGER * math.log(detection.box.side)


def resized(photo: np.ndarray, factor: float) -> np.ndarray:
    """Returns a photo, uint8, scaled by `factor`."""
    sides = max(1, round(photo.shape[1] * factor)), max(1, round(photo.shape[0] * factor))
    return cv2.resize(photo, sides, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def crops_of(work: np.ndarray, boxes: Sequence[CropBox]) -> UInt8[np.ndarray, "n s s 3"]:
    """Returns the crops of a photo, of `SIDE` pixels."""
    return np.stack([sample_crop(work, box, SIDE) for box in boxes])


def _grid(work: np.ndarray, turned: float) -> Iterator[CropBox]:
    height, width = work.shape[:2]
    side = _LARGEST * min(height, width)
    while side >= max(_SMALLEST * min(height, width), min(_LEAST, height, width)):
        apart = side * (_COARSER if turned else _STRIDE)
        for y in _places(height, side, apart):
            for x in _places(width, side, apart):
                yield CropBox(x, y, side, turned)
        side /= _FINER


def _places(length: int, side: float, apart: float) -> Sequence[float]:
    """Returns centres along one axis; crops extend a little past the photo's edge, or are centred in it."""
    first, last = min(0.4 * side, length / 2), max(length - 0.4 * side, length / 2)
    return np.linspace(first, last, 1 + int(np.ceil((last - first) / apart))).tolist()


def _without(ranked: Sequence[Detection], same: Callable[[CropBox, CropBox], bool]) -> list[Detection]:
    """Returns the detections, best first, without those that are the same as a better one."""
    kept = list[Detection]()
    for candidate in ranked:
        if not any(same(candidate.box, other.box) for other in kept):
            kept.append(candidate)
    return kept


def _hardly_differ(first: CropBox, other: CropBox) -> bool:
    """Whether two boxes hardly differ."""
    smaller, larger = sorted((first.side, other.side))
    return larger < 1.2 * smaller and math.dist((first.x, first.y), (other.x, other.y)) < _STRIDE / 2 * smaller


def _disagreement(params: Params, crops: UInt8[np.ndarray, "n s s 3"], size: int) -> Float[np.ndarray, " n"]:
    """Returns how far apart the ends are to which wrong crops of each crop are led: sides, log scale or radians."""
    home = CropBox(SIDE / 2, SIDE / 2, SIDE)
    boxes = [[corrected(home, nudge) for nudge in _NUDGES] for _ in crops]
    for _ in range(_LEADS):
        views = [sample_crop(crop, box, SIDE) for crop, row in zip(crops, boxes, strict=True) for box in row]
        steps = iter(corrections(params, np.stack(views), size))
        boxes = [[_on_crop(corrected(box, next(steps)), box) for box in row] for row in boxes]
    ends = np.array([[between(home, box) for box in row] for row in boxes])
    off = np.abs(ends - np.median(ends, axis=1, keepdims=True)).max(2)
    return np.asarray(np.median(off, axis=1))


def _on_crop(box: CropBox, otherwise: CropBox) -> CropBox:
    """Returns the box if its centre is on the crop and its size says something, otherwise the other one."""
    return box if 0 <= min(box.x, box.y) <= max(box.x, box.y) <= SIDE and SIDE / 6 < box.side < 3 * SIDE else otherwise


def corrections(params: Params, crops: UInt8[np.ndarray, "n s s 3"], size: int = CROPS) -> Float[np.ndarray, "n 4"]:
    """Returns the corrections of crops of `SIDE` pixels, computed in batches of `size`."""
    return np.asarray(in_batches(lambda some: _corrections(params, some), crops, size=size))


@jax.jit
def _corrections(params: Params, crops: Array) -> Array:
    outputs = jnp.asarray(MODULE.apply({"params": params}, crops.astype(jnp.float32) / 127.5 - 1))
    return jnp.arctanh(jnp.clip(outputs, -_INSIDE, _INSIDE)) * jnp.asarray(_RANGE)


def frame_of(side: int) -> CropBox:
    """Returns where a sample of `side` pixels lies in its canvas."""
    return CropBox(1.5 * side, 1.5 * side, side)


def canvas(
    sample: UInt8[np.ndarray, "s s 3"], kind: str, other: UInt8[np.ndarray, "s s 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "l l 3"]:
    """Returns a sample extended to three times its side, in one of the `KINDS`: 'faded' into `other`."""
    side = len(sample)
    repeated = np.pad(sample, ((side, side), (side, side), (0, 0)), mode="edge")
    if kind == "repeated":
        return repeated
    if kind == "plain":
        rim = np.concatenate([sample[0], sample[:, 0], sample[:, -1]])
        plain = np.broadcast_to(np.median(rim, axis=0).astype(np.uint8), repeated.shape).copy()
        plain[side:-side, side:-side] = sample
        return plain
    places = np.arange(3 * side, dtype=np.float32)
    out = np.maximum(abs(places - (1.5 * side - 0.5)) - (side - 1) / 2, 0)
    far = np.hypot(out[:, None], out[None, :]) / side  # from the sample, in its sides
    if kind == "blurred":
        for reach in (0.0, 0.12, 0.3):
            blurred = cv2.GaussianBlur(repeated, (0, 0), side * (0.03 + reach / 4))
            repeated = np.where((far > reach)[..., None], blurred, repeated)
        return repeated
    large = cv2.resize(other, repeated.shape[:2], interpolation=cv2.INTER_LINEAR)
    large = cv2.GaussianBlur(large, (0, 0), rng.uniform(0.5, 6))
    share = np.clip(1 - far / rng.uniform(0.05, 0.3), 0, 1)[..., None]
    return (repeated * share + large * (1 - share)).astype(np.uint8)


def disturb(
    picture: UInt8[np.ndarray, "l l 3"], frame: CropBox, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "4"]]:
    """Returns a wrong crop of a canvas, randomly mirrored and recoloured, and the correction that leads back."""
    share = rng.choice(_SHARES)
    box = corrected(frame, share * rng.uniform(-1, 1, 4) * _GREATEST)
    crop, correction = sample_crop(picture, box, SIDE), between(box, frame)
    if rng.random() < 0.5:
        crop, correction = crop[:, ::-1], correction * (-1, 1, 1, -1)
    # Photos differ from a GAN's images: colours, blur and noise.
    crop = (_recoloured(rng, crop.astype(np.float32) / 127.5 - 1) + 1) * 127.5
    if rng.random() < 0.5:
        crop = cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.3, 1.0))
    noise = rng.standard_normal(crop.shape, np.float32) * rng.uniform(0, 8)
    return np.clip(crop + noise, 0, 255).astype(np.float32), correction


def _recoloured(rng: np.random.Generator, image: Float[np.ndarray, "s s 3"]) -> Float[np.ndarray, "s s 3"]:
    """Returns an image in [-1, 1] in colours that a photograph of the same might have: grey, pale, dark, warm, ...

    Gain, gamma, saturation and tint vary, and one image in five becomes grey.
    """
    made = np.clip((image + 1) / 2, 0, 1) ** np.exp(rng.normal(0, 0.25))
    grey = made.mean(-1, keepdims=True)
    made = grey + (0.0 if rng.random() < 0.2 else rng.uniform(0.3, 1.4)) * (made - grey)
    made = made * np.exp(rng.uniform(-1.2, 0.25)) ** rng.random()
    if rng.random() < 0.5:
        made = made * np.exp(rng.normal(0, 0.18, 3))
    return np.asarray(np.clip(made, 0, 1) * 2 - 1, np.float32)


def train(
    samples: UInt8[np.ndarray, "n s s 3"],
    *,
    seed: int,
    steps: int = TRAINING_STEPS,
    log: Callable[[str], None] = lambda line: None,
) -> Params:
    """Returns the alignment network's weights, learned from samples of `SIDE` pixels; a function of the arguments."""
    rng = np.random.default_rng(seed)
    others = rng.integers(len(samples), size=len(samples))
    frame = frame_of(samples.shape[1])
    pictures = [canvas(sample, KINDS[i % len(KINDS)], samples[others[i]], rng) for i, sample in enumerate(samples)]
    params = MODULE.init(jax.random.key(seed), jnp.zeros((1, SIDE, SIDE, 3)))["params"]
    optimizer = optax.adam(
        optax.warmup_cosine_decay_schedule(0.0, _LEARNING_RATE, min(_WARMUP, steps - 1), steps, _LAST_LEARNING_RATE)
    )

    def error_of(params: Params, crops: Array, corrections: Array) -> Array:
        return jnp.mean(jnp.abs(_corrections(params, crops) - corrections) / jnp.asarray(_RANGE))

    @jax.jit
    def step(params: Params, moments: Any, average: Params, crops: Array, corrections: Array) -> tuple[Any, ...]:
        error, gradient = jax.value_and_grad(error_of)(params, crops, corrections)
        updates, moments = optimizer.update(gradient, moments, params)
        params = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, b: _AVERAGE * a + (1 - _AVERAGE) * b, average, params)
        return (params, moments, average), error

    state, errors = (params, optimizer.init(params), params), []
    for number in range(1, steps + 1):
        drawn = [disturb(pictures[i], frame, rng) for i in rng.integers(len(pictures), size=_BATCH)]
        crops, wrong = (np.stack(parts).astype(np.float32) for parts in zip(*drawn, strict=True))
        state, error = step(*state, crops, wrong)
        errors.append(error)
        if number % _BETWEEN == 0 or number == steps:
            log(f"alignment: step {number} of {steps}, mean error {np.mean(jax.device_get(errors)):.3f}")
            errors = []
    return jax.device_get(state[2])


def at_side(picture: UInt8[np.ndarray, "l l 3"]) -> UInt8[np.ndarray, "s s 3"]:
    """Returns a square picture at `SIDE`."""
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA if len(picture) > SIDE else cv2.INTER_LINEAR)
