"""From arrays to pictures: value ranges, colours, sizes, PNG files, contact sheets of tiles, GIF and MP4.

Pictures inside the program are `(..., H, W, 3)` in [-1, 1]; pictures for viewing are uint8 of the same layout. Depth is
in scene units; normals point into the surface (a plane facing the camera has (0, 0, 1)). A sheet is a PIL image on
white; its sizes are in pixels.
"""

import errno
import fractions
import io
import os
import pathlib
import subprocess
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt, UInt8
from PIL import Image, ImageDraw, PngImagePlugin

from gan2shape_jax.errors import UserError, one_line

Maps = Float[np.ndarray, "*batch h w"]
MOVING = (".gif", ".mp4")

_CRF = 10  # libx264's constant rate factor: from 0, lossless, to 51
_FADE = 0.15  # how much of their colour the object's surroundings keep in the depth picture
_INK = (30, 30, 30)
_QUIET = (110, 110, 110)
_GAP, _MARGIN = 8, 24  # between the tiles of a sheet, and around everything
_HEADING, _CAPTION, _LINE, _BELOW = 30, 20, 24, 12  # heights of text, and of the space below a row of tiles


def to_uint8(picture: Float[np.ndarray, "*batch h w 3"]) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Converts pictures in [-1, 1], or unit normals as n/2 + 1/2, to 0..255, rounded and clamped."""
    return np.rint(np.clip(np.asarray(picture) / 2 + 0.5, 0, 1) * 255).astype(np.uint8)


def on_white(picture: Float[np.ndarray, "*batch h w 3"], coverage: Maps) -> Float[np.ndarray, "*batch h w 3"]:
    """Composites pictures in [-1, 1] over white, with `coverage` in [0, 1] as their opacity."""
    return 1 + (picture - 1) * coverage[..., None]


def depth_range(depth: Maps, mask: Maps) -> tuple[float, float]:
    """Returns the nearest and farthest depth worth a colour: the 1st and 99th percentiles on the object."""
    chosen = depth[mask > 0.5]
    near, far = (float(value) for value in np.percentile(chosen if chosen.size else depth, (1, 99)))
    return near, max(far, near + 1e-6)


def colour_depth(
    depth: Maps, near: float, far: float, *, mask: Maps | None = None
) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Colours depth: bright is near, dark is far; what lies outside `mask` is faded towards white."""
    import cv2  # here, because importing it changes the environment

    magma = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_MAGMA)[:, 0, ::-1] / 255
    share = np.clip((far - depth) / (far - near), 0, 1)
    colours = magma[np.minimum(share * 256, 255).astype(int)]
    if mask is not None:
        opacity = _FADE + (1 - _FADE) * np.clip(mask, 0, 1)[..., None]
        colours = 1 + (colours - 1) * opacity
    return np.rint(colours * 255).astype(np.uint8)


def colour_mask(mask: Maps) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Shows a mask in [0, 1] as grey."""
    return to_uint8(np.repeat(mask[..., None] * 2 - 1, 3, axis=-1))


def enlarge(picture: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Resizes a square picture smoothly to `size` pixels per side; one of that size is left alone."""
    if picture.shape[0] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))


def write_png(path: pathlib.Path, picture: UInt8[np.ndarray, "h w 3"], description: str = "") -> None:
    """Writes an RGB PNG; image viewers show the description among its properties."""
    info = PngImagePlugin.PngInfo()
    if description:
        info.add_text("Description", description)
    # A quarter of the time of zlib's default; photos' textures become a tenth larger.
    Image.fromarray(picture).save(path, pnginfo=info, compress_type=zlib.Z_RLE)


def encoded(picture: UInt[np.ndarray, "h w *colours"], kind: str, **options: Any) -> bytes:
    """Returns a picture as the content of a file of this kind, with Pillow's options."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, kind, **options)
    return content.getvalue()


class Tile(NamedTuple):
    """A picture with a caption beneath it."""

    picture: np.ndarray
    caption: str = ""


def strip(rows: Iterable[Iterable[np.ndarray]], *, gap: int = 2) -> UInt8[np.ndarray, "h w 3"]:
    """Returns rows of equally sized squares on white, `gap` pixels apart, short rows centred, without captions."""
    drawn = [list(row) for row in rows]
    side, columns = len(drawn[0][0]), max(map(len, drawn))
    step = side + gap
    canvas = np.full((len(drawn) * step - gap, columns * step - gap, 3), 255, np.uint8)
    for i, row in enumerate(drawn):
        start = (columns - len(row)) * step // 2
        for j, picture in enumerate(row):
            left = start + j * step
            canvas[i * step : i * step + side, left : left + side] = picture
    return canvas


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Tile]]], *, title: str, subtitle: str = "", footer: Sequence[str] = ()
) -> Image.Image:
    """Draws a titled sheet: each row has a heading above its tiles, each tile its caption beneath."""
    side = rows[0][1][0].picture.shape[0]
    columns = max(len(tiles) for _, tiles in rows)
    captioned = [any(tile.caption for tile in tiles) for _, tiles in rows]
    size = contact_sheet_size(side, columns, captioned, subtitle=bool(subtitle), footer=len(footer))
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    pen.text((_MARGIN, _MARGIN), one_line(title)[:80], fill=_INK, font_size=28)
    pen.text((_MARGIN, _MARGIN + 38), subtitle, fill=_QUIET, font_size=16)
    y = _MARGIN + 40 + 26 * bool(subtitle)
    for (name, tiles), has in zip(rows, captioned, strict=True):
        pen.text((_MARGIN, y + 6), name, fill=_INK, font_size=17)
        y += _HEADING
        for j, tile in enumerate(tiles):
            x = _MARGIN + j * (side + _GAP)
            canvas.paste(Image.fromarray(tile.picture), (x, y))
            pen.text((x + side / 2, y + side + 3), tile.caption, fill=_QUIET, font_size=14, anchor="ma")
        y += side + _CAPTION * has + _BELOW
    for number, text in enumerate(footer):
        pen.text((_MARGIN, y + number * _LINE), text, fill=_INK, font_size=16)
    return canvas


def contact_sheet_size(
    side: int, columns: int, captioned: Sequence[bool], *, subtitle: bool = False, footer: int = 0
) -> tuple[int, int]:
    """Returns width and height of a `contact_sheet` of tiles of `side` pixels, `columns` in the longest row.

    `captioned` says for each row whether its tiles have captions; `footer` is the number of lines.
    """
    body = sum(_HEADING + side + _CAPTION * has + _BELOW for has in captioned)
    width = 2 * _MARGIN + columns * side + (columns - 1) * _GAP
    return width, _MARGIN + 40 + 26 * subtitle + body + footer * _LINE + _MARGIN


def write_animation(path: pathlib.Path, frames: Iterable[np.ndarray], *, fps: float, swing: bool = False) -> None:
    """Writes an animation in the format of its extension, one of `MOVING`; without one, both, as PATH.gif and PATH.mp4.

    Frames are uint8 (h, w, 3) of one size and may be generated one by one: they wait in a file without a name. With
    `swing` the animation runs back the same way; it then neither jumps nor shows a frame twice in a row.

    Raises:
      UserError: ffmpeg gave up.
      OSError: the file system refuses.
    """
    paths = [path] if path.suffix else [path.with_suffix(extension) for extension in MOVING]
    with tempfile.TemporaryFile(dir=path.parent, prefix=".frames.", buffering=0) as file:
        for frame in frames:
            file.write(frame.tobytes())
            shape = frame.shape
        for frame in np.memmap(file, np.uint8, "r").reshape(-1, *shape)[-2:0:-1] if swing else ():
            file.write(frame.tobytes())
        for path in paths:
            if path.suffix.lower() == ".gif":
                _write_gif(path, list(np.memmap(file, np.uint8, "r").reshape(-1, *shape)), fps)
            else:
                _write_mp4(path, file, shape[0], shape[1], fps)


def _write_gif(path: pathlib.Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Writes an endless GIF with one palette for all frames (one palette per frame would flicker)."""
    sample = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 6)]))
    palette = sample.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    paletted = (
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames
    )
    # GIF durations are in hundredths of a second; most viewers slow down anything below two.
    duration = max(20, 10 * round(100 / fps))
    next(paletted).save(path, save_all=True, append_images=paletted, duration=duration, loop=0)


def _write_mp4(path: pathlib.Path, frames: IO[bytes], height: int, width: int, fps: float) -> None:
    """Writes an H.264 video that players and browsers accept: even sides, 4:2:0 colours.

    ffmpeg is started here, not by `imageio_ffmpeg`, since only its exit status says whether it wrote the whole file.
    """
    import imageio_ffmpeg  # here, because only videos need it

    rate = str(fractions.Fraction(fps).limit_denominator())
    source = f"-f rawvideo -s {width}x{height} -pix_fmt rgb24 -r {rate} -i -"
    odd = f"-vf pad=ceil(iw/2)*2:ceil(ih/2)*2,fillborders=right={width % 2}:bottom={height % 2}:mode=smear"
    even = odd if width % 2 or height % 2 else ""
    target = f"-an -vcodec libx264 -pix_fmt yuv420p -crf {_CRF} -movflags +faststart -v warning"
    command = f"-y {source} {even} {target}".split()
    frames.seek(0)
    # In a session of its own, so that Ctrl-C reaches only this program, which then stops ffmpeg.
    ffmpeg = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), *command, str(path.absolute())],
        stdin=frames,
        capture_output=True,
        start_new_session=True,
    )
    if ffmpeg.returncode:
        said = ffmpeg.stderr.decode(errors="replace")
        if os.strerror(errno.ENOSPC) in said:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reason = said.strip().rpartition("\n")[2].strip() or f"exit status {ffmpeg.returncode}"
        raise UserError(f"{path} could not be written: ffmpeg failed ({reason})")
