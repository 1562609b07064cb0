"""A StyleGAN2 small enough to be compared number by number, and how far its outputs are from others."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from gan2shape_jax import stylegan2
from gan2shape_jax.stylegan2 import Architecture, weights
from helpers import parity_record

TINY = Architecture(size=16, style_dim=6, mapping_layers=2, channels=(5, 4, 3), discriminator_channels=(4, 5, 3))

# Compiled once for each architecture and use: running the operations one by one is slower.
synthesize = jax.jit(stylegan2.synthesize, static_argnames="arch")
discriminate = jax.jit(stylegan2.discriminate, static_argnames="arch")


def nhwc(x):
    return jnp.asarray(np.moveaxis(x, 1, -1))


def relative(ours, golden):
    """The greatest relative L2 error of an item; `golden`, an array or a torch tensor, is NCHW or (B, W)."""
    golden = np.asarray(golden)
    return parity_record.relative(ours, np.moveaxis(golden, 1, -1) if golden.ndim == 4 else golden)


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
