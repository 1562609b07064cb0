"""`gan2shape-jax export texture`: a saved result with its photo's own texture.

    textured.glb            lit by the viewer: albedo, no light baked in
    mesh.glb, mesh.obj      as the photo shows it, the same in every viewer
    texture.png             the albedo; texture_unlit.png as the photo shows it, over the canonical picture
    texture_sources.png     where colours come from: grey the photo, blue its mirror image, orange the model
    photo_crop.jpg          the square of the photo that the result shows
    photo.json              its place in the photo

There are two kinds of mesh, since of the common viewers only model-viewer lets users choose between variants in one
(KHR_materials_variants) without programming.
"""

import argparse
import dataclasses
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np

from gan2shape_jax.apps import option_types
from gan2shape_jax.config.load import read_config
from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.geometry.crop_box import CropBox, centred_box, sample_crop, scaled_box
from gan2shape_jax.io.files import read_object, sha256
from gan2shape_jax.io.image_files import LARGEST, open_upright
from gan2shape_jax.io.output_folders import RESULT, require_output_folder
from gan2shape_jax.photos.texture import LARGEST_TEXTURE, photo_texture, photo_textured
from gan2shape_jax.results.outputs import add_textured
from gan2shape_jax.results.reconstruction import load

_ALIKE = 0.08  # mean difference on the object, 0 to 1, up to which a crop may be the result's input; others are at 0.15

_EPILOG = """\
examples:
  gan2shape-jax export texture RESULT              of `gan2shape-jax photo`, which records photo and crop
  gan2shape-jax export texture RESULT photo.jpg
  gan2shape-jax export texture RESULT photo.jpg --box 2010 1480 1700 --roll -4 --size 4096
"""


def export_texture(argv: Sequence[str]) -> None:
    """Writes the textures and meshes that the arguments ask for and prints a summary; raises `UserError`."""
    options = _parser().parse_args(argv)
    out = options.out or options.result
    require_output_folder(out, RESULT)
    result, path, recorded = load(options.result), options.photo, None
    if path is None:
        if (noted := noted_photo(options.result)) is None or options.box:
            raise UserError(f"name the photo of {result.name}, and the place of its input with --box X Y SIDE")
        path, recorded = noted
    picture, _, reduction, _ = open_upright(path, least=1)
    photo = np.asarray(picture)
    height, width = photo.shape[:2]
    x, y, side = options.box or dataclasses.astuple(scaled_box(centred_box(width, height), reduction))[:3]
    box = recorded or CropBox(x, y, side, options.roll)  # in pixels of the file
    seen_box = scaled_box(box, 1 / reduction)
    crop = sample_crop(photo, seen_box, result.camera.image_size).astype(np.float32) / 255
    weight = result.input_mask if result.input_mask.any() else np.ones_like(result.input_mask)
    apart = np.average(np.abs(crop - (result.signed_image / 2 + 0.5)).mean(axis=-1), weights=weight)
    if apart > _ALIKE:
        raise UserError(
            f"{path} does not show the input of {result.name} at x {box.x:g}, y {box.y:g}, side "
            f"{box.side:g}, roll {box.roll_deg:g}: the mean difference is {apart:.2f} of 1; name the photo, and where "
            "its input lies with --box X Y SIDE and --roll DEG"
        )
    if box.side < result.camera.image_size:
        warnings.warn(f"{path} has only {box.side:g} pixels for the result: expect no finer texture", stacklevel=2)
    mirror = _symmetric(options.result) if options.mirror is None else options.mirror
    out.mkdir(parents=True, exist_ok=True)
    texture = photo_texture(result, photo, seen_box, largest=options.size, mirror=mirror)
    add_textured(out, *photo_textured(result, photo, texture, seen_box))
    share_seen, mirrored, made_up = texture.shares * 100
    files = f"{out / 'mesh.glb'}, mesh.obj and textured.glb"
    size = f"{len(texture.albedo)} x {len(texture.albedo)}"
    shares = f"{share_seen:.0f}% from the photo, {mirrored:.0f}% mirrored, {made_up:.0f}% by the model"
    print(one_line(f"wrote {files}: {result.name}, texture of {size}; of the object {shares}"))


def _symmetric(result: pathlib.Path) -> bool:
    """Returns whether objects are symmetric by the configuration of a result; True where it has none."""
    path = result / "config.json"
    return any(read_config(path).schedule.flip3) if path.is_file() else True


def _parser() -> argparse.ArgumentParser:
    about = "Writes a saved result with the texture of its photo, at the photo's own resolution."
    parser = option_types.parser("export texture", about, _EPILOG)
    option_types.add_result(parser)
    add, number = parser.add_argument, option_types.number
    about = "the photo of its input (default: the one that `photo` recorded)"
    add("photo", nargs="?", type=option_types.path("PHOTO"), metavar="PHOTO", help=about)
    box, roll = number("--box", -LARGEST, 2 * LARGEST, "pixels"), number("--roll", -360, 360, "degrees")
    about = "place of the input in the upright photo: centre and side, pixels (default: its largest centred square)"
    add("--box", type=box, nargs=3, metavar=("X", "Y", "SIDE"), help=about)
    about = "clockwise rotation of the input's content in the photo (default: 0)"
    add("--roll", type=roll, default=0.0, metavar="DEG", help=about)
    size = option_types.whole("--size", 256, LARGEST_TEXTURE, "texels")
    about = "most texels a side; fewer if the photo has fewer (default: 2048; 4096 take 4 GB of memory)"
    add("--size", type=size, default=2048, help=about)
    about = "fill what the photo does not show from the other half, mirrored (default: where objects are symmetric)"
    add("--mirror", action=argparse.BooleanOptionalAction, help=about)
    option_types.add_path(parser, "--out", "FOLDER", "where to write (default: RESULT)")
    return parser


def noted_photo(folder: pathlib.Path) -> tuple[pathlib.Path, CropBox | None] | None:
    """Returns the photo of a result of `gan2shape-jax photo` and its square there; None if nothing is noted of it.

    If the photo is gone, or another, it is the crop that is kept with the results, without a square.
    """
    place, name = folder.resolve().parent.parent / "photos", folder.resolve().name
    try:
        record = read_object(place / f"{name}.json", "the record of a photo")
        photo, box = pathlib.Path(record["photo"]["path"]), CropBox(**record["box"])
        if photo.is_file() and sha256(photo) == record["photo"]["sha256"]:
            return photo, box
    except (OSError, UserError, KeyError, TypeError):
        return None
    crop = place / "image" / f"{name}.png"
    return (crop, None) if crop.is_file() else None
