"""`gan2shape-jax export`: a saved result for other programs, without GAN or networks; and a model as a web page.

`texture` writes two kinds of mesh, `textured.glb`, which viewers light, and `mesh.glb`, as the photo shows it, since of
the common viewers only model-viewer lets users choose between variants in one (KHR_materials_variants) without
programming. For 3D printers slicers read STL, and 3MF, which states that its numbers are millimetres and has colours.
3MF is a ZIP of XML (3MF Core Specification 1.3, and the colour groups of its Materials Extension), written here since
trimesh needs two further packages for it, puts random identifiers into the file and leaves colours out.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import io
import pathlib
import shlex
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy import ndimage

from gan2shape_jax.apps import option_types
from gan2shape_jax.config.load import read_config
from gan2shape_jax.errors import UserError, exit_code, install, one_line
from gan2shape_jax.geometry.crop_box import CropBox, centred_box, sample_crop, scaled_box
from gan2shape_jax.io.files import atomic_bytes, read_object, require_file_place, sha256
from gan2shape_jax.io.image_files import LARGEST, open_upright
from gan2shape_jax.io.output_folders import RESULT, require_output_folder
from gan2shape_jax.photos.maps import photo_maps
from gan2shape_jax.photos.texture import LARGEST_TEXTURE, Seen, photo_textured, texture_from_all
from gan2shape_jax.results import pictures
from gan2shape_jax.results.files import add_files
from gan2shape_jax.results.meshes import build_mesh, colours_of, rows, usdz_bytes
from gan2shape_jax.results.outputs import USDZ, add_textured
from gan2shape_jax.results.reconstruction import Reconstruction, load
from gan2shape_jax.results.result import MAPS
from gan2shape_jax.results.solid import BACKS, LARGEST_MM, LEAST_WALL_MM, build_solid, texel_colours, texel_places

if TYPE_CHECKING:
    import trimesh
    from trimesh.visual import TextureVisuals

_SCRIPT = "open_in_blender.py"
_DIVIDED = 2  # times that each triangle of a PLY becomes four
_ALIKE = 0.08  # mean difference on the object, 0 to 1, up to which a crop may be the result's input; others are at 0.15

_EPILOG = """\
  print     a closed solid in millimetres for a 3D printer: STL or 3MF
  texture   the mesh with the texture of RESULT's photo, at the photo's own resolution: GLB
  maps      depth (16-bit), normals and mask of RESULT in its whole photo, at the photo's size: PNG
  ply       the mesh with the photo's colour for every vertex, metres: PLY
  usdz      the same mesh for iPhone and iPad, which open it in Quick Look: USDZ
  blender   a script that opens mesh, camera and photo in Blender
  spread    the mesh, coloured by the uncertainty of its depth: GLB or PLY
  web       a page that reconstructs photos in the visitor's browser, with MODEL, a lifted model

Each but the last takes RESULT, the folder of one image's results (it contains result.json); each has a --help.
"""
_PRINT_EPILOG = """\
examples:
  gan2shape-jax export print RESULT
  gan2shape-jax export print RESULT --height 120 --thickness 5 --out face.3mf
  gan2shape-jax export print RESULT --width 40 --back round --out pendant.stl
"""
_TEXTURE_EPILOG = """\
examples:
  gan2shape-jax export texture RESULT              of `gan2shape-jax photo`, which records photo and crop
  gan2shape-jax export texture RESULT photo.jpg
  gan2shape-jax export texture RESULT photo.jpg --box 2010 1480 1700 --roll -4 --size 4096
"""
_MAPS_EPILOG = """\
examples:
  gan2shape-jax export maps RESULT              of `gan2shape-jax photo`, which records photo and crop
  gan2shape-jax export maps RESULT photo.jpg --box 2010 1480 1700 --roll -4 --out maps
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0, or 1 after an error that has been printed."""
    kinds: dict[str, Callable[[Sequence[str]], None]] = {
        "print": _print,
        "texture": _texture,
        "maps": _maps,
        "ply": _ply,
        "usdz": _usdz,
        "blender": _blender,
        "spread": _spread,
        # Only this one loads the networks.
        "web": lambda words: importlib.import_module("gan2shape_jax.apps.export.web").run(words),
    }
    words = list(sys.argv[1:] if argv is None else argv)
    about = "Writes a saved result for other programs, or a model as a web page."
    parser = option_types.parser("export", about, _EPILOG)
    parser.add_argument("kind", choices=kinds)
    kind = parser.parse_args(words[:1]).kind
    return exit_code(lambda: kinds[kind](words[1:]))


def _asked(parser: argparse.ArgumentParser, words: Sequence[str], name: str, endings: Sequence[str]) -> Any:
    """Reads RESULT and --out, as `path`, a file of these endings, by default `name` in RESULT; raises `UserError`."""
    option_types.add_result(parser)
    kinds = " or ".join(ending[1:].upper() for ending in endings)
    option_types.add_out_file(parser, "FILE", f"{kinds} (default: RESULT/{name})")
    options = parser.parse_args(words)
    options.path = options.out or options.result / name
    require_file_place(options.path, endings=tuple(endings), overwrite=options.overwrite or options.out is None)
    return options


def _write(options: Any, content: bytes) -> None:
    """Writes the file that was asked for; in RESULT itself, the record of its files tells of it."""
    if options.out is None:
        add_files(options.result, {options.path.name: content})
    else:
        atomic_bytes(options.path, content)


def _print(words: Sequence[str]) -> None:
    """Writes the solid that the words ask for and prints a summary; raises `UserError`."""
    about = "Writes a saved result as a closed solid in millimetres, lying on its back; a 3MF has its colours."
    parser = option_types.parser("export print", about, _PRINT_EPILOG)
    for name, otherwise in (
        ("width", ""),
        ("height", "; with both, it is as large as fits; with neither, a face is as large as life"),
    ):
        side = option_types.number(f"--{name}", 1, LARGEST_MM, "mm")
        parser.add_argument(f"--{name}", type=side, metavar="MM", help=f"{name} of the solid on the bed{otherwise}")
    thickness = option_types.number("--thickness", LEAST_WALL_MM, LARGEST_MM, "mm")
    about = "thickness where the solid is thinnest, behind the farthest point of the front (default: 3)"
    parser.add_argument("--thickness", type=thickness, default=3.0, metavar="MM", help=about)
    about = "flat, to lie on the bed, or round, as deep as the outline is wide: a skull (default: flat)"
    parser.add_argument("--back", choices=BACKS, default="flat", help=about)
    options = _asked(parser, words, "print.3mf", (".stl", ".3mf"))
    result = load(options.result)
    sides = {"width_mm": options.width, "height_mm": options.height}
    solid = build_solid(result, **sides, thickness_mm=options.thickness, back=options.back)
    _write(options, solid_bytes(solid.mesh, options.path.suffix.lower()))
    for note in solid.notes:
        print(one_line(f"note: {note}"))
    width, height, tall = solid.mesh.extents
    size = f"{width:.1f} x {height:.1f} mm on the bed, {tall:.1f} mm high, {solid.mesh.volume / 1000:.1f} cm3"
    print(one_line(f"wrote {options.path}: {result.name}, {size}, {len(solid.mesh.faces)} triangles, closed"))


_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_OPC = "http://schemas.openxmlformats.org/package/2006"
_3MF = "http://schemas.microsoft.com/3dmanufacturing"
_TYPES = f"""{_XML}<Types xmlns="{_OPC}/content-types">
 <Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
 <Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>
</Types>
"""
_RELATIONS = f"""{_XML}<Relationships xmlns="{_OPC}/relationships">
 <Relationship Id="rel0" Target="/3D/3dmodel.model" Type="{_3MF}/2013/01/3dmodel"/>
</Relationships>
"""
_MODEL = f"""{_XML}<model unit="millimeter" xml:lang="en-US" xmlns="{_3MF}/core/2015/02"
 xmlns:m="{_3MF}/material/2015/02">
 <metadata name="Application">gan2shape_jax</metadata>
 <resources>
  <m:colorgroup id="2">
%s  </m:colorgroup>
  <object id="1" type="model" pid="2" pindex="0">
   <mesh>
    <vertices>
%s    </vertices>
    <triangles>
%s    </triangles>
   </mesh>
  </object>
 </resources>
 <build>
  <item objectid="1"/>
 </build>
</model>
"""


def solid_bytes(mesh: trimesh.Trimesh, ending: str) -> bytes:
    """Returns a mesh in millimetres as the content of an .stl or a .3mf."""
    if ending == ".stl":
        return cast(bytes, mesh.export(file_type="stl"))
    colours, used = np.unique(np.asarray(mesh.visual.vertex_colors)[:, :3], axis=0, return_inverse=True)  # type: ignore
    corners = np.asarray(mesh.faces)
    model = _MODEL % (
        rows('<m:color color="#%02X%02X%02X"/>\n', colours),
        rows('<vertex x="%.6f" y="%.6f" z="%.6f"/>\n', np.asarray(mesh.vertices)),
        rows(
            '<triangle v1="%d" v2="%d" v3="%d" pid="2" p1="%d" p2="%d" p3="%d"/>\n',
            np.concatenate([corners, used.reshape(-1)[corners]], axis=1),
        ),
    )
    date = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP can hold; fixed, so that the same solid gives the same file
    with zipfile.ZipFile(content := io.BytesIO(), "w") as archive:
        for name, text in (("[Content_Types].xml", _TYPES), ("_rels/.rels", _RELATIONS), ("3D/3dmodel.model", model)):
            archive.writestr(zipfile.ZipInfo(name, date), text, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _texture(words: Sequence[str]) -> None:
    """Writes the textures and meshes that the words ask for and prints a summary; raises `UserError`."""
    about = "Writes a saved result with the texture of its photo, at the photo's own resolution."
    parser = _photo_parser("texture", about, _TEXTURE_EPILOG)
    texels = option_types.whole("--size", 256, LARGEST_TEXTURE, "texels")
    about = "most texels a side; fewer if the photo has fewer (default: 2048; 4096 take 4 GB of memory)"
    parser.add_argument("--size", type=texels, default=2048, help=about)
    about = "fill what the photo does not show from the other half, mirrored (default: where objects are symmetric)"
    parser.add_argument("--mirror", action=argparse.BooleanOptionalAction, help=about)
    options = parser.parse_args(words)
    result, photo, seen_box = _seen(options)
    mirror, configuration = options.mirror, options.result / "config.json"
    if mirror is None:  # where nothing is known, objects are symmetric
        mirror = any(read_config(configuration).schedule.flip3) if configuration.is_file() else True
    seen = Seen(photo, seen_box, result.view, 0.0, result.input_mask)
    texture = texture_from_all(result, [seen], largest=options.size, mirror=mirror)
    options.out.mkdir(parents=True, exist_ok=True)
    add_textured(options.out, *photo_textured(result, photo, texture, seen_box))
    share_seen, mirrored, made_up = texture.shares * 100
    files = f"{options.out / 'mesh.glb'}, mesh.obj and textured.glb"
    size = f"{len(texture.albedo)} x {len(texture.albedo)}"
    shares = f"{share_seen:.0f}% from the photo, {mirrored:.0f}% mirrored, {made_up:.0f}% by the model"
    print(one_line(f"wrote {files}: {result.name}, texture of {size}; of the object {shares}"))


def _maps(words: Sequence[str]) -> None:
    """Writes the maps of the photo that the words ask for and says where; raises `UserError`."""
    about = "Writes depth (16-bit), normals and mask of a saved result in its whole photo, at the photo's size."
    options = _photo_parser("maps", about, _MAPS_EPILOG).parse_args(words)
    result, photo, box = _seen(options)
    options.out.mkdir(parents=True, exist_ok=True)
    add_files(options.out, photo_maps(result, photo, box))
    height, width = photo.shape[:2]
    print(one_line(f"wrote {', '.join(str(options.out / name) for name in MAPS)}: {width} x {height} pixels"))


def _seen(options: argparse.Namespace) -> tuple[Reconstruction, np.ndarray, CropBox]:
    """Returns the result, its photo as it was read, and the result's square there.

    `options.out` becomes the folder to write to. Raises `UserError`: the photo, or that place, shows something else.
    """
    options.out = options.out or options.result
    require_output_folder(options.out, RESULT)
    result, path, recorded = load(options.result), options.photo, None
    if path is None:
        if (noted := _noted_photo(options.result)) is None or options.box:
            raise UserError(f"name the photo of {result.name}, and the place of its input with --box X Y SIDE")
        path, recorded = noted
        if recorded is None:
            warnings.warn(f"the photo of {result.name} is gone or changed: its crop {path} is used", stacklevel=2)
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
    return result, photo, seen_box


def _photo_parser(kind: str, about: str, epilog: str) -> argparse.ArgumentParser:
    """Returns the parser of a command that takes a result, its photo, and where in it the result's input lies."""
    parser = option_types.parser(f"export {kind}", about, epilog)
    option_types.add_result(parser)
    add, number = parser.add_argument, option_types.number
    about = "the photo of its input (default: the one that `photo` recorded)"
    add("photo", nargs="?", type=option_types.path("PHOTO"), metavar="PHOTO", help=about)
    box, roll = number("--box", -LARGEST, 2 * LARGEST, "pixels"), number("--roll", -360, 360, "degrees")
    about = "place of the input in the upright photo: centre and side, pixels (default: its largest centred square)"
    add("--box", type=box, nargs=3, metavar=("X", "Y", "SIDE"), help=about)
    about = "clockwise rotation of the input's content in the photo (default: 0)"
    add("--roll", type=roll, default=0.0, metavar="DEG", help=about)
    option_types.add_path(parser, "--out", "FOLDER", "where to write (default: RESULT)")
    return parser


def _noted_photo(folder: pathlib.Path) -> tuple[pathlib.Path, CropBox | None] | None:
    """Returns the photo of a result of `gan2shape-jax photo` and its square there; None if nothing is noted of it.

    If the photo is gone, or another, it is the crop that is kept with the results, without a square.
    """
    place, name = folder.resolve().parent.parent / "photos", folder.resolve().name
    try:
        record = read_object(place / f"{name}.json", "the record of a photo")
        photo, digest = pathlib.Path(record["photo"]["path"]), record["photo"]["sha256"]
        if several := record.get("photographs"):  # in a folder, or named one by one; the first is what the result shows
            photo = (photo if photo.is_dir() else photo.parent) / several[0]["name"]
            digest = several[0]["sha256"]
        if photo.is_file() and sha256(photo) == digest:
            return photo, CropBox(**record["box"])
    except (OSError, UserError, KeyError, TypeError):
        return None
    crop = place / "image" / f"{name}.png"
    return (crop, None) if crop.is_file() else None


def _ply(words: Sequence[str]) -> None:
    """Writes the mesh with a colour for every vertex, divided for the photo's texture; raises `UserError`."""
    from trimesh import Trimesh
    from trimesh.remesh import subdivide

    parser = option_types.parser("export ply", "Writes the mesh of RESULT in the photo's colours, in metres.")
    options = _asked(parser, words, "mesh.ply", (".ply",))
    result, whose = _photographed(options.result)
    mesh = build_mesh(result)
    vertices, faces, uv = mesh.vertices, mesh.faces, {"uv": np.asarray(cast("TextureVisuals", mesh.visual).uv)}
    for _ in range(_DIVIDED):
        vertices, faces, uv = subdivide(vertices, faces, vertex_attributes=uv)
    of_vertices = texel_colours(colours_of(mesh), uv["uv"], result.camera.image_size << _DIVIDED)
    divided = Trimesh(vertices, faces, vertex_colors=of_vertices, process=False)
    _write(options, cast(bytes, divided.export(file_type="ply")))
    print(one_line(f"wrote {options.path}: {result.name} with {whose}, {len(vertices)} vertices, metres"))


def _usdz(words: Sequence[str]) -> None:
    """Writes the mesh with the photo's texture, if it has one, as USDZ and says where; raises `UserError`."""
    parser = option_types.parser("export usdz", "Writes the mesh of RESULT for Quick Look on iPhone and iPad.")
    options = _asked(parser, words, USDZ, (".usdz",))
    if importlib.util.find_spec("pxr") is None:
        raise UserError(f"USDZ is written by usd-core, which is not installed: {install('usdz')}")
    result, whose = _photographed(options.result)
    colours = pictures.to_uint8(result.signed_albedo) if result.texture is None else None
    _write(options, usdz_bytes(build_mesh(result, texture=colours)))
    print(one_line(f"wrote {options.path}: {result.name} with {whose}"))


def _photographed(folder: pathlib.Path) -> tuple[Reconstruction, str]:
    """Returns a result, which gets its photo's texture first if it has none and the photo is known, and whose it is."""
    result = load(folder)
    if result.texture is None and _noted_photo(folder):
        _texture([str(folder)])
        result = load(folder)
    return result, "the method's colours" if result.texture is None else "the photo's texture"


def _blender(words: Sequence[str]) -> None:
    """Writes the script that opens a result in Blender and says how to start it; raises `UserError`."""
    about = (
        "Writes open_in_blender.py into RESULT: it opens the mesh, textured.glb if there is one or its photo is "
        "known, with the photo's camera and the photo behind it, in Blender 4.2 or newer."
    )
    parser = option_types.parser("export blender", about)
    option_types.add_result(parser)
    folder = parser.parse_args(words).result
    _photographed(folder)  # reports what is wrong with the folder now, not in Blender
    path = folder / _SCRIPT
    atomic_bytes(path, pathlib.Path(__file__).with_name(_SCRIPT).read_bytes())
    print(one_line(f"wrote {path}; start it with: blender --python {shlex.quote(str(path))}"))


def _spread(words: Sequence[str]) -> None:
    """Writes the mesh coloured by the spread of its depth and says where; raises `UserError`."""
    about = (
        "Writes the mesh of RESULT with a colour for every vertex: dark where depth is certain, bright where "
        "it may be off. Four of five pixels are within the spread."
    )
    parser = option_types.parser("export spread", about)
    options = _asked(parser, words, "spread.glb", (".glb", ".ply"))
    result = load(options.result)
    uncertainty = result.uncertainty
    if uncertainty is None:
        raise UserError(
            f"{result.name} has no spread of depth: it is known only for a model whose errors were measured, such as a "
            "bundled one, and an image that resembles its GAN's samples"
        )
    from trimesh.visual import ColorVisuals  # here, because its import is slow

    mesh = build_mesh(result)
    high, wide = colours_of(mesh).shape[:2]
    behind = np.full(
        (len(uncertainty), len(uncertainty) * (wide - high) // high), uncertainty.max()
    )  # if it has a back
    told = np.concatenate([uncertainty, behind], axis=1)
    uv = np.asarray(cast("TextureVisuals", mesh.visual).uv)
    values = ndimage.map_coordinates(told, texel_places(uv, told), order=1, mode="nearest")
    colours = pictures.colour_depth(-values[None], -max(float(values.max()), 1e-9), 0.0)[0]  # brightest is the greatest
    mesh.visual = ColorVisuals(mesh, vertex_colors=colours)
    _write(options, cast(bytes, mesh.export(file_type=options.path.suffix.lower()[1:])))
    inside = uncertainty[result.mask > 0.5]
    greatest = float((inside if inside.size else uncertainty).max())
    off = f"depth is off by up to about {greatest:.3f} scene units where it is brightest"
    print(one_line(f"wrote {options.path}: {off}"))
