"""What framing, masking and judging photos relies on: a GAN's guide, learned once from its own samples.

The guide is one safetensors file: `alignment/...` is a network that moves crops onto the object, `typicality/...` what
the discriminator sees in samples, `usual_mask` how often the object covers each pixel. A bundled GAN has its guide next
to it; for any other GAN it is made when first needed. The header names the GAN by its SHA-256; a guide learned from
another one is never used.

    assets/KIND/guide.safetensors                  of a bundled GAN
    CACHE/gan2shape_jax/guides/HASH.safetensors    of any other

A correction is (dx, dy, log scale, roll): the centre moves by (dx, dy) sides of the crop, along the crop's own axes;
the side is multiplied by exp(log scale); the crop is rotated clockwise by roll radians. The network that predicts it
has the view network's architecture and learns from the GAN's own samples, without photos or labels: a sample is framed
correctly by definition, and wrong crops of it are drawn along with the corrections that lead back. What a photo shows
beyond the GAN's frame is not known, so samples are extended in several ways, none of them right: by repeating their
outermost pixels, with increasing blur, by a single colour, or by fading into another sample.

Whether a crop shows the GAN's kind of object at all (`Sight.look`) is judged by how typical it is, and by two things
that a search for the most typical crop does not improve: whether the network leads wrong crops of it back to one place,
and how much less typical it is upside down and on its sides. See docs/reports/trust.md.
"""

import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epy
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, UInt8

from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop
from gan2shape_jax.io.bundled import cache
from gan2shape_jax.io.files import atomic_bytes, sha256
from gan2shape_jax.io.found_masks import usual_mask
from gan2shape_jax.io.weights.tensors import open_safetensors, safetensors_bytes
from gan2shape_jax.method.models import Params
from gan2shape_jax.networks.modules import Encoder
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.results.pictures import to_uint8
from gan2shape_jax.stylegan2 import Architecture, typicality
from gan2shape_jax.stylegan2.latents import random_images
from gan2shape_jax.stylegan2.typicality import Typicality

with epy.lazy_imports():  # importing it changes the environment
    import cv2

# Maps crops (n, SIDE, SIDE, 3), 0 to 255, to how unlike the GAN's pictures they are; lower is better.
Score = Callable[[UInt8[np.ndarray, "n s s 3"]], Float[np.ndarray, " n"]]

SIDE = 64  # pixels of the crops that the network sees
_WIDTH = 32
# Scale of the network's outputs, in (-1, 1) before an inverse tanh: sides, sides, log scale, radians.
_RANGE = (0.5, 0.5, 0.6, 0.6)
_INSIDE = 0.999  # of (-1, 1): keeps the inverse finite
CROPS = 32  # crops per batch of a search; of one image, there are eight

KINDS = ("repeated", "blurred", "plain", "faded")
# Greatest perturbation: sides, log scale, radians. Smaller ones are drawn as often, since the last moves are small.
_GREATEST = (0.42, 0.42, 0.58, 0.65)
_SHARES = (1.0, 0.5, 0.25)

STEPS = 2500
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
    # Photos differ from a GAN's images: contrast, brightness, tint, blur and noise.
    crop = crop.astype(np.float32)
    crop = (crop - crop.mean()) * rng.uniform(0.7, 1.3) + crop.mean() + rng.uniform(-30, 30)
    crop = crop * rng.uniform(0.88, 1.12, 3).astype(np.float32)
    if rng.random() < 0.5:
        crop = cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.3, 1.0))
    noise = rng.standard_normal(crop.shape, np.float32) * rng.uniform(0, 8)
    return np.clip(crop + noise, 0, 255).astype(np.float32), correction


def train(
    samples: UInt8[np.ndarray, "n s s 3"],
    *,
    seed: int,
    steps: int = STEPS,
    say: Callable[[str], None] = lambda line: None,
) -> Params:
    """Returns the alignment network's weights, learned from samples of `SIDE` pixels; a function of the arguments."""
    rng = np.random.default_rng(seed)
    others = rng.integers(len(samples), size=len(samples))
    frame = frame_of(samples.shape[1])
    pictures = [canvas(one, KINDS[i % len(KINDS)], samples[others[i]], rng) for i, one in enumerate(samples)]
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
            say(f"alignment: step {number} of {steps}, mean error {np.mean(jax.device_get(errors)):.3f}")
            errors = []
    return jax.device_get(state[2])


# Certainty from which an object may be there, and from which it is.
PERHAPS, SURE = 0.6, 0.85
# Wrong crops whose ends are compared, as corrections of the right one.
_NUDGES = np.concatenate([np.diag((0.2, 0.2, 0.3, 0.35)), -np.diag((0.2, 0.2, 0.3, 0.35))])
_LEADS = 4  # corrections of each
_LEAST_SPREAD = 0.003  # below which differences are noise
# The logarithm of the odds: of 1, atypicality, log(spread), and how much more atypical the crop is turned; fitted to
# pictures with and without cats and faces (docs/reports/trust.md).
_ODDS = np.array([-3.84, -0.69, -1.36, 0.64])

_NETWORK, _TYPICAL, _MASK = "alignment", "typicality", "usual_mask"
_SEED = 0
_SAMPLES, _MASKED = 2048, 96  # samples used in all, and for the usual mask


class Guide(NamedTuple):
    """What framing and masking photos relies on."""

    alignment: Params
    typicality: Typicality  # scores crops of `SIDE` pixels
    usual_mask: Float[np.ndarray, "s s"]  # how often the object covers each pixel of the GAN's pictures, in [0, 1]


def guide_of(
    checkpoint: pathlib.Path, architecture: Architecture, weights: dict[str, Any], *, say: Callable[[str], None]
) -> Guide:
    """Returns a GAN's guide: from next to its file, from the user's cache, or newly made, which takes minutes."""
    if (known := known_guide(checkpoint)) is not None:
        return known
    say("first use of this GAN with photos: how it frames its pictures is learnt, which takes some minutes, once")
    guide, digest = make_guide(architecture, weights, say=say), sha256(checkpoint)
    try:
        cached_at(digest).parent.mkdir(parents=True, exist_ok=True)
        atomic_bytes(cached_at(digest), guide_bytes(guide, digest))
    except (OSError, UserError) as error:
        say(f"what was found cannot be kept, the next start looks again: {error}")
    return guide


def known_guide(checkpoint: pathlib.Path) -> Guide | None:
    """Returns the guide of a GAN's file; None if it has none yet, or none that can be used."""
    if not checkpoint.is_file():
        return None
    digest = sha256(checkpoint)
    places = checkpoint.with_name("guide.safetensors"), cached_at(digest)
    found = (read_guide(path, digest) for path in places if path.is_file())
    return next((guide for guide in found if guide is not None), None)


def make_guide(architecture: Architecture, weights: dict[str, Any], *, say: Callable[[str], None]) -> Guide:
    """Returns the guide of a GAN, learned from its samples; see `guide_of`."""
    say(f"{_SAMPLES} samples are drawn")
    drawn = drawn_samples(architecture, weights, _SAMPLES)
    images = drawn.astype(np.float32) / 127.5 - 1
    mask = usual_mask(images[:_MASKED])
    typical = typicality.measure(weights["discriminator"], images, arch=architecture, seed=_SEED)
    params = train(drawn, seed=_SEED, steps=STEPS, say=say)
    # Rounded as in the file, so that a guide just made and one read from disk give the same bits.
    params, mask = jax.tree.map(lambda values: np.asarray(values, np.float16).astype(np.float32), (params, mask))
    return Guide(params, typical, mask)


def drawn_samples(architecture: Architecture, weights: dict[str, Any], count: int) -> UInt8[np.ndarray, "n s s 3"]:
    """Returns samples of the GAN, resized to `SIDE`; not truncated: photos vary as much."""
    key, mean = jax.random.key(_SEED), jnp.zeros((1, architecture.style_dim))
    drawn = random_images(key, weights["generator"], arch=architecture, count=count, truncation=1.0, mean=mean)
    return np.stack([resized(picture) for picture in to_uint8(drawn[0])])


def resized(picture: UInt8[np.ndarray, "l l 3"]) -> UInt8[np.ndarray, "s s 3"]:
    """Returns a square picture at `SIDE`."""
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA if len(picture) > SIDE else cv2.INTER_LINEAR)


class Seen(NamedTuple):
    """What is seen in a crop."""

    atypicality: float  # how unlike the GAN's pictures it is, in standard deviations of the GAN's samples
    certainty: float  # that it shows an object of the GAN's kind, 0 to 1


class Sight(NamedTuple):
    """Looks at crops (n, SIDE, SIDE, 3), 0 to 255; made by `sight_by`."""

    alignment: Params
    score: Score
    size: int  # crops per batch

    def look(self, crops: UInt8[np.ndarray, "n s s 3"]) -> list[Seen]:
        """Returns what is seen in each of at least one crop, judged by the crop alone."""
        turned = np.concatenate([np.rot90(crops, turns, axes=(1, 2)) for turns in range(4)])
        plain, *others = np.asarray(self.score(turned), np.float64).reshape(4, -1)
        spread = np.log(_disagreement(self.alignment, crops, self.size) + _LEAST_SPREAD)
        odds = _ODDS @ np.stack([np.ones(len(crops)), plain, spread, np.min(others, axis=0) - plain])
        return list(map(Seen, plain.tolist(), (1 / (1 + np.exp(-np.clip(odds, -50, 50)))).tolist()))


def sight_by(guide: Guide, architecture: Architecture, weights: dict[str, Any], *, size: int = 8) -> Sight:
    """Returns what looks at any number of crops, `size` at a time; `weights` has the discriminator's."""

    def score(crops: np.ndarray) -> jax.Array:
        images = jnp.asarray(crops, jnp.float32) / 127.5 - 1
        return typicality.atypicality(guide.typicality, weights["discriminator"], images, arch=architecture)

    return Sight(guide.alignment, lambda crops: in_batches(score, crops, size=size), size)


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


def cached_at(digest: str) -> pathlib.Path:
    """Returns where the guide of a GAN that came without one is cached; `digest` is the SHA-256 of the GAN's file."""
    return cache("guides") / f"{digest[:32]}.safetensors"


def guide_bytes(guide: Guide, gan_sha256: str) -> bytes:
    """Returns the content of a guide's file; the same guide gives the same bytes."""
    halves = flatten_dict({_NETWORK: guide.alignment, _MASK: guide.usual_mask}, sep="/")
    tensors = {name: np.ascontiguousarray(value, np.float16) for name, value in halves.items()}
    measured = flatten_dict({_TYPICAL: vars(guide.typicality)}, sep="/")
    tensors |= {name: np.ascontiguousarray(value, np.float32) for name, value in measured.items()}
    return safetensors_bytes(tensors, _header(gan_sha256))


def read_guide(path: pathlib.Path, gan_sha256: str) -> Guide | None:
    """Returns a guide from its file; None if it is damaged, of another GAN or of another version."""
    try:
        with open_safetensors(path) as file:
            if dict(file.metadata) != _header(gan_sha256):
                return None
            tensors = {name: np.asarray(file.read(name), np.float32) for name in file.shapes}
        found = unflatten_dict(tensors, sep="/")
        measured = {name: jnp.asarray(value) for name, value in found[_TYPICAL].items()}
        measured["rest"] = measured["rest"].reshape(())  # a file stores it with shape (1,)
        return Guide(found[_NETWORK], Typicality(**measured), found[_MASK])
    except (UserError, KeyError, TypeError):
        return None


def _header(gan_sha256: str) -> dict[str, str]:
    return {"format": "gan2shape_jax guide", "version": "1", "gan_sha256": gan_sha256}
