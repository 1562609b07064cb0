"""Which angles and lights the pictures of a result show.

Turning: nine yaws, then five pitches, from the canonical view (GAN2Shape, appendix; the reference's
`save_results`). Relighting: five directions from side to side, level and from above, at two
strengths. Angles are in degrees where a name says so; lights are ambient, diffuse, dx, dy.
"""

import numpy as np
from jaxtyping import Float

from gan2shape_jax.io.categories import category_of
from gan2shape_jax.results import views

__all__ = [
    "AMBIENT_SHARE",
    "LIGHT_ROWS",
    "PITCHES_DEG",
    "light_circle",
    "max_yaw_deg",
    "relight_rows",
    "turn_views",
    "yaws_deg",
]

PITCHES_DEG = np.linspace(-20, 20, 5)
_DXS = (-1.5, -0.7, 0.0, 0.7, 1.5)
LIGHT_ROWS = tuple((strength, dy) for strength in (0.3, 0.6) for dy in (0.0, 0.6))
AMBIENT_SHARE = 0.6  # ambient loses this much of what diffuse gains


def max_yaw_deg(category: str) -> float:
    """Returns how far the pictures turn to either side: objects with deep sides less far."""
    return category_of(category).max_yaw_deg


def yaws_deg(category: str, count: int = 9) -> Float[np.ndarray, "n"]:
    """Returns evenly spaced yaws from side to side."""
    return np.linspace(-max_yaw_deg(category), max_yaw_deg(category), count)


def turn_views(category: str) -> Float[np.ndarray, "14 6"]:
    """Returns the views of the nine yaws, then of the five pitches."""
    return np.concatenate([views.sweep_views(yaw_deg=yaws_deg(category)), views.sweep_views(pitch_deg=PITCHES_DEG)])


def relight_rows(light: Float[np.ndarray, "4"]) -> Float[np.ndarray, "4 5 4"]:
    """Returns lights around an object lit by `light`: one row per strength and height, five directions each."""
    rows = [[_stronger(light, strength, dx, dy) for dx in _DXS] for strength, dy in LIGHT_ROWS]
    return np.array(rows, np.float32)


def light_circle(light: Float[np.ndarray, "4"], count: int) -> Float[np.ndarray, "n 4"]:
    """Returns a strong light that travels once round the object's front."""
    angles = 2 * np.pi * np.arange(count) / count
    return np.array([_stronger(light, 0.6, 1.3 * np.sin(a), 0.8 * np.cos(a)) for a in angles], np.float32)


def _stronger(light: Float[np.ndarray, "4"], strength: float, dx: float, dy: float) -> Float[np.ndarray, "4"]:
    return np.array([light[0] - AMBIENT_SHARE * strength, light[1] + strength, dx, dy], np.float32)
