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


# The scaling layer is part of the published weights, not of the recipe.
_SCALING = {"shift": np.array([-0.030, -0.088, -0.188]), "scale": np.array([0.458, 0.448, 0.450])}


def lpips_params(seed: int = 0) -> dict[str, np.ndarray]:
    """Returns LPIPS' parameters, made of all its tensors by their published names."""
    state = {name: drawn(name, shape, seed) for name, shape in perceptual.torch_shapes().items()}
    for name, value in _SCALING.items():
        state[f"scaling_layer.{name}"] = value.reshape(state[f"scaling_layer.{name}"].shape)
    return perceptual.lpips_from_torch(state)


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
