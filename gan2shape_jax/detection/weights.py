"""The weights of a GAN's detector: learnt from its own samples, once, and kept.

One safetensors file. `typicality/...` is what the discriminator sees in samples, and `mean_mask` how often the object
covers each pixel; beside them are, for people, `framing/...`, where faces lie in the samples (`faces`), and for any
other kind `alignment/...`, a network that moves crops onto the object (`gan_detector`). The header names the GAN by its
SHA-256; weights learnt from another one are never used.

    assets/KIND/detector.safetensors                         of a bundled GAN
    CACHE/gan2shape_jax/detectors/HASH-DETECTOR.safetensors  of any other
"""

import functools
import pathlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float, UInt8

from gan2shape_jax import program_cache
from gan2shape_jax.detection import faces, gan_detector
from gan2shape_jax.detection.detector import Detector
from gan2shape_jax.detection.faces import FaceDetector, Framing
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.bundled import cache
from gan2shape_jax.io.files import atomic_bytes, set_aside, sha256
from gan2shape_jax.io.grabcut import estimate_mean_mask
from gan2shape_jax.io.weights import open_safetensors, safetensors_bytes
from gan2shape_jax.method.models import Params
from gan2shape_jax.method.streams import FIXED_SEED
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.results.pictures import to_uint8
from gan2shape_jax.stylegan2 import Architecture, typicality
from gan2shape_jax.stylegan2.latents import random_images
from gan2shape_jax.stylegan2.typicality import Typicality

Kind = Literal["face", "gan"]
_IN_FILES: dict[Kind, str] = {"face": "face", "gan": "learnt"}  # what files and their names call a kind

_SAMPLES, _MEASURED, _MASKED = 2048, 512, 96  # samples used in all, for where faces lie, and for the mean mask
_NAME = "detector.safetensors"
_atypicality = program_cache.cached(typicality.atypicality, static_argnames=("arch",))


class DetectorWeights(NamedTuple):
    """What detecting and masking objects relies on; either `alignment` or `framing` is there."""

    typicality: Typicality  # scores crops of `SIDE` pixels
    mean_mask: Float[np.ndarray, "s s"]  # how often the object covers each pixel of the GAN's pictures, in [0, 1]
    alignment: Params | None = None
    framing: Framing | None = None


def detector_by(
    weights: DetectorWeights, architecture: Architecture, gan: dict[str, Any], *, batch: int = 8
) -> Detector:
    """Returns the detector that has these weights; `gan` has the discriminator's, `batch` crops are seen at a time."""
    if weights.framing is not None:
        return FaceDetector(weights.framing)
    assert weights.alignment is not None
    atypicality = functools.partial(_atypical, weights.typicality, gan["discriminator"], architecture, batch)
    return gan_detector.GanDetector(weights.alignment, atypicality, batch)


def _atypical(
    measured: Typicality, discriminator: Params, architecture: Architecture, batch: int, crops: np.ndarray
) -> Float[np.ndarray, " n"]:
    def score(some: np.ndarray) -> jax.Array:
        images = some.astype(np.float32) * np.float32(1 / 127.5) - 1  # as XLA divides by a constant
        return _atypicality(measured, discriminator, images, arch=architecture)

    return np.asarray(in_batches(score, crops, size=batch))


def weights_of(
    checkpoint: pathlib.Path,
    architecture: Architecture,
    gan: dict[str, Any],
    kind: Kind,
    *,
    log: Callable[[str], None],
) -> DetectorWeights:
    """Returns a GAN's weights: from next to its file, from the user's cache, or newly learnt, which may take minutes.

    Raises `UserError`: `kind` is 'face', but OpenCV finds no faces in the GAN's samples.
    """
    if (stored := stored_weights(checkpoint, kind)) is not None:
        return stored
    log("first use of this GAN with photos: a detector for it is trained once, which may take some minutes")
    weights, digest = learn(architecture, gan, kind, log=log), sha256(checkpoint)
    path = cached_at(digest, kind)
    if path.exists():
        set_aside(path, "it is damaged, or of another version")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_bytes(path, weights_bytes(weights, digest))
    except (OSError, UserError) as error:
        log(f"the detector cannot be stored, and will be trained again at the next start: {error}")
    return weights


def stored_weights(checkpoint: pathlib.Path, kind: Kind) -> DetectorWeights | None:
    """Returns the weights for a GAN's file; None if there are none yet, or none that can be used."""
    if not checkpoint.is_file():
        return None
    digest = sha256(checkpoint)
    places = checkpoint.with_name(_NAME), cached_at(digest, kind)
    candidates = (read_weights(path, digest, kind) for path in places if path.is_file())
    return next((weights for weights in candidates if weights is not None), None)


def learn(
    architecture: Architecture, gan: dict[str, Any], kind: Kind, *, log: Callable[[str], None]
) -> DetectorWeights:
    """Returns weights learnt from a GAN's samples; see `weights_of`."""
    log(f"{_SAMPLES} samples are drawn")
    drawn = drawn_samples(architecture, gan, _SAMPLES)
    images = drawn.astype(np.float32) / 127.5 - 1
    mask = estimate_mean_mask(images[:_MASKED])
    typical = typicality.measure(gan["discriminator"], images, arch=architecture, seed=FIXED_SEED)
    # Rounded as in the file, so that weights just learnt and those read from disk give the same bits.
    mask = np.asarray(mask, np.float16).astype(np.float32)
    if kind == "face":
        if (framing := faces.measure(drawn[:_MEASURED])) is None:
            raise UserError(
                "OpenCV finds no face in most of what this GAN draws: its photos cannot be searched for people; set "
                "config.category to another name, so that a detector is trained on what it draws"
            )
        rounded = (np.asarray(part, np.float32).astype(np.float64) for part in framing)
        return DetectorWeights(typical, mask, framing=Framing(*rounded))
    params = gan_detector.train(drawn, seed=FIXED_SEED, steps=gan_detector.TRAINING_STEPS, log=log)
    params = jax.tree.map(lambda values: np.asarray(values, np.float16).astype(np.float32), params)
    return DetectorWeights(typical, mask, alignment=params)


def drawn_samples(architecture: Architecture, gan: dict[str, Any], count: int) -> UInt8[np.ndarray, "n s s 3"]:
    """Returns samples of the GAN, resized to `SIDE`; not truncated: photos vary as much."""
    key, mean = jax.random.key(FIXED_SEED), jnp.zeros((1, architecture.style_dim))
    drawn = random_images(key, gan["generator"], arch=architecture, count=count, truncation=1.0, mean=mean)
    return np.stack([gan_detector.at_side(picture) for picture in to_uint8(drawn[0])])


def cached_at(digest: str, kind: Kind) -> pathlib.Path:
    """Returns where the weights for a GAN that came without any are cached; `digest` is the SHA-256 of its file."""
    return cache("detectors") / f"{digest[:32]}-{_IN_FILES[kind]}.safetensors"


def weights_bytes(weights: DetectorWeights, gan_sha256: str) -> bytes:
    """Returns the content of a file of weights; the same weights give the same bytes."""
    halves: dict[str, Any] = {"mean_mask": weights.mean_mask}
    singles: dict[str, Any] = {"typicality": vars(weights.typicality)}
    if weights.framing is not None:
        singles["framing"] = weights.framing._asdict()
    else:
        halves["alignment"] = weights.alignment
    tensors = {name: np.ascontiguousarray(value, np.float16) for name, value in flatten_dict(halves, sep="/").items()}
    tensors |= {name: np.ascontiguousarray(value, np.float32) for name, value in flatten_dict(singles, sep="/").items()}
    return safetensors_bytes(tensors, _header(gan_sha256, "gan" if weights.framing is None else "face"))


def read_weights(path: pathlib.Path, gan_sha256: str, kind: Kind) -> DetectorWeights | None:
    """Returns weights from their file; None if it is damaged, or of another GAN, detector or version."""
    try:
        with open_safetensors(path) as file:
            if dict(file.metadata) != _header(gan_sha256, kind):
                return None
            tensors = {name: np.asarray(file.read(name), np.float32) for name in file.shapes}
        tree = unflatten_dict(tensors, sep="/")
        measured = tree["typicality"]
        measured["rest"] = measured["rest"].reshape(())  # a file stores it with shape (1,)
        common = jax.device_put(Typicality(**measured)), tree["mean_mask"]
        if kind == "face":
            parts = {name: value.astype(np.float64) for name, value in tree["framing"].items()}
            return DetectorWeights(*common, framing=Framing(**parts))
        return DetectorWeights(*common, alignment=tree["alignment"])
    except (UserError, KeyError, TypeError):
        return None


def _header(gan_sha256: str, kind: Kind) -> dict[str, str]:
    return {"format": "gan2shape_jax detector", "version": "1", "detector": _IN_FILES[kind], "gan_sha256": gan_sha256}
