"""The weights that the reference ran with, which are not stored: each is drawn by its tensor's name."""

import zlib

import jax
import numpy as np

from gan2shape_jax.method import perceptual


def drawn(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Returns a tensor of a parser, of VGG16, or of LPIPS' linear layers (`lin0` and so on)."""
    noise = np.random.default_rng(zlib.crc32(name.encode()) + seed).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(noise)
    if name.endswith(("running_mean", "bias")):
        return 0.1 * noise
    if name.startswith("lin"):
        return 0.1 * np.abs(noise)
    if len(shape) == 1:
        return 1 + 0.1 * noise
    return noise * np.sqrt(2 / np.prod(shape[1:])).astype(np.float32)


@jax.jit
def _lpips(params, a, b):
    def total(b):
        features = perceptual.lpips_features(params, a), perceptual.lpips_features(params, b)
        distance = perceptual.lpips_distance(params, *features)
        return distance.sum(), (distance, perceptual.lpips_per_layer(params, *features))

    return jax.grad(total, has_aux=True)(b)


def lpips_of(archive, params):
    """Returns the gradient to the second images of `lpips.npz`, and the distances, whole and by layer."""
    return _lpips(params, *(archive[name].transpose(0, 2, 3, 1) for name in ("a", "b")))
