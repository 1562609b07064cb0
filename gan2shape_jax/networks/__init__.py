"""The five networks of the method.

Depth and albedo (`EncoderDecoder`), view and light (`Encoder`), latent (`ResidualEncoder`).
Images are `(N, S, S, 3)` in [-1, 1]. Source: GAN2Shape, section 3 and appendix.
"""

from gan2shape_jax.networks.modules import (
    Encoder,
    EncoderDecoder,
    ResidualEncoder,
    default_group_base,
    default_width,
    initial_params,
)
from gan2shape_jax.networks.torch_weights import params_from_torch, params_to_torch

__all__ = [
    "Encoder",
    "EncoderDecoder",
    "ResidualEncoder",
    "default_group_base",
    "default_width",
    "initial_params",
    "params_from_torch",
    "params_to_torch",
]
