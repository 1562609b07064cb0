"""Object masks without a parser: GrabCut, initialized from where the object usually is.

Images are `(s, s, 3)` in [-1, 1], masks `(s, s)` in [0, 1]. Source: Rother et al., "GrabCut", SIGGRAPH 2004, in
OpenCV's implementation.
"""

import numpy as np
from etils import epy
from jaxtyping import Float

with epy.lazy_imports():  # importing it changes the environment
    import cv2

_SIDE = 128  # pixels that GrabCut works on: outlines in smaller pictures come out finer than their pixels
_ITERATIONS = 3
# Share of pictures with the object at a pixel, above which it is there certainly, probably or possibly; else never.
_CERTAIN, _PROBABLE, _POSSIBLE = 0.97, 0.5, 0.02
# A mask that covers nearly everything or nearly nothing has missed the object.
_LEAST, _MOST = 0.05, 0.97
_ROUNDS = 5


def middle(side: int) -> Float[np.ndarray, "s s"]:
    """Returns the likelihood of an object at each pixel if nothing is known of a picture: highest in the middle."""
    across = np.linspace(-1, 1, side)
    x, y = np.meshgrid(across, across)
    return np.clip(1.5 - (x / 0.8) ** 2 - (y / 0.95) ** 2, 0, 0.96).astype(np.float32)


def estimate_mean_mask(images: Float[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "s s"]:
    """Returns how often an object covers each pixel in pictures of one kind, estimated from the pictures alone.

    Starts from the middle, finds each picture's object, and repeats from the mean of their masks.
    """
    mean = middle(images.shape[1])
    for _ in range(_ROUNDS):
        mean = np.mean(np.stack([grabcut_mask(image, mean) for image in images]), axis=0)
    return mean


def grabcut_mask(image: Float[np.ndarray, "s s 3"], mean: Float[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """Returns the object mask of an image: the largest piece that GrabCut finds, fractional at its outline.

    `mean` is how often an object covers each pixel, in [0, 1]; thresholded at one half it is the result if GrabCut
    takes nearly all or nothing for the object. A function of the arguments alone.
    """
    side = image.shape[0]
    enlarged = _enlarged(np.clip((np.asarray(image, np.float32) + 1) * 127.5, 0, 255)).round().astype(np.uint8)
    where = _enlarged(np.asarray(mean, np.float32))
    labels = np.select(
        [where > _CERTAIN, where > _PROBABLE, where > _POSSIBLE], [cv2.GC_FGD, cv2.GC_PR_FGD, cv2.GC_PR_BGD], cv2.GC_BGD
    ).astype(np.uint8)
    fallback = (np.asarray(mean) > _PROBABLE).astype(np.float32)
    if not np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).any() or not np.isin(labels, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():
        return fallback
    cv2.setRNGSeed(0)
    models, rectangle = (np.zeros((1, 65)), np.zeros((1, 65))), (0, 0, 1, 1)  # which is ignored
    cut, _, _ = cv2.grabCut(enlarged, labels, rectangle, *models, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
    foreground = np.isin(cut, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    count, pieces, facts, _ = cv2.connectedComponentsWithStats(foreground)
    largest = pieces == 1 + np.argmax(facts[1:, cv2.CC_STAT_AREA]) if count > 1 else foreground
    mask = cv2.resize(largest.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return mask if _LEAST < mask.mean() < _MOST else fallback


def _enlarged(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)
