"""The files of one result: a list of outputs, each a function from the result to files, and the folder of them all.

A new output is one entry of `OUTPUTS`, or of another package's entry points (`output.NAME`). The folder, its
`files.json`, what the page offers to download and the table in the reference follow from it.

What the run's page needs from a result is prepared in `page.jsonl`: three lines of JSON, each usable without those
below it:

    card     {"format": 2, "thumb": JPEG}   photo and shape side by side, for the gallery
    model    geometry, colours, view and light: what the interactive view is built from; of a whole head its `back`
    extras   further pictures and maps, any of which may be absent; for small images, lossless `albedo` and `input`;
             the photo's `texture`, and the `photo` itself, as much of it as `input` shows; of several `photographs`
             each one's name, view, whether it was used, and four `pictures` side by side, see `views.photograph_rows`;
             the `truth`, depth and outline of the true shape in the input's view

Pictures are base64 in `{"kind": "jpeg" | "png", "data": ...}`. Maps are base64 of zlib streams: `depth` of 16-bit steps
between `depth_low` and `depth_high` (scene units), row by row, each as its difference from what the left and upper
neighbours predict, modulo 65536, zigzag coded, all high bytes before all low ones; `outline` of bytes, 0 to 255, the
field that is 127.5 where the mesh ends; `input_mask` of bytes, 0 to 255; `spread` of bytes, 255 being `spread_high`
scene units. Of a back, `points` are 16-bit steps from `low` to `high` along each axis, `faces` 32-bit numbers of its
vertices, three each, and `colours` three bytes a vertex.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
import itertools
import json
import os
import pathlib
import zlib
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, JpegImagePlugin

from gan2shape_jax import extensions
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import read_object
from gan2shape_jax.results import meshes, pictures, surface, views
from gan2shape_jax.results.back import Back
from gan2shape_jax.results.files import FILES, add_files, open_file, write_folder
from gan2shape_jax.results.result import MAPS, TEXTURE, Photograph, Result, array_files

if TYPE_CHECKING:
    import trimesh

PRESETS = ("mesh", "overview", "standard", "all")  # each with everything of those before it

_SMALLEST_PICTURE = 192  # below this, the overview's captions do not fit
_LARGEST_TILE = 256  # above this, the overview does not fit on a screen
_SHOWS = ("", "_albedo", "_normals", "_shape")
FRAGMENT, FORMAT, USDZ = "page.jsonl", 2, "model.usdz"
_TEXTURE = 512  # pixels per side of the photo and its texture, at most
_PHOTO = "photo_crop.jpg"  # by `photos.texture`
_BESIDE = 144  # pixels per side of pictures beside a photograph
_THUMB = 80  # pixels per side of each half
_LOSSLESS = 128  # pixels per side, up to which pictures are enlarged so much that JPEG artefacts show
_CLAY_LIGHT = np.array([0.2, 0.8, 0.3, 0.5], np.float32)  # ambient, diffuse, dx, dy
_CLAY = 0.5  # albedo in [-1, 1]


@dataclasses.dataclass(frozen=True)
class OutputOptions:
    """What to write besides the arrays."""

    preset: str = "all"  # how much, one of `PRESETS`
    picture_size: int = 0  # side of the pictures drawn from the mesh, pixels; 0 means max(S, 192)
    turntable_frames: int = 24  # frames of one swing of the turntable, and of one circle of the light
    mesh_full: bool = False  # True keeps the whole depth map in the mesh, False cuts it along the object's outline
    animation: bool = True  # False leaves out GIF and MP4
    gan_batch: int = 8  # pictures that go through the GAN together


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
    """What outputs are made from: the result, the options, the GAN if any, and what several need, made once.

    `photo` is the file of the square of the photo that the result shows, at the photo's own size, if it is known.
    """

    result: Result
    options: OutputOptions
    project: views.Projection | None = None
    photo: bytes | None = None

    @property
    def size(self) -> int:
        """The side of pictures drawn from the mesh, pixels."""
        return self.options.picture_size or max(self.result.camera.image_size, _SMALLEST_PICTURE)

    @functools.cached_property
    def mesh(self) -> trimesh.Trimesh:
        """The textured mesh."""
        return meshes.build_mesh(self.result, full=self.options.mesh_full)

    @functools.cached_property
    def photographs(self) -> list[list[np.ndarray]]:
        """Of several photographs each beside the model, see `views.photograph_rows`; [] of a single one."""
        return photograph_rows(self.result)

    @functools.cached_property
    def gan(self) -> views.GanViews | None:
        """Pictures by the GAN; None without it, or below the preset that has them."""
        if self.project is None or self.options.preset != "all":
            return None
        return views.draw_gan_views(self.result, self.project, batch=self.options.gan_batch)


@dataclasses.dataclass(frozen=True)
class Output:
    """Files of a result that are made together."""

    files: tuple[str, ...]  # their names
    words: str  # what they are, for the reference
    # Returns their contents by name, as `write_folder` takes them, or None if what they show is not known; None for
    # what a run or `export` adds.
    write: Callable[[Drawing], Mapping[str, Any] | None] | None = None
    preset: str = "mesh"  # the least of `PRESETS` that has them
    # What the page calls the first of them, or the archive of all, where it offers it for download; else "".
    offer: str = ""
    archive: str = ""  # the name of that archive
    inside: bool = True  # whether the page holds it while there is room; otherwise it only links to it

    def offered(self, there: Container[str]) -> tuple[str, ...]:
        """Returns the files that the page's download is made from, of those that are there; () if its first is not."""
        present = tuple(name for name in self.files if name in there)
        return () if self.files[0] not in present else present if self.archive else present[:1]


def _glb(drawing: Drawing) -> dict[str, Any]:
    return {"mesh.glb": meshes.glb_bytes(drawing.mesh, name="mesh")}


def _obj(drawing: Drawing) -> dict[str, Any]:
    return meshes.obj_files(drawing.mesh)


def _usdz(drawing: Drawing) -> dict[str, Any] | None:
    possible = drawing.result.texture is not None and find_spec("pxr")
    return {USDZ: meshes.usdz_bytes(drawing.mesh)} if possible else None


def _texture(drawing: Drawing) -> dict[str, Any] | None:
    return None if drawing.result.texture is None else {TEXTURE: drawing.result.texture}


def _stills(drawing: Drawing) -> dict[str, Any]:
    shown = [*views.input_stills(drawing.result), *views.factor_stills(drawing.result)]
    return {f"{name}.png": picture for name, picture, _ in shown if name}


def _maps(drawing: Drawing) -> dict[str, Any]:
    result = drawing.result
    near, far = pictures.depth_range(result.depth, result.mask)
    legend = f"depth in scene units: brightest {near:.6f} or nearer, darkest {far:.6f} or farther"
    shown = {"depth.png": (result.depth, near, far, f"{legend}; pale outside the object mask")}
    if (uncertainty := result.uncertainty) is not None:
        greatest = max(float(uncertainty.max()), 1e-9)
        legend = f"uncertainty of depth, scene units: black 0, brightest {greatest:.6f}"
        shown["spread.png"] = (-uncertainty, -greatest, 0.0, legend)
    return {
        name: functools.partial(
            pictures.write_png, picture=pictures.colour_depth(values, *ends, mask=result.mask), description=legend
        )
        for name, (values, *ends, legend) in shown.items()
    }


def photograph_rows(result: Result) -> list[list[np.ndarray]]:
    """Returns pictures for each photograph of a result, see `views.photograph_rows`; [] where there is only one."""
    return views.photograph_rows(result, _SMALLEST_PICTURE) if result.photographs else []


def _photographs(drawing: Drawing) -> dict[str, Any] | None:
    return {"photographs.png": pictures.strip(drawing.photographs)} if drawing.photographs else None


def _overview(drawing: Drawing) -> dict[str, Any]:
    tile = min(max(drawing.size, _SMALLEST_PICTURE), _LARGEST_TILE)
    return {"overview.png": np.asarray(views.draw_overview(drawing.result, gan=drawing.gan, size=tile))}


def _film(
    stem: str, what: str, frames: Callable[[Drawing], Iterable[np.ndarray] | None], fps: int = 16, swing: bool = False
) -> Output:
    """Returns a film in both formats, which one function writes, since its frames are drawn only once."""

    def write(drawing: Drawing) -> dict[str, Any] | None:
        drawn = frames(drawing) if drawing.options.animation else None
        if drawn is None:
            return None
        return {stem: functools.partial(pictures.write_animation, frames=drawn, fps=fps, swing=swing)}

    return Output((f"{stem}.mp4", f"{stem}.gif"), f"film: {what}", write, "all", f"Film: {what}", inside=False)


def _relit_by_gan(drawing: Drawing) -> list[np.ndarray] | None:
    if drawing.gan is None:
        return None
    # From side to side with level light, back with light from above.
    level, above = (views.gan_tiles(row, drawing.size) for row in drawing.gan.lights[-2:])
    return [*level, *above[::-1]]


def _strips_by_gan(drawing: Drawing) -> dict[str, Any] | None:
    if (drawn := drawing.gan) is None:
        return None
    rows = {"turntable_gan.png": [drawn.yaws, drawn.pitches], "relight_gan.png": [*drawn.lights]}
    return {name: pictures.strip(views.gan_tiles(row, drawing.size) for row in each) for name, each in rows.items()}


def _fragment(drawing: Drawing) -> dict[str, Any]:
    photo, photographs = drawing.photo, drawing.photographs
    lines = fragment_of(drawing.result, full=drawing.options.mesh_full, photo=photo, photographs=photographs)
    return {FRAGMENT: "".join(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n" for line in lines)}


def fragment_of(
    result: Result,
    *,
    full: bool = False,
    photo: bytes | None = None,
    photographs: Sequence[Sequence[np.ndarray]] | None = None,
) -> list[dict[str, Any]]:
    """Returns card, model and extras of `page.jsonl`; with `full`, the mesh keeps the whole depth map.

    `photo` is as for `Drawing`, and so are `photographs`, which are drawn if they are not there.
    """
    part = surface.whole_if_empty(result, full=full)
    inside = part.field >= surface.OUTLINE
    shade = surface.shading(surface.normals(result.depth, result.camera), _CLAY_LIGHT)
    clay = np.clip(surface.lit(np.full_like(result.signed_albedo, _CLAY), shade), -1, 1)
    halves = (result.signed_image, pictures.on_white(clay, inside.astype(np.float32)))
    thumb = np.concatenate([pictures.enlarge(pictures.to_uint8(half), _THUMB) for half in halves], axis=1)
    low, high = float(part.depth.min()), float(part.depth.max())
    near, far = pictures.depth_range(result.depth, result.mask)
    image, albedo, reconstruction = map(
        pictures.to_uint8, (result.signed_image, result.signed_albedo, result.reconstruction)
    )
    model = {
        "size": result.camera.image_size,
        "focal": _rounded(result.camera.focal_length),
        "rot_center_depth": result.camera.rot_center_depth,
        "view": [*map(_rounded, result.view)],
        "light": [*map(_rounded, result.light)],
        "depth_low": low,
        "depth_high": high,
        "depth_near": _rounded(near),
        "depth_far": _rounded(far),
        "depth": _packed(_coded_depth(part.depth, low, high)),
        "outline": _packed(_bytes(part.field, 1.0)),
        "input_mask": _packed(_bytes(result.input_mask, 1.0)),
        "albedo": _encoded(albedo),
        "input": _encoded(image),
    }
    front = surface.cut_surface(part.depth, part.field, result.camera)
    shown = pictures.to_uint8(result.signed_albedo) if result.texture is None else result.texture
    if (back := None if full else meshes.whole_back(result, front, shown)) is not None:
        model["back"] = _back(back)
    extras: dict[str, Any] = {"reconstruction": _encoded(reconstruction)}
    if result.camera.image_size <= _LOSSLESS:
        extras |= {"albedo": _encoded(albedo, "png"), "input": _encoded(image, "png")}
    if result.gan_image is not None:
        extras["gan_image"] = _encoded(pictures.to_uint8(result.gan_image))
    if result.texture is not None:
        extras["texture"] = _shrunk(Image.fromarray(result.texture))
    if photo is not None:
        extras["photo"] = _shrunk(JpegImagePlugin.JpegImageFile(io.BytesIO(photo)).convert("RGB"))  # of no other kind
    rows = photograph_rows(result) if photographs is None else photographs
    if rows:
        extras["photographs"] = [_beside(*each) for each in zip(result.photographs, rows, strict=True)]
    if (uncertainty := result.uncertainty) is not None:
        greatest = max(float(np.max(uncertainty)), 1e-9)
        extras |= {"spread": _packed(_bytes(uncertainty, greatest)), "spread_high": _rounded(greatest)}
    if result.true_depth is not None:
        extras["truth"] = _truth(result.true_depth)
    return [{"format": FORMAT, "thumb": _encoded(thumb, quality=80)["data"]}, model, extras]


def _back(back: Back) -> dict[str, Any]:
    """Returns a back as the page draws it."""
    low, high = back.points.min(axis=0), back.points.max(axis=0)
    steps = np.rint((back.points - low) / np.maximum(high - low, 1e-12) * 65535).astype("<u2")
    return {
        "vertices": len(back.points),
        "triangles": len(back.faces),
        "low": low.tolist(),
        "high": high.tolist(),
        "points": _packed(steps),
        "faces": _packed(back.faces.astype("<u4")),
        "colours": _packed(back.colours),
    }


def _truth(depth: np.ndarray) -> dict[str, Any]:
    """Returns a true depth (S, S) in the input's view, the background at its maximum, as a model to turn."""
    seen = depth < depth.max()
    even = surface.with_even_border(depth, seen) if seen.any() else depth
    low, high = float(even.min()), float(even.max())
    coded = {"depth": _packed(_coded_depth(even, low, high)), "depth_low": low, "depth_high": high}
    return coded | {"outline": _packed(_bytes(surface.mask_field(seen.astype(np.float32), seen), 1.0))}


def _beside(photograph: Photograph, row: Sequence[np.ndarray]) -> dict[str, Any]:
    """Returns what the page shows of a photograph: its pictures side by side, and what to say of them."""
    small = [Image.fromarray(each).resize((_BESIDE, _BESIDE), Image.Resampling.LANCZOS) for each in row]
    view = [*map(_rounded, photograph.view)]
    told = {"name": photograph.name, "view": view, "used": photograph.used}
    return told | {"pictures": _encoded(np.concatenate([np.asarray(each) for each in small], axis=1), quality=85)}


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


def _encoded(picture: np.ndarray, kind: str = "jpeg", quality: int = 92) -> dict[str, str]:
    # Colour at full resolution: these pictures are small, and at their size half of it shows.
    content = pictures.encoded(picture, kind, optimize=True, quality=quality, subsampling=0)
    return {"kind": kind, "data": base64.b64encode(content).decode("ascii")}


def _shrunk(picture: Image.Image) -> dict[str, str]:
    side = min(picture.width, _TEXTURE)
    return _encoded(np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS)), quality=88)


def _rounded(value: float | np.float32) -> float:
    """Returns a number with the digits that float32 has, so that JSON stays short."""
    return float(f"{float(value):.9g}")


# In the order in which they go into the page while there is room: the most useful first.
OUTPUTS = (
    Output(
        ("mesh.glb",),
        "the mesh in the photo's own colours, else the albedo's, unlit, cut along the object's outline, "
        "where it fades; metres, y up, z towards the viewer",
        _glb,
        offer="3D model (GLB)",
    ),
    Output(
        (USDZ,),
        "of a photo: the same for iPhone and iPad, where `usd-core` is installed",
        _usdz,
        offer="For iPhone and iPad (USDZ)",
    ),
    Output((TEXTURE,), "of a photo: its colours on the mesh, as a picture over the canonical one", _texture),
    Output(
        ("camera.json",),
        "intrinsics, view, light, and every convention in words",
        lambda drawing: {"camera.json": array_files(drawing.result)["camera.json"]},
        offer="Camera, view and light",
    ),
    Output(
        ("metrics.json",),
        "errors if true depth is known; differences of the reconstruction and of the inversion from the input",
        lambda drawing: {"metrics.json": drawing.result.metrics},
        offer="All figures",
    ),
    Output(
        ("depth.npy", "albedo.npy", "view.npy", "light.npy", "mask.npy", "image.npy", "input_mask.npy", "canonical.npy")
        + ("reconstruction.npy", "warped_depth.npy", "gan_image.npy", "true_depth.npy", "uncertainty.npy")
        + ("photographs.npy", "photograph_masks.npy", "photograph_views.npy", "photograph_sizes.npy")
        + ("photograph_lights.npy", "result.json"),
        "the factors and what they explain as float32 arrays, and the record that `load` reads first; of an object in "
        "several photographs also these, one row each",
        lambda drawing: array_files(drawing.result),
        offer="Depth (NumPy)",
    ),
    Output(
        ("mesh.obj", "mesh.mtl", "mesh.jpg", "mesh.png"),
        "the same mesh as OBJ, with its texture: the photo's as JPEG, the albedo as PNG",
        _obj,
        offer="3D model (OBJ)",
        archive="mesh_obj.zip",
    ),
    Output(
        ("mesh.ply",), "the mesh with a colour for every vertex, metres", offer="3D model with coloured vertices (PLY)"
    ),
    Output(
        MAPS,
        "depth, normals and mask in the whole photo, pixel by pixel",
        offer="Depth, normals and mask of the photo (PNG)",
        archive="maps.zip",
        inside=False,
    ),
    Output(("print.3mf",), "a closed solid in millimetres", offer="To print in 3D (3MF)"),
    Output(("print.stl",), "the same as STL", offer="To print in 3D (STL)"),
    Output(
        ("depth.png", "spread.png"),
        "canonical depth, bright is near; its uncertainty, if the model's errors have been measured",
        _maps,
    ),
    Output(
        ("normals.png", "albedo.png", "canonical.png", "mask.png")
        + ("reconstruction.png", "gan_image.png", "input.png", "input_mask.png"),
        "the factors in the canonical (frontal) frame; the input as reconstructed, the GAN's version of it, the input, "
        "its mask",
        _stills,
    ),
    Output(
        (FRAGMENT,),
        "this result's part of the run's page: one line of JSON each for the gallery's picture, the model, and further "
        "pictures and maps",
        _fragment,
    ),
    Output(
        ("photographs.png",),
        "of an object in several photographs: a row for each, with the photograph, the model seen from there in its "
        "light, the shape from there, and the model from in front in that light",
        _photographs,
        offer="The photographs beside the model",
        inside=False,
    ),
    Output(("overview.png",), "everything at a glance", _overview, "overview", "Overview picture", inside=False),
    Output(
        (*(f"turntable{show}{extent}.png" for extent in ("", "_full") for show in _SHOWS), "relight.png"),
        "turned and relit views, drawn from the mesh",
        lambda drawing: views.mesh_strips(drawing.result, size=drawing.size),
        "standard",
    ),
    _film(
        "turntable",
        "turned",
        lambda drawing: views.turned_frames(drawing.result, drawing.size, drawing.options.turntable_frames),
        swing=True,
    ),
    _film(
        "relight",
        "relit",
        lambda drawing: views.relit_frames(drawing.result, drawing.size, drawing.options.turntable_frames),
    ),
    Output(
        ("turntable_gan.png", "relight_gan.png"),
        "turned and relit views by the GAN",
        _strips_by_gan,
        "all",
    ),
    # The GAN's pictures are few, so they follow each other more slowly.
    _film(
        "turntable_gan",
        "turned by the GAN",
        lambda drawing: None if drawing.gan is None else views.gan_tiles(drawing.gan.yaws, drawing.size),
        5,
        swing=True,
    ),
    _film("relight_gan", "relit by the GAN", _relit_by_gan, 5),
    Output(("history.csv",), "losses and errors over iterations"),
    Output(
        ("networks.safetensors",),
        "trained networks: view network and encoder in float16, or as set by `config.outputs.networks`",
    ),
    Output(
        (FILES,),
        "all files in the folder with their sizes, the configuration's hash, and the images trained in the same group",
    ),
)


# Files that only the GAN can draw.
BY_GAN = tuple(f"{stem}_gan.{ending}" for stem in ("turntable", "relight") for ending in ("png", "mp4", "gif"))


@functools.cache
def outputs() -> tuple[Output, ...]:
    """Returns `OUTPUTS` and what other packages add. Raises `UserError`: one of these has a file of another's name."""
    every, names = list(OUTPUTS), {name for output in OUTPUTS for name in output.files}
    for name in extensions.names("output"):
        output = extensions.load("output", name)
        if both := names.intersection(output.files):
            package = extensions.version("output", name)
            raise UserError(f"{package} adds an output {name!r} with files that others have: {', '.join(both)}")
        names.update(output.files)
        every.append(output)
    return tuple(every)


def undrawn_files(folder: pathlib.Path, keep: Iterable[str] = ()) -> dict[str, bytes]:
    """Returns the files of a results folder, by name, that drawing it anew would not make, and those to `keep`."""
    drawn = {name for output in outputs() if output.write is not None for name in output.files} - set(keep)
    names = sorted(read_object(folder / FILES, "a record of files")["files"].keys() - drawn - {FILES})
    contents = {}
    for name in names:
        with open_file(folder, name) as file:
            contents[name] = file.read()
    return contents


def write_outputs(
    result: Result,
    folder: str | os.PathLike,
    *,
    gan_project: views.Projection | None = None,
    options: OutputOptions = OutputOptions(),
    extra: Mapping[str, Any] | None = None,
    made_with: Mapping[str, Any] | None = None,
) -> None:
    """Writes arrays, pictures, strips, animations, meshes, metrics and the overview of a result: all of `outputs`.

    The folder is written anew as a whole: an existing result is replaced only once everything is written. `gan_project`
    is the GAN's rendition of pictures; without it the files whose names end in `_gan` are not made. `extra` are
    contents of further files as for `write_folder`, such as the networks' weights; `made_with` is for the folder's
    record.
    """
    drawing = Drawing(result, options, gan_project, (extra or {}).get(_PHOTO))
    presets = PRESETS[: PRESETS.index(options.preset) + 1]
    chosen = [output.write for output in outputs() if output.write is not None and output.preset in presets]
    drawn = (write(drawing) or {} for write in chosen)
    write_folder(folder, itertools.chain([extra or {}], drawn), made_with)


def add_textured(folder: pathlib.Path, result: Result, files: Mapping[str, Any]) -> None:
    """Adds files to a folder, each whole, with those that the texture of a result adds to its folder or changes there.

    Raises `UserError` if the file system refuses.
    """
    drawing = Drawing(result, OutputOptions(), photo=files.get(_PHOTO))
    drawn = dict(files)
    for write in (_glb, _obj, _usdz, _texture):
        drawn |= write(drawing) or {}
    for name, write in ((FRAGMENT, _fragment), ("photographs.png", _photographs), ("overview.png", _overview)):
        drawn |= (write(drawing) or {}) if (folder / name).exists() else {}
    add_files(folder, drawn, gone=["mesh.png"])  # the albedo
