"""`gan2shape-jax export texture`: a saved result with its photo's own texture.

    textured.glb            lit by the viewer: albedo, no light baked in
    textured_unlit.glb      as the photo shows it, the same in every viewer
    texture.png             the albedo; texture_unlit.png as the photo shows it, over the canonical picture
    texture_sources.png     where colours come from: grey the photo, blue its mirror image, orange the model
    photo_crop.jpg          the square of the photo that the result shows
    photo.json              its place in the photo

There are two GLBs, since of the common viewers only model-viewer lets users choose between variants in one
(KHR_materials_variants) without programming.
"""

import argparse
import dataclasses
import io
import json
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, JpegImagePlugin
from scipy import ndimage

from gan2shape_jax.apps.export.photo_texture import LARGEST_TEXTURE, PhotoTexture, photo_texture
from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.geometry.crop_box import CropBox, centred_box, sample_crop, scaled_box
from gan2shape_jax.io import option_types
from gan2shape_jax.io.files import atomic_bytes, require_folder_place
from gan2shape_jax.io.image_files import LARGEST, open_upright
from gan2shape_jax.results.result import Result, load_result
from gan2shape_jax.results.solid import cut_sheet
from gan2shape_jax.results.surface import glb_bytes, mesh_scale, surface, textured_mesh

_JPEG = {"quality": 92, "subsampling": 0}
# Distinguishable for the colour-blind.
_SOURCE_COLOURS = np.array([(0.85, 0.85, 0.85), (0.34, 0.71, 0.91), (0.9, 0.62, 0.0)], np.float32)
_SOURCES_SIDE = 512
_PNG_LEVEL = 3  # of compression: the highest takes three times as long and saves a sixth
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
    picture, _, reduction, _ = open_upright(options.photo, least=1)
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
    out.mkdir(parents=True, exist_ok=True)
    texture = write_photo_textured(result, photo, seen_box, out, largest=options.size, mirror=options.mirror)
    seen, mirrored, made_up = texture.shares * 100
    files = f"{out / 'textured.glb'} and textured_unlit.glb"
    size = f"{len(texture.albedo)} x {len(texture.albedo)}"
    shares = f"{seen:.0f}% from the photo, {mirrored:.0f}% mirrored, {made_up:.0f}% by the model"
    print(one_line(f"wrote {files}: {result.name}, texture of {size}; of the object {shares}"))


def _parser() -> argparse.ArgumentParser:
    about = "Writes a saved result with the texture of its photo, at the photo's own resolution."
    parser = option_types.parser("export texture", about, _EPILOG)
    option_types.add_result(parser)
    option_types.add_path(parser, "PHOTO", "PHOTO", "the picture that its input was cut out of")
    add, number = parser.add_argument, option_types.number
    box, roll = number("--box", -LARGEST, 2 * LARGEST, "pixels"), number("--roll", -360, 360, "degrees")
    about = "where the input lies in the upright photo: centre and side, pixels (default: its largest centred square)"
    add("--box", type=box, nargs=3, metavar=("X", "Y", "SIDE"), help=about)
    about = "how far the input's content is turned clockwise in the photo (default: 0)"
    add("--roll", type=roll, default=0.0, metavar="DEG", help=about)
    size = option_types.whole("--size", 256, LARGEST_TEXTURE, "texels")
    about = "texels a side, at most; less where the photo has less (default: 2048; 4096 take 4 GB of memory)"
    add("--size", type=size, default=2048, help=about)
    about = "take what the photo does not show from the other half, mirrored (default: yes)"
    add("--mirror", action=argparse.BooleanOptionalAction, default=True, help=about)
    option_types.add_path(parser, "--out", "FOLDER", "where to write (default: RESULT)")
    return parser


def write_photo_textured(
    result: Result,
    photo: UInt8[np.ndarray, "h w 3"],
    box: CropBox,
    folder: pathlib.Path,
    *,
    largest: int = 2048,
    mirror: bool = True,
) -> PhotoTexture:
    """Writes the files listed at the top of this module into an existing folder, each whole or not at all.

    Arguments and `ArgumentError` are those of `photo_texture`; `UserError` if the file system refuses.
    """
    texture = photo_texture(result, photo, box, largest=largest, mirror=mirror)
    side = len(texture.albedo)
    sources = source_colours(texture.sources)
    for kind, picture in (("", texture.albedo), ("_unlit", texture.lit), ("_sources", sources)):
        atomic_bytes(folder / f"texture{kind}.png", encoded(picture, "PNG", compress_level=_PNG_LEVEL))
        if kind != "_sources":
            mesh = _textured_mesh(result, picture, name=f"textured{kind}", lit=not kind)
            atomic_bytes(folder / f"textured{kind}.glb", mesh)
    atomic_bytes(folder / "photo_crop.jpg", encoded(sample_crop(photo, box, side), "JPEG", **_JPEG))
    atomic_bytes(folder / "photo.json", _description(photo, box, side))
    return texture


def _textured_mesh(result: Result, texture: UInt8[np.ndarray, "t t 3"], *, name: str, lit: bool) -> bytes:
    """Returns a GLB of the mesh, cut along its smoothed outline, with a texture over the canonical picture."""
    part = surface(result)
    sheet = cut_sheet(part.depth, part.field, result.camera)
    side = result.camera.image_size
    columns, rows = sheet.pixels.T
    inward = [ndimage.map_coordinates(part.normal[..., i], [rows, columns], order=1, mode="nearest") for i in range(3)]
    outward = np.stack(inward, axis=-1) * (-1.0, 1.0, 1.0)  # in the mesh frame
    placed = sheet.points - (0, 0, result.camera.rot_center_depth)
    mesh = textured_mesh(
        vertices=placed * (1.0, -1.0, -1.0) * mesh_scale(result.camera),
        faces=sheet.faces,
        normals=outward / np.linalg.norm(outward, axis=-1, keepdims=True),
        uv=np.stack([(columns + 0.5) / side, 1 - (rows + 0.5) / side], axis=-1),
        texture=_Kept(encoded(texture, "JPEG", **_JPEG)),
        name="photo",
    )
    return glb_bytes(mesh, name=name, lit=lit)


class _Kept(JpegImagePlugin.JpegImageFile):
    """A JPEG that goes into a GLB as it is: trimesh would save it again, with a lower quality."""

    def __init__(self, content: bytes):
        super().__init__(io.BytesIO(content))
        self._content = content

    def save(self, fp, format=None, **options):
        fp.write(self._content)


def difference_from_photo(result: Result, photo: UInt8[np.ndarray, "h w 3"], box: CropBox) -> float:
    """Returns the mean absolute difference, 0 to 1, between a photo's crop and the result's input on the object."""
    crop = sample_crop(photo, box, result.camera.image_size).astype(np.float32) / 255
    apart = np.abs(crop - (result.image / 2 + 0.5)).mean(axis=-1)
    weight = result.input_mask if result.input_mask.any() else np.ones_like(result.input_mask)
    return float((apart * weight).sum() / weight.sum())


def source_colours(sources: Float[np.ndarray, "t t 3"]) -> UInt8[np.ndarray, "k k 3"]:
    """Returns a picture, at most 512 pixels per side, of where a texture's colours come from."""
    colours = Image.fromarray(np.rint(np.clip(sources @ _SOURCE_COLOURS, 0, 1) * 255).astype(np.uint8))
    side = min(_SOURCES_SIDE, len(sources))
    return np.asarray(colours.resize((side, side), Image.Resampling.BOX))


def _description(photo: UInt8[np.ndarray, "h w 3"], box: CropBox, side: int) -> bytes:
    height, width = photo.shape[:2]
    record = {
        "photo": {"width": width, "height": height},
        "box": {"x": box.x, "y": box.y, "side": box.side, "roll_deg": box.roll_deg},
        "texture_size": side,
        "conventions": {
            "box": "the result's input in the upright photo: centre and side in its pixels, the centre of the first "
            "one being (0.5, 0.5); roll_deg: how far the input's content is turned clockwise in the photo",
            "texture": "over the canonical picture: texel (i, j) of T x T lies at column (j + 1/2) S/T - 1/2 and row "
            "(i + 1/2) S/T - 1/2 of depth.npy, S being its side",
        },
    }
    return (json.dumps(record, indent=2) + "\n").encode()


def encoded(picture: UInt8[np.ndarray, "h w *colours"], kind: str, **options: int) -> bytes:
    """Returns a picture as the content of a file of this kind, with Pillow's options."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, kind, **options)
    return content.getvalue()
