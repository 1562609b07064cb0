"""What a run's page shows in a browser, asked of the page itself."""

import numpy as np

from benchmarks.pages.chromium import Chromium

__all__ = ["IS_SHOWN", "difference", "middle", "snapshot", "state"]

IS_SHOWN = "document.body.dataset.shown === '{}'"  # whether the image of that number is


def snapshot(page: Chromium, side: int = 96, samples: int = 1) -> np.ndarray:
    """Returns the photo's frame as the model fills it now, RGBA in 0..255 (side, side, 4)."""
    values = page.evaluate(f"Array.from(gan2shape.viewer().snapshot({side}, {samples}))")
    return np.array(values, np.float32).reshape(side, side, 4)


def state(page: Chromium) -> dict:
    """Returns camera, light and mode of the viewer, once it has drawn."""
    page.frames()
    return page.evaluate("gan2shape.viewer().state()")


def middle(page: Chromium, selector: str = "#canvas") -> tuple[float, float]:
    """Scrolls to an element and returns its middle in the window."""
    box = page.box(selector)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the mean absolute difference."""
    return float(np.abs(one - other).mean())
