"""Calls the public interface with arguments that are none, and prints what came of each as JSON."""

import json
import warnings

import numpy as np
from PIL import Image

from gan2shape_jax.config import load_config
from gan2shape_jax.interface import arguments, configuration
from gan2shape_jax.stylegan2 import Architecture


class _Strange:
    def __array__(self, *args, **kwargs):
        raise MemoryError("no array of this")


_NO_ARRAYS = [
    None,
    "text",
    b"text",
    {},
    {"a": 1},
    set(),
    object(),
    _Strange(),
    [],
    [[]],
    [[1, 2], [3]],
    [[[1], [2, 3]], [[4]]],
    ["a", "b"],
    [None] * 8,
    [10**400] * 8,
    [1j] * 8,
    np.array({}),
    np.zeros((), object),
    np.zeros(0),
    np.zeros((0, 0)),
    np.zeros((0, 0, 3)),
    np.zeros((0, 0, 3), np.uint8),
    np.zeros((16, 0, 3)),
    np.zeros(()),
    np.zeros((1,) * 30),
    np.zeros(8, complex),
    np.zeros(8, "M8[s]"),
    np.zeros(8, [("a", "f4")]),
    np.zeros(8, "U4"),
    np.full(8, np.nan),
    np.full(8, np.inf),
    np.full(8, 1e300),
    np.full(8, -1e300),
    np.full((16, 16), 1e300),
    np.full((16, 16, 3), 1e300),
    np.full((16, 16), 1e39),
    np.ma.masked_all((16, 16)),
    Image.new("I", (16, 16)),
    Image.new("F", (16, 16)),
    Image.new("RGB", (0, 0)),
    Image.new("RGB", (0, 16)),
    Image.new("RGB", (9000, 1)),
]


def _calls():
    """Yields the argument's name and a call that has to fail."""
    for value in _NO_ARRAYS:
        yield "image", lambda value=value: arguments.picture_of(value)
        yield "mask", lambda value=value: arguments.mask_of(value, 16, 16, None)
        yield "latent", lambda value=value: arguments.latent_of(value, 8, 6)
        yield "true_depth", lambda value=value: arguments.true_depth_of(value, 16, 1.1)
    levels = (8,) * 5
    architecture = Architecture(size=64, style_dim=32, mapping_layers=8, channels=levels, discriminator_channels=levels)
    config = load_config("ictface")
    for seed in ("1", 1.5, [1], {}, np.zeros(2), b"1"):
        yield "seed", lambda seed=seed: configuration.complete(config, architecture, seed)
    for wrong in (3, ["ictface"], {"seed": 1}):
        yield "config", lambda wrong=wrong: configuration.complete(wrong, architecture, None)


def _outcome(call) -> tuple[str, str]:
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error)
    return "", "was taken"


if __name__ == "__main__":
    warnings.simplefilter("error", RuntimeWarning)
    found = [dict(zip(("outcome", "told"), _outcome(call)), argument=name) for name, call in _calls()]
    print("\n" + json.dumps(found))
