"""Default widths of the networks, and the number of times they halve an image."""

from jaxtyping import Array, Float

from gan2shape_jax.errors import UserError

__all__ = ["default_group_base", "default_width", "levels"]

_SMALLEST = 16


def default_width(size: int) -> int:
    """Returns the number of channels at half the image side: the original's choice for side `size`."""
    return max(4096 // size, 16)


def default_group_base(size: int) -> int:
    """Returns the number of normalisation groups at half the image side: the original's choice for side `size`."""
    return 8 if size >= 128 else 16


def levels(size: int, images: Float[Array, "n h w c"]) -> int:
    """Returns how many times images of side `size` are halved until they are 4 pixels wide.

    Raises:
        UserError: the side is not a power of two of at least 16, or the images have a different one.
    """
    if size < _SMALLEST or size & (size - 1):
        raise UserError(f"image side {size}: the networks take powers of two from {_SMALLEST} on")
    if images.shape[-3:-1] != (size, size):
        raise UserError(f"images of {images.shape[-3:-1]} pixels for networks of side {size}")
    return size.bit_length() - 3
