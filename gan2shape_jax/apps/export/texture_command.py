"""`gan2shape-jax export texture`: a saved result with its photo's own texture."""

import argparse
import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.geometry.crop_box import CropBox, centred_box, scaled_box
from gan2shape_jax.io import option_types
from gan2shape_jax.io.image_files import LARGEST, open_upright
from gan2shape_jax.io.writable import require_folder_place
from gan2shape_jax.results.photo_files import difference_from_photo, write_photo_textured
from gan2shape_jax.results.photo_texture import LARGEST_TEXTURE
from gan2shape_jax.results.result import load_result

__all__ = ["run"]

_ALIKE = 0.08  # mean difference on the object, 0 to 1, up to which a crop may be the result's input; others are at 0.15

_EPILOG = """\
examples:
  gan2shape-jax export texture RESULT photo.jpg
  gan2shape-jax export texture RESULT photo.jpg --box 2010 1480 1700 --roll -4 --size 4096
"""


def run(argv: Sequence[str]) -> None:
    """Writes the textures and meshes that the arguments ask for and prints a summary; raises `UserError`."""
    options = _parser().parse_args(argv)
    out = options.out or options.result
    require_folder_place(out)
    result = load_result(options.result)
    picture, _, reduction = open_upright(options.photo, least=1)
    photo = np.asarray(picture)
    height, width = photo.shape[:2]
    x, y, side = options.box or dataclasses.astuple(scaled_box(centred_box(width, height), reduction))[:3]
    box = CropBox(x, y, side, options.roll)  # in pixels of the file
    seen_box = scaled_box(box, 1 / reduction)
    apart = difference_from_photo(result, photo, seen_box)
    if apart > _ALIKE:
        raise UserError(
            f"{options.photo} does not show what {result.name} was made of at x {box.x:g}, y {box.y:g}, side "
            f"{box.side:g}, roll {box.roll_deg:g}: the mean difference is {apart:.2f} of 1; name the photo, and where "
            "its input lies with --box X Y SIDE and --roll DEG"
        )
    if box.side < result.camera.image_size:
        warnings.warn(
            f"{options.photo} has only {box.side:g} pixels for the result: expect no finer texture", stacklevel=2
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}") from error
    texture = write_photo_textured(result, photo, seen_box, out, largest=options.size, mirror=options.mirror)
    seen, mirrored, made_up = texture.shares * 100
    print(
        one_line(
            f"wrote {out / 'textured.glb'} and textured_unlit.glb: {result.name}, texture of {len(texture.albedo)} x "
            f"{len(texture.albedo)}; of the object {seen:.0f}% from the photo, {mirrored:.0f}% mirrored, "
            f"{made_up:.0f}% by the model"
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax export texture",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Writes a saved result with the texture of its photo, at the photo's own resolution.",
    )
    parser.add_argument(
        "result",
        type=option_types.path("RESULT"),
        metavar="RESULT",
        help="the folder of one image's results (it contains result.json)",
    )
    parser.add_argument(
        "photo", type=option_types.path("PHOTO"), metavar="PHOTO", help="the picture that its input was cut out of"
    )
    parser.add_argument(
        "--box",
        type=option_types.number("--box", -LARGEST, 2 * LARGEST, "pixels"),
        nargs=3,
        metavar=("X", "Y", "SIDE"),
        help="where the input lies in the upright photo: centre and side, pixels (default: its largest centred square)",
    )
    parser.add_argument(
        "--roll",
        type=option_types.number("--roll", -360, 360, "degrees"),
        default=0.0,
        metavar="DEG",
        help="how far the input's content is turned clockwise in the photo (default: 0)",
    )
    parser.add_argument(
        "--size",
        type=option_types.whole("--size", 256, LARGEST_TEXTURE, "texels"),
        default=2048,
        help="texels a side, at most; less where the photo has less (default: 2048; 4096 take 4 GB of memory)",
    )
    parser.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take what the photo does not show from the other half, mirrored (default: yes)",
    )
    parser.add_argument(
        "--out", type=option_types.path("--out"), metavar="FOLDER", help="where to write (default: RESULT)"
    )
    return parser
