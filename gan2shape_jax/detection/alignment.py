"""The alignment network: how a crop has to be moved, scaled and turned to be framed like a GAN's pictures.

A correction is (dx, dy, log scale, roll): the centre moves by (dx, dy) sides of the crop, along the crop's own axes;
the side is multiplied by exp(log scale); the crop is rotated clockwise by roll radians. The network that predicts it
has the view network's architecture and learns from the GAN's own samples, without photos or labels: a sample is framed
correctly by definition, and wrong crops of it are drawn along with the corrections that lead back. What a photo shows
beyond the GAN's frame is not known, so samples are extended in several ways, none of them right: by repeating their
outermost pixels, with increasing blur, by a single colour, or by fading into another sample.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epy
from jaxtyping import Array, Float, UInt8

from gan2shape_jax.detection.detector import SIDE
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop
from gan2shape_jax.method.models import Params
from gan2shape_jax.networks.modules import Encoder
from gan2shape_jax.platforms import in_batches

with epy.lazy_imports():  # importing it changes the environment
    import cv2

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


def corrections(params: Params, crops: UInt8[np.ndarray, "n s s 3"], size: int = CROPS) -> Float[np.ndarray, "n 4"]:
    """Returns the corrections of crops of `SIDE` pixels, computed in batches of `size`."""
    return np.asarray(in_batches(lambda some: _corrections(params, some), crops, size=size))


@jax.jit
def _corrections(params: Params, crops: Array) -> Array:
    outputs = jnp.asarray(MODULE.apply({"params": params}, crops.astype(jnp.float32) / 127.5 - 1))
    return jnp.arctanh(jnp.clip(outputs, -_INSIDE, _INSIDE)) * jnp.asarray(_RANGE)


def corrected(box: CropBox, correction: Float[np.ndarray, "4"]) -> CropBox:
    """Returns a box moved, scaled and rotated by a correction."""
    dx, dy, log_scale, roll = (float(value) for value in correction)
    cos, sin = math.cos(math.radians(box.roll_deg)), math.sin(math.radians(box.roll_deg))
    x, y = box.x + box.side * (cos * dx - sin * dy), box.y + box.side * (sin * dx + cos * dy)
    return CropBox(x, y, box.side * math.exp(log_scale), box.roll_deg + math.degrees(roll))


def between(box: CropBox, target: CropBox) -> Float[np.ndarray, "4"]:
    """Returns the correction that takes one box to another; the inverse of `corrected`."""
    cos, sin = math.cos(math.radians(box.roll_deg)), math.sin(math.radians(box.roll_deg))
    dx, dy = (target.x - box.x) / box.side, (target.y - box.y) / box.side
    turn = math.radians(target.roll_deg - box.roll_deg)
    return np.array([cos * dx + sin * dy, cos * dy - sin * dx, math.log(target.side / box.side), turn])


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


def resized(picture: UInt8[np.ndarray, "l l 3"]) -> UInt8[np.ndarray, "s s 3"]:
    """Returns a square picture at `SIDE`."""
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA if len(picture) > SIDE else cv2.INTER_LINEAR)
