"""The weak shape prior: an ellipsoid-like cap where the object is (GAN2Shape, section 3.1).

Rows run down and columns right; the mask and the depth are `(S, S)`, depth in scene units along the
camera's axis. All of this happens once an image, on the host, with NumPy.
"""

import numpy as np
from jaxtyping import Float

from gan2shape_jax.errors import UserError

__all__ = ["CATEGORIES", "ellipsoid"]

# How each category's bounding box is adjusted; the names are those of the configs and of the
# original.
_FIT = {
    "synface": "forehead",
    "ictface": "forehead",
    "face": "neck",
    "celeba": "neck",
    "car": "ground",
    "horse": "ground",
    "church": "ground",
    "cat": "none",
}
CATEGORIES = tuple(_FIT)

# Parsers mark a whole head 0.5 and the face 1: only the face is to be covered.
_OBJECT_THRESHOLD = 0.7
# Radius in scene units of the sphere whose cap is stretched over the box.
_RADIUS = 0.4


def ellipsoid(
    mask: Float[np.ndarray, "s s"], *, category: str, near: float = 0.91, far: float = 1.02
) -> Float[np.ndarray, "s s"]:
    """Depth of a stretched spherical cap over the object's bounding box.

    Args:
        mask: object mask in [0, 1]; at least 0.7 counts as object.
        category: one of `CATEGORIES`; decides how the box is adjusted.
        near: depth of the cap's top, in scene units.
        far: depth of its rim and of everything outside, in scene units.

    Returns:
        The depth, in the mask's floating type (float32 for other types).

    Raises:
        UserError: unknown category, near not in front of far, or a mask with no object worth a box.
    """
    mask = np.asarray(mask)
    dtype = mask.dtype if np.issubdtype(mask.dtype, np.floating) else np.float32
    if category not in _FIT:
        raise UserError(f"unknown category {category!r}: choose one of {', '.join(CATEGORIES)}")
    if not 0 < far - near < _RADIUS:
        raise UserError(
            f"the prior's far depth {far} must lie behind its near depth {near}, "
            f"by less than {_RADIUS}"
        )
    left, right, top, bottom = _bounding_box(mask, _FIT[category])
    size_y, size_x = mask.shape
    radius = (right - left) / 2
    ratio = (bottom - top) / (right - left)
    rows, columns = np.mgrid[:size_y, :size_x].astype(np.float64)
    # The rows are stretched about the image's centre, not the box's: the original's choice.
    rows = (rows - size_y / 2) / ratio + size_y / 2
    distance = np.hypot(rows - (top + bottom) / 2, columns - (left + right) / 2)
    rim = np.sqrt(_RADIUS**2 - (_RADIUS - (far - near)) ** 2)
    height = np.sqrt(np.abs(_RADIUS**2 - (distance / radius * rim) ** 2))
    return np.where(distance <= radius, _RADIUS - height + near, far).astype(dtype)


def _bounding_box(mask: np.ndarray, fit: str) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of the object in pixels, adjusted as the category asks."""
    rows, columns = np.nonzero(mask >= _OBJECT_THRESHOLD)
    if rows.size == 0:
        raise UserError(
            f"the object mask is empty: none of its {mask.shape[0]} x {mask.shape[1]} pixels "
            f"reaches {_OBJECT_THRESHOLD}; give another mask or another image"
        )
    left, right = float(columns.min()), float(columns.max())
    top, bottom = float(rows.min()), float(rows.max())
    height, width = bottom - top, right - left
    if fit == "forehead":
        top -= height / 6
    elif fit == "neck":
        bottom = mask.shape[0] - 1.0
        left, right = left + width / 12, right - width / 12
    elif fit == "ground":
        bottom += height / 6
    if right <= left or bottom <= top:
        raise UserError(
            f"the object mask is only {width + 1:.0f} pixels wide and {height + 1:.0f} high: "
            "give another mask or another image"
        )
    return left, right, top, bottom
