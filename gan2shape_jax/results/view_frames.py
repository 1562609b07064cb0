"""Pictures of many views of a result, generated one by one: they take the memory of a few, however many there are."""

import functools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, UInt8

from gan2shape_jax.results import pictures, views
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.views import Surfaces

__all__ = ["pictures_in_turn"]

_FEW_PIXELS = 2**23  # of all views: up to this many are drawn once and kept, in 300 MB


def pictures_in_turn(
    result: Result,
    turned: Float[np.ndarray, "n 6"],
    lights: Float[np.ndarray, "n 4"],
    *,
    show: str = "image",
    size: int,
    cut: bool = True,
    window: float = 1.0,
) -> Iterator[UInt8[np.ndarray, "s s 3"]]:
    """Yields what `views.picture` shows of each view under its light, with no more than a few views in memory.

    The colours of `depth` span the range over all views. Many views are drawn twice for that: once just to find it.
    """
    draw = functools.partial(views.draw_in_parts, result, turned, size=size, cut=cut, window=window)
    near = far = None
    if show == "depth":
        if len(turned) * size**2 <= _FEW_PIXELS:
            draw = functools.partial(iter, list(draw()))
        near, far = _depth_range(draw)
    start = 0
    for part in draw():
        end = start + len(part.views)
        yield from views.picture(part, show, light=lights[start:end], near=near, far=far)
        start = end


def _depth_range(draw: Callable[[], Iterator[Surfaces]]) -> tuple[float, float]:
    """Returns `pictures.depth_range` of all views together, keeping no more of them than the object's depths."""
    depths = [part.depth[part.coverage > 0.5] for part in draw()]
    if not any(map(len, depths)):  # no view shows the object
        depths = [part.depth.reshape(-1) for part in draw()]
    seen = np.concatenate(depths)[None]
    return pictures.depth_range(seen, np.ones_like(seen))
