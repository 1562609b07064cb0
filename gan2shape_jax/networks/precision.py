"""Computing in bfloat16 where quality allows it, with everything that is kept or compared in float32.

bfloat16 has float32's range and 8 bits of mantissa: enough for the features inside a network, whose errors are
many and small, but too little for values that are differenced (normals come from differences in depth of 1/1000 of
its range), summed over many steps (parameters, Adam's moments) or averaged over images (losses). So with
`Settings.precision` "bfloat16", the hidden layers of the depth, albedo, view and light networks, the GAN and the
perceptual network compute in bfloat16. Parameters, optimiser, losses, the networks' last layers, camera, rasteriser,
lighting and sampling stay in float32, and so does the encoder: its offset is the difference between the codes of two
nearly equal images, and in bfloat16 the error of this difference is 1.5 times its size.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Precision = Literal["float32", "bfloat16"]
AUTO = "auto"


def chosen(requested: str, platform: str) -> Precision:
    """Returns the precision of a run: the requested one or, with `AUTO`, bfloat16 on the platform "tpu", else float32.

    The two differ by less than seeds do, and a CPU is slower in bfloat16.
    """
    return "bfloat16" if requested == "bfloat16" or (requested == AUTO and platform == "tpu") else "float32"


def to_compute_dtype(tree: Any, precision: Precision, *, keep: tuple[str, ...] = ()) -> Any:
    """Casts the floating-point arrays of a tree to bfloat16 if `precision` asks for it, but for top-level `keep`."""
    if precision == "float32":
        return tree
    if keep:
        return {name: value if name in keep else to_compute_dtype(value, precision) for name, value in tree.items()}
    return jax.tree.map(lambda x: x.astype(jnp.bfloat16) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def to_float32(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Casts values of lower precision to float32, for comparing and summing."""
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))
