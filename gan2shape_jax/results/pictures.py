"""From arrays to pictures: value ranges, colours, sizes, and PNG files.

Pictures inside the program are `(..., H, W, 3)` in [-1, 1]; pictures for viewing are uint8 of the
same layout. Depth is in scene units; normals point into the surface (a plane facing the camera has
(0, 0, 1)).
"""

import functools
import pathlib

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, PngImagePlugin

__all__ = [
    "colour_depth",
    "colour_mask",
    "colour_normals",
    "depth_range",
    "enlarge",
    "on_white",
    "to_uint8",
    "write_png",
]

_COMPRESSION = 3  # of PNG
_FADE = 0.15  # how much of their colour the object's surroundings keep in the depth picture


def to_uint8(picture: Float[np.ndarray, "*batch h w 3"]) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Converts pictures in [-1, 1] to 0..255, rounded and clamped."""
    return np.rint(np.clip(np.asarray(picture) / 2 + 0.5, 0, 1) * 255).astype(np.uint8)


def on_white(
    picture: Float[np.ndarray, "*batch h w 3"], coverage: Float[np.ndarray, "*batch h w"]
) -> Float[np.ndarray, "*batch h w 3"]:
    """Composites pictures in [-1, 1] over white, with `coverage` in [0, 1] as their opacity."""
    return 1 + (picture - 1) * coverage[..., None]


def depth_range(depth: Float[np.ndarray, "*batch h w"], mask: Float[np.ndarray, "*batch h w"]) -> tuple[float, float]:
    """Returns the nearest and farthest depth worth a colour: the 1st and 99th percentiles on the object."""
    chosen = depth[mask > 0.5]
    if chosen.size == 0:
        chosen = depth.reshape(-1)
    near, far = (float(value) for value in np.percentile(chosen, (1, 99)))
    return near, max(far, near + 1e-6)


def colour_depth(
    depth: Float[np.ndarray, "*batch h w"],
    near: float,
    far: float,
    *,
    mask: Float[np.ndarray, "*batch h w"] | None = None,
) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Colours depth: bright is near, dark is far; what lies outside `mask` is faded towards white."""
    share = np.clip((far - depth) / (far - near), 0, 1)
    colours = _magma()[np.minimum(share * 256, 255).astype(int)]
    if mask is not None:
        opacity = _FADE + (1 - _FADE) * np.clip(mask, 0, 1)[..., None]
        colours = 1 + (colours - 1) * opacity
    return np.rint(colours * 255).astype(np.uint8)


@functools.cache
def _magma() -> Float[np.ndarray, "256 3"]:
    """Returns the colours of the map "magma", from dark to bright, in [0, 1]."""
    import cv2  # here, because importing it changes the environment

    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_MAGMA)[:, 0, ::-1] / 255


def colour_normals(normals: Float[np.ndarray, "*batch h w 3"]) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Colours unit normals, `n/2 + 1/2`: a surface facing the camera is light blue."""
    return to_uint8(normals)


def colour_mask(mask: Float[np.ndarray, "*batch h w"]) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Shows a mask in [0, 1] as grey."""
    return to_uint8(np.repeat(mask[..., None] * 2 - 1, 3, axis=-1))


def enlarge(picture: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Resizes a square picture smoothly to `size` pixels per side; one of that size is left alone."""
    if picture.shape[0] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))


def write_png(path: pathlib.Path, picture: UInt8[np.ndarray, "h w 3"], text: dict[str, str] | None = None) -> None:
    """Writes an RGB PNG; `text` becomes its text chunks, which image viewers show as properties.

    Compression is lower than zlib's default: it takes about half the time, for files that are up to 15% larger.
    """
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    Image.fromarray(picture).save(path, pnginfo=info, compress_level=_COMPRESSION)
