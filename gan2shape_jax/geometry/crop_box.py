"""A square crop's place in a photo: sampling it, and mapping its points to the photo's.

Coordinates are continuous, (x, y) with x right and y down, and the centre of the first pixel is (0.5, 0.5), in photos
and crops alike; `camera` puts pixel centres at integers, so its (j, i) is (j + 0.5, i + 0.5) here. Everything is on the
host: photos are NumPy arrays, turned upright according to their EXIF orientation.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Shaped

from gan2shape_jax import platforms
from gan2shape_jax.errors import ArgumentError

_BAND = 1 << 24  # samples drawn at a time: bounds memory whatever the photo's size
_MOST_SIDE = 16  # largest side of a crop, in multiples of the photo's longer side
_LARGEST = 32766  # pixels per side: OpenCV's own limit


@dataclasses.dataclass(frozen=True)
class CropBox:
    """A square in a photo, possibly rotated and possibly extending beyond it; lengths in the photo's pixels.

    An `ArgumentError` if a number is not finite, or `side` is not above 0.
    """

    x: float  # of its centre
    y: float
    side: float
    roll_deg: float = 0.0  # clockwise rotation of its content in the photo; sampling the crop undoes it

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            try:
                object.__setattr__(self, name, float(value))
            except (TypeError, ValueError):
                object.__setattr__(self, name, math.nan)
            if not math.isfinite(getattr(self, name)):
                raise ArgumentError(f"{name} of a crop is {value!r}: it must be a finite number")
        if self.side <= 0:
            raise ArgumentError(f"side of a crop is {self.side:g} pixels: it must be above 0")


def centred_box(width: int, height: int) -> CropBox:
    """Returns the largest centred square of a photo of the given size in pixels."""
    return CropBox(x=width / 2, y=height / 2, side=min(width, height))


def scaled_box(box: CropBox, factor: float) -> CropBox:
    """Returns where a crop lies once its photo has been scaled by `factor`."""
    return CropBox(x=box.x * factor, y=box.y * factor, side=box.side * factor, roll_deg=box.roll_deg)


@platforms.arrays
def crop_to_photo(points: Float[np.ndarray, "*n 2"], box: CropBox, size: int) -> Float[np.ndarray, "*n 2"]:
    """Maps points (x, y) of a crop of `size` x `size` pixels to the photo, in float64.

    Examples:
      >>> crop_to_photo(np.array([[0.0, 0], [32, 32], [64, 64]]), CropBox(x=100, y=80, side=40), 64).tolist()
      [[80.0, 60.0], [100.0, 80.0], [120.0, 100.0]]
    """
    angle = math.radians(box.roll_deg)  # clockwise, as y points down
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    offset = (np.asarray(points, np.float64) / size - 0.5) * box.side
    return np.asarray(offset @ turn.T + (box.x, box.y))


@platforms.arrays
def sample_crop(
    photo: Shaped[np.ndarray, "height width *channels"], box: CropBox, size: int
) -> Shaped[np.ndarray, "size size *channels"]:
    """Samples a crop of `size` x `size` pixels with antialiasing; beyond the photo its outermost pixels are repeated.

    A pixel of the crop is the mean of bilinear samples that are at most one photo pixel apart. A crop whose pixels
    coincide with the photo's has exactly their values. The photo is uint8, or floating point of any range; the crop is
    of its type.

    Raises:
      ArgumentError: as of `require_crop`.
    """
    import cv2  # imported here, because importing it changes the environment

    require_crop(photo, box)
    picture = photo if photo.dtype == np.uint8 else photo.astype(np.float32)
    samples = max(1, math.ceil(box.side / size - 1e-9))
    width = size * samples
    first, right, below = crop_to_photo(np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]]) / samples, box, size) - 0.5
    step = np.stack([right - first, below - first], axis=-1)
    rows = max(1, _BAND // (width * samples))
    bands = []
    for start in range(0, size, rows):
        count = min(rows, size - start)
        place = np.column_stack([step, first + step[:, 1] * (start * samples)])
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        drawn = cv2.warpAffine(picture, place, (width, count * samples), flags=how, borderMode=cv2.BORDER_REPLICATE)
        bands.append(cv2.resize(drawn, (size, count), interpolation=cv2.INTER_AREA) if samples > 1 else drawn)
    return np.concatenate(bands).reshape(size, size, *photo.shape[2:]).astype(photo.dtype)


@platforms.arrays
def require_crop(photo: Shaped[np.ndarray, "height width *channels"], box: CropBox) -> None:
    """Raises an `ArgumentError` if a crop cannot be sampled: it is far too large or beside the photo, or that is."""
    height, width = photo.shape[:2]
    if max(height, width) > _LARGEST:
        raise ArgumentError(f"photo has {width} x {height} pixels: at most {_LARGEST} a side are supported")
    if box.side > _MOST_SIDE * max(height, width):
        raise ArgumentError(f"the crop's side is {box.side:g} pixels; the photo has {width} x {height}")
    corners = crop_to_photo(np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]]), box, 1)
    if (corners.max(0) <= 0).any() or (corners.min(0) >= (width, height)).any():
        raise ArgumentError(f"the crop at ({box.x:g}, {box.y:g}) lies outside the photo of {width} x {height} pixels")
