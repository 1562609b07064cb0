"""What the page needs from one result, small and prepared in advance: `page.jsonl` in the result's folder.

Three lines of JSON, each usable without those below it:

    card     {"format": 1, "thumb": JPEG}   photo and shape side by side, for the gallery
    model    geometry, colours, view and light: what the interactive view is built from
    extras   further pictures and maps, any of which may be absent; for small images, lossless `albedo` and `input`

Pictures are base64 in `{"kind": "jpeg" | "png", "data": ...}`. Maps are base64 of zlib streams: `depth` of 16-bit steps
between `depth_low` and `depth_high` (scene units), row by row, each as its difference from what the left and upper
neighbours predict, modulo 65536, zigzag coded, all high bytes before all low ones; `inside` of bits, the pixels whose
triangles the mesh keeps; `input_mask` of bytes, 0 to 255; `spread` of bytes, 255 being `spread_high` scene units.
"""

import base64
import io
import json
import zlib
from typing import Any

import numpy as np
from PIL import Image

from gan2shape_jax.results import pictures
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.surface import lit, normals, object_mask, shading

__all__ = ["FILE", "fragment_of", "fragment_text"]

FILE = "page.jsonl"

_THUMB = 80  # pixels per side of each half
_LOSSLESS = 128  # pixels per side, up to which pictures are enlarged so much that JPEG artefacts show
_CLAY_LIGHT = np.array([0.2, 0.8, 0.3, 0.5], np.float32)  # ambient, diffuse, dx, dy
_CLAY = 0.5  # albedo in [-1, 1]


def fragment_text(result: Result, *, full: bool = False) -> str:
    """Returns the contents of `page.jsonl`; arguments as for `fragment_of`."""
    lines = fragment_of(result, full=full)
    return "".join(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n" for line in lines)


def fragment_of(result: Result, *, full: bool = False) -> list[dict[str, Any]]:
    """Returns card, model and extras of a result as JSON values; with `full`, its mesh keeps the whole sheet."""
    inside = np.ones(result.mask.shape, bool) if full else object_mask(result)
    shade = shading(normals(result.depth, result.camera), _CLAY_LIGHT)
    clay = np.clip(lit(np.full_like(result.albedo, _CLAY), shade), -1, 1)
    shown = (result.image, pictures.on_white(clay, inside.astype(np.float32)))
    small = [np.asarray(_image(one).resize((_THUMB, _THUMB), Image.Resampling.LANCZOS)) for one in shown]
    thumb = _jpeg(Image.fromarray(np.concatenate(small, axis=1)), quality=80)
    return [{"format": 1, "thumb": thumb["data"]}, _model(result, inside), _extras(result)]


def _model(result: Result, inside: np.ndarray) -> dict[str, Any]:
    low, high = float(result.depth.min()), float(result.depth.max())
    near, far = pictures.depth_range(result.depth, result.mask)
    camera = result.camera
    return {
        "size": camera.image_size,
        "focal": _rounded(camera.focal_length),
        "rot_center_depth": camera.rot_center_depth,
        "view": [_rounded(value) for value in result.view.tolist()],
        "light": [_rounded(value) for value in result.light.tolist()],
        "depth_low": low,
        "depth_high": high,
        "depth_near": _rounded(near),
        "depth_far": _rounded(far),
        "depth": _packed(_coded_depth(result.depth, low, high)),
        "inside": _packed(np.packbits(inside)),
        "input_mask": _packed(_bytes(result.input_mask, 1.0)),
        "albedo": _jpeg(_image(result.albedo)),
        "input": _jpeg(_image(result.image)),
    }


def _extras(result: Result) -> dict[str, Any]:
    extras: dict[str, Any] = {"reconstruction": _jpeg(_image(result.reconstruction))}
    if result.camera.image_size <= _LOSSLESS:
        extras |= {
            name: _encoded(_image(picture), "PNG")
            for name, picture in (("albedo", result.albedo), ("input", result.image))
        }
    if result.gan_image is not None:
        extras["gan_image"] = _jpeg(_image(result.gan_image))
    if (spread := result.depth_spread) is not None:
        high = max(float(np.max(spread)), 1e-9)
        extras |= {"spread": _packed(_bytes(spread, high)), "spread_high": _rounded(high)}
    return extras


def _coded_depth(depth: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns depth (S, S) as the bytes that the module's docstring describes."""
    steps = np.rint((depth.astype(np.float64) - low) / max(high - low, 1e-12) * 65535).astype(np.int64)
    change = np.diff(np.diff(steps, axis=0, prepend=0), axis=1, prepend=0).astype(np.uint16).astype(np.int16)
    zigzag = ((change << 1) ^ (change >> 15)).astype(">u2").reshape(-1, 1).view(np.uint8)
    return np.ascontiguousarray(zigzag.T)


def _bytes(values: np.ndarray, high: float) -> np.ndarray:
    return np.rint(np.clip(values / high, 0, 1) * 255).astype(np.uint8)


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode("ascii")


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(pictures.to_uint8(picture))


def _jpeg(picture: Image.Image, quality: int = 92) -> dict[str, str]:
    # Colour at full resolution: these pictures are small, and at their size half of it shows.
    return _encoded(picture, "JPEG", quality=quality, subsampling=0)


def _encoded(picture: Image.Image, kind: str, **options: int) -> dict[str, str]:
    buffer = io.BytesIO()
    picture.save(buffer, kind, optimize=True, **options)
    return {"kind": kind.lower(), "data": base64.b64encode(buffer.getvalue()).decode("ascii")}


def _rounded(value: float) -> float:
    """Returns a number with the digits that float32 has, so that JSON stays short."""
    return float(f"{float(value):.9g}")
