"""Perceptual distances between images, by name in `DISTANCES`: LPIPS v0.1 with VGG16, or the discriminator's features.

Images are `(N, H, W, 3)` in [-1, 1], already multiplied by their mask. Source: Zhang et al., CVPR
2018. Both distances work on features, so that features of an unchanging target need to be computed
only once.

`config.loss.perceptual` names the distance of the losses. Another package adds one as an entry point of
`distance.NAME`.

The parameters of LPIPS are a flat dictionary, float32 arrays with these names:

    shift, scale                      (3,) the input is (image - shift) / scale
    conv<i>_<j>/kernel                (3, 3, in, out), i = 1 ... 5 blocks, j = 1 ... 2 or 3 layers
    conv<i>_<j>/bias                  (out,)
    linear<i>                         (out,) weight of each channel of block i's last layer
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar
from ml_collections import ConfigDict

from gan2shape_jax import extensions, stylegan2
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights import misfits, open_safetensors
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.networks import convolution

# Channels and number of layers of each of VGG16's blocks; the side is halved between blocks.
_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
# Added to the length of a feature vector before dividing by it.
_EPSILON = 1e-10

Features = tuple[jax.Array, ...]


@dataclasses.dataclass(frozen=True)
class Distance:
    """A distance between images: what of each image is compared, and how.

    Attributes:
      features: takes images (m, s, s, 3), the frozen models and the settings; returns arrays with a leading axis m, in
        float32.
      distance: takes the features of two batches of images (of one size, or one image) and the frozen models; returns
        the mean over the images.
      load: reads the parameters, `FrozenModels.distances[NAME]`, from the file that `config.loss.NAME_weights` names;
        None if there are none.
    """

    features: Callable[[jax.Array, FrozenModels, Settings], Features]
    distance: Callable[[Features, Features, FrozenModels], Float[Scalar, ""]]
    load: Callable[[str | pathlib.Path], Any] | None = None


def lpips_features(params: Mapping[str, Array], images: Float[Array, "n h w 3"]) -> tuple[Float[Array, "n _ _ _"], ...]:
    """Unit feature vectors of every pixel after each of VGG16's five blocks.

    The network computes in its parameters' dtype; the vectors are float32 at least.
    """
    x = (images - params["shift"]) / params["scale"]
    x = x.astype(params["conv1_1/kernel"].dtype)
    features = []
    for block, (_, count) in enumerate(_BLOCKS, 1):
        if block > 1:
            x = _halve(x)
        for layer in range(1, count + 1):
            x = convolution.convolve(x, params[f"conv{block}_{layer}/kernel"])
            x = jax.nn.relu(x + params[f"conv{block}_{layer}/bias"])
        features.append(_normalise(x.astype(jnp.promote_types(x.dtype, jnp.float32))))
    return tuple(features)


def lpips_per_layer(
    params: Mapping[str, Array],
    a: Sequence[Float[Array, "#n _ _ _"]],
    b: Sequence[Float[Array, "#n _ _ _"]],
) -> tuple[Float[Array, " n"], ...]:
    """Each block's contribution to the distance: weighted squared differences, averaged over the image."""
    weights = [params[f"linear{block}"] for block in range(1, len(_BLOCKS) + 1)]
    return tuple(
        jnp.mean(jnp.sum(jnp.square(first - second) * weight, axis=-1), axis=(-2, -1))
        for first, second, weight in zip(a, b, weights, strict=True)
    )


def lpips_distance(
    params: Mapping[str, Array],
    a: Sequence[Float[Array, "#n _ _ _"]],
    b: Sequence[Float[Array, "#n _ _ _"]],
) -> Float[Array, " n"]:
    """LPIPS of images from features already computed; the leading axes must match or broadcast."""
    parts = lpips_per_layer(params, a, b)
    return sum(parts[1:], start=parts[0])


def discriminator_distance(
    a: Sequence[Float[Array, "n _ _ _"]], b: Sequence[Float[Array, "n _ _ _"]]
) -> Float[Array, ""]:
    """Mean absolute difference of a discriminator's features, summed over its layers; gradients flow through both."""
    parts = [jnp.mean(jnp.abs(first - second)) for first, second in zip(a, b, strict=True)]
    return sum(parts[1:], start=parts[0])


def discriminator_features(images: Float[Array, "m s s 3"], frozen: FrozenModels, settings: Settings) -> Features:
    """Returns the discriminator's first features of each image; each has a leading axis m."""
    return stylegan2.discriminator_features(frozen.discriminator, images, arch=settings.architecture, count=4)


def load_lpips(path: str | pathlib.Path) -> dict[str, jax.Array]:
    """Reads the parameters from a safetensors file (names and shapes: see the module docstring).

    Raises:
      UserError: the file is missing, damaged, or does not hold the expected tensors; the message lists them.
    """
    with open_safetensors(path, "name the LPIPS weights with config.loss.lpips_weights") as file:
        tensors = file.read_all(_shapes(), f"LPIPS weights {path} do not fit VGG16's LPIPS")
    return {name: jnp.asarray(value, jnp.float32) for name, value in tensors.items()}


def lpips_from_torch(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames and transposes the tensors of the published PyTorch module (`net-lin`, `vgg`), NumPy arrays by its names.

    Raises:
        UserError: any tensor is missing, unknown, misshapen or not finite; the message lists all of them.
    """
    if differing := misfits(state, torch_shapes()):
        raise UserError(f"the LPIPS tensors do not fit VGG16's LPIPS: {differing}")

    def ours(name: str, shape: tuple[int, ...]) -> np.ndarray:
        value = np.asarray(state[_torch_name(name)], np.float32)
        return np.ascontiguousarray(value.transpose(2, 3, 1, 0) if len(shape) == 4 else value.reshape(shape))

    return {name: ours(name, shape) for name, shape in _shapes().items()}


def torch_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that `lpips_from_torch` takes."""

    def theirs(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) == 4:
            return (shape[3], shape[2], shape[0], shape[1])
        return shape if name.startswith("conv") else (1, *shape, 1, 1)

    return {_torch_name(name): theirs(name, shape) for name, shape in _shapes().items()}


def _halve(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """Maximum of each 2x2 cell; an odd last row or column is left out."""
    n, h, w, c = x.shape
    cells = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
    return jnp.max(cells, axis=(2, 4))


def _normalise(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Divides by the length along the channels; a zero vector stays zero, without gradient."""
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    nonzero = squared > 0
    length = jnp.sqrt(jnp.where(nonzero, squared, 1.0))
    return jnp.where(nonzero, x / (length + _EPSILON), 0.0)


def _shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of all parameters."""
    shapes: dict[str, tuple[int, ...]] = {"shift": (3,), "scale": (3,)}
    before = 3
    for block, (channels, count) in enumerate(_BLOCKS, 1):
        for layer in range(1, count + 1):
            shapes[f"conv{block}_{layer}/kernel"] = (3, 3, before, channels)
            shapes[f"conv{block}_{layer}/bias"] = (channels,)
            before = channels
        shapes[f"linear{block}"] = (channels,)
    return shapes


def _torch_name(name: str) -> str:
    """The published module's name for one of our parameters."""
    if name in ("shift", "scale"):
        return f"scaling_layer.{name}"
    if name.startswith("linear"):
        return f"lin{int(name[6:]) - 1}.model.1.weight"
    place, leaf = name.removeprefix("conv").split("/")
    block, layer = (int(part) for part in place.split("_"))
    # VGG16 counts every convolution, every ReLU and every pooling.
    index = sum(2 * count + 1 for _, count in _BLOCKS[: block - 1]) + 2 * (layer - 1)
    return f"net.slice{block}.{index}.{'weight' if leaf == 'kernel' else 'bias'}"


def _lpips_features(images: jax.Array, frozen: FrozenModels, settings: Settings) -> Features:
    return lpips_features(frozen.distances["lpips"], images)


def _mean_lpips(first: Features, second: Features, frozen: FrozenModels) -> Float[Scalar, ""]:
    return jnp.mean(lpips_distance(frozen.distances["lpips"], first, second))


def _absolute_distance(first: Features, second: Features, _: Any) -> Float[Scalar, ""]:
    return discriminator_distance(first, second)


DISTANCES: Mapping[str, Distance] = {
    "discriminator": Distance(discriminator_features, _absolute_distance),
    "lpips": Distance(_lpips_features, _mean_lpips, load_lpips),
}


def named(name: str) -> Distance:
    """Returns a distance by its name; another package's is imported. Raises `UserError`: there is none."""
    distance: Distance = DISTANCES.get(name) or extensions.load("distance", name)
    return distance


def load(name: str, config: ConfigDict) -> Any:
    """Returns a distance's parameters, from `config.loss.NAME_weights`; None if it has none.

    Raises:
      UserError: the file is missing, damaged, or does not hold the expected tensors.
    """
    read = named(name).load
    return None if read is None else read(config.loss[f"{name}_weights"])
