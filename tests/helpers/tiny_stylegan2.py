"""A StyleGAN2 small enough to be compared number by number, and how far its outputs are from others."""

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from gan2shape_jax.stylegan2 import Architecture, weights

TINY = Architecture(size=16, style_dim=6, mapping_layers=2, channels=(5, 4, 3), discriminator_channels=(4, 5, 3))


def nhwc(x):
    return jnp.asarray(np.moveaxis(x, 1, -1))


def relative(ours, golden):
    """The greatest relative L2 error of an item; `golden`, an array or a torch tensor, is NCHW or (B, W)."""
    ours, golden = np.asarray(ours), np.asarray(golden)
    golden = np.moveaxis(golden, 1, -1) if golden.ndim == 4 else golden
    assert ours.shape == golden.shape
    flat = [x.reshape(len(x), -1) for x in (ours - golden, golden)]
    return (np.linalg.norm(flat[0], axis=1) / np.linalg.norm(flat[1], axis=1)).max()


def random_parameters():
    """Random parameters of every kind, none of them zero."""
    generator = np.random.default_rng(0)
    return unflatten_dict(
        {
            name: jnp.asarray((100 if "mapping" in name else 1) * generator.standard_normal(shape), jnp.float32)
            + name.endswith("style_bias")
            for name, shape in weights.parameter_shapes(TINY).items()
        },
        sep="/",
    )
