"""Reading picture files of any colour mode as upright 8-bit squares, and refusing the rest.

Pillow images here are `RGB` or `L`, values 0 to 255, already turned as their EXIF orientation says.
Sides are in pixels.
"""

import pathlib
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gan2shape_jax.errors import UserError

__all__ = [
    "LARGEST",
    "crop_and_resize",
    "has_alpha",
    "open_alpha",
    "open_gray",
    "open_rgb",
    "picture_size",
    "warn_of_transparency",
]

LARGEST = 8192  # pixels a side: more is a scan or a mistake, and takes 200 MB and more to decode


def open_rgb(
    path: str | pathlib.Path, *, least: int = 16, expected: int | None = None, cut: bool = False
) -> Image.Image:
    """Returns a picture file as an upright RGB square.

    Grey, palette, 16-bit and CMYK pictures are converted; transparent ones are laid over white (see
    `warn_of_transparency`).

    Args:
        path: the file.
        least: smallest side accepted, pixels.
        expected: a smaller side than this is accepted with a warning that it will be blown up, pixels.
        cut: whether a picture that is not square is cut to its largest centred square, or refused.

    Raises:
        UserError: the file is missing, truncated, animated, not square, too small, too large or no picture.
    """
    path = pathlib.Path(path)
    picture = _square(_decode(path), path, cut=cut)
    width = picture.size[0]
    if width < least:
        raise UserError(f"{path} is only {width} pixels wide: at least {least} are needed")
    if expected is not None and width < expected:
        warnings.warn(
            f"{path} is {width} pixels wide and is enlarged to {expected}: expect a soft result",
            stacklevel=2,
        )
    return _to_rgb(picture, path)


def open_gray(path: str | pathlib.Path, *, cut: bool = False) -> Image.Image:
    """Returns a picture file as an upright 8-bit grey square; arguments and errors as of `open_rgb`."""
    path = pathlib.Path(path)
    picture = _square(_decode(path), path, cut=cut)
    if picture.mode == "1":
        return picture.convert("L")
    if picture.mode.startswith(("I", "F")):
        return _from_deep(picture, path)
    return picture if picture.mode == "L" else _to_rgb(picture, path).convert("L")


def has_alpha(path: str | pathlib.Path) -> bool:
    """Whether a picture file's header announces transparency; False where it cannot be read."""
    try:
        with Image.open(path) as picture:
            return _transparent(picture)
    except Exception:  # decoders of damaged files raise OSError, SyntaxError, struct.error and more
        return False


def open_alpha(path: str | pathlib.Path, *, cut: bool = False) -> Image.Image | None:
    """Returns a picture file's alpha channel as an upright 8-bit grey square, or None where there is no usable one.

    A usable channel tells an object from its background: some pixels are more than half opaque, and some less.
    Arguments and errors are those of `open_rgb`.
    """
    path = pathlib.Path(path)
    picture = _decode(path)
    if not _transparent(picture) or picture.mode.startswith(("I", "F")):
        return None
    alpha = _square(picture, path, cut=cut).convert("RGBA").getchannel("A")
    values = np.asarray(alpha)
    return alpha if values.min() < 128 <= values.max() else None


def warn_of_transparency(path: str | pathlib.Path) -> None:
    """Warns where a picture file is partly transparent, so that `open_rgb` has laid it over white."""
    path = pathlib.Path(path)
    if not has_alpha(path):
        return
    picture = _decode(path)
    if np.asarray(picture.convert("RGBA").getchannel("A")).min() < 255:
        warnings.warn(f"{path} is partly transparent and was laid over white", stacklevel=2)


def picture_size(path: str | pathlib.Path) -> tuple[int, int]:
    """Returns width and height of an upright picture file, pixels; raises as `open_rgb` for what is no picture."""
    return _decode(pathlib.Path(path)).size


def crop_and_resize(picture: Image.Image, crop: int | None, size: int, *, by_area: bool = False) -> Image.Image:
    """Returns the centred square of side `crop`, resized with antialiasing or by area means.

    Margins are rounded as torchvision's CenterCrop does; a crop larger than the picture takes all of it.

    Args:
        picture: square.
        crop: side that is cut out, pixels, or None for all of it.
        size: side that is returned, pixels.
        by_area: whether pixels are averages of areas, as masks want it.
    """
    if crop is not None and crop < picture.size[0]:
        left = round((picture.size[0] - crop) / 2)
        picture = picture.crop((left, left, left + crop, left + crop))
    if picture.size == (size, size):
        return picture
    return picture.resize((size, size), Image.Resampling.BOX if by_area else Image.Resampling.BILINEAR)


def _square(picture: Image.Image, path: pathlib.Path, *, cut: bool) -> Image.Image:
    """Returns a square picture as it is, and another cut to its largest centred square, or refused."""
    width, height = picture.size
    if width == height:
        return picture
    if not cut:
        raise UserError(
            f"{path} is {width} x {height} pixels and has to be square: cut it to a square around the object first, or "
            "set config.data.crop to the side of the centred square that shall be cut out"
        )
    side = min(width, height)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return picture.crop((left, top, left + side, top + side))


def _decode(path: pathlib.Path) -> Image.Image:
    """Decodes a picture file; a decompression bomb is refused by its header, before decoding."""
    if not path.is_file():
        raise UserError(f"image {path} does not exist")
    if path.stat().st_size == 0:
        raise UserError(f"image {path} is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                _check_header(picture, path)
                picture.load()
                return ImageOps.exif_transpose(picture)
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"image {path} is too large: at most {LARGEST} pixels a side") from None
    except UnidentifiedImageError:
        raise UserError(f"{path} is not an image that Pillow can read") from None
    except Exception as error:  # decoders of damaged files raise OSError, SyntaxError, struct.error and more
        raise UserError(f"image {path} is damaged or truncated: {error}") from error


def _check_header(picture: Image.Image, path: pathlib.Path) -> None:
    if max(picture.size) > LARGEST:
        size = f"{picture.size[0]} x {picture.size[1]}"
        raise UserError(f"image {path} is {size} pixels: at most {LARGEST} a side, make it smaller first")
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise UserError(f"image {path} is animated ({frames} frames): save the frame that is meant")


def _to_rgb(picture: Image.Image, path: pathlib.Path) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith(("I", "F")):
        return _from_deep(picture, path).convert("RGB")
    if _transparent(picture):
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")


def _transparent(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info


def _from_deep(picture: Image.Image, path: pathlib.Path) -> Image.Image:
    """Scales a 16-bit picture to 8 bits; Pillow's own conversion would clip it to white."""
    values = np.asarray(picture)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise UserError(f"{path} has {picture.mode} pixels outside 0 to 65535: save it with 8 or 16 bits")
    if values.dtype.kind == "f":
        raise UserError(f"{path} holds floating-point pixels: save it with 8 or 16 bits")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))
