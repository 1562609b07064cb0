"""`gan2shape-jax edit`: rotates and relights a result by its mesh ("3D") and by the GAN; `render`: by its mesh alone.

Several angles or lights make several views: columns of a still picture, frames of an animation, or files in a folder,
each of which appears whole or not at all. With both versions, a still has a row of each, the input at the left (in the
GAN's row, the GAN's own image of it, from which that row starts); in an animation they stand side by side.

The GAN's pictures are made as in step 2 of the training: the result's factors are lit and rendered by sampling the
canonical texture at the warped depth; the trained encoder turns such a rendering into an offset of the latent code, and
the frozen generator draws the picture (GAN2Shape, sections 3.2 and 4.3).

Views `(n, 6)` are in radians and scene units from the canonical frame, lights `(n, 4)` are ambient, diffuse, dx, dy,
with the signs of a result's `camera.json`; pictures are in [-1, 1]. Angles are in degrees on the command line.
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

from gan2shape_jax.apps import option_types
from gan2shape_jax.errors import UserError, exit_code, one_line
from gan2shape_jax.geometry import resample
from gan2shape_jax.geometry.lighting import normals, shade
from gan2shape_jax.io import arrays, data
from gan2shape_jax.io.files import atomic_file, atomic_folder, require_file_place, require_folder_place
from gan2shape_jax.io.image_files import MOST_GIF_PIXELS
from gan2shape_jax.method import frozen, losses, models, projection
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.sampling import render_factors
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import resolve
from gan2shape_jax.results import pictures
from gan2shape_jax.results.outputs import outputs
from gan2shape_jax.results.pictures import MOVING, Tile
from gan2shape_jax.results.reconstruction import Reconstruction, load
from gan2shape_jax.results.tables import csv_text
from gan2shape_jax.results.views import AMBIENT_SHARE, SHOWS, gan_tiles, pictures_in_turn, stronger, sweep_views
from gan2shape_jax.run.folder import SavedRun, find_run
from gan2shape_jax.training import network_files

STILLS = (".png", ".jpg", ".jpeg", ".webp")
_MOST_DEG = 36000  # a hundred turns: float32 still resolves hundredths of a degree
_SMALLEST = 256  # pixels; smaller pictures are enlarged for viewing
_CHOSEN = ("yaw", "pitch", "roll", "light", "strength", "ambient", "diffuse")
_RENDER_EPILOG = """\
examples:
  gan2shape-jax render RESULT --yaw 30
  gan2shape-jax render RESULT --yaw -60 -30 0 30 60 --what shape --out strip.png
  gan2shape-jax render RESULT --yaw -60 60 --frames 48 --out turn.mp4
  gan2shape-jax render RESULT --light -1.5 0.3 --light 1.5 0.3 --frames 30 --out relight.gif
  gan2shape-jax render RESULT --base input --light 1 0 --ambient 0.1 --diffuse 0.9
"""
_EPILOG = """\
examples:
  gan2shape-jax edit results/ictface/results/006 --yaw -40 -20 0 20 40
  gan2shape-jax edit results/ictface/results/006 --light -0.9 0 --light 0 0.8 --light 0.9 0 --strength 0.5
  gan2shape-jax edit results/ictface/results/006 --yaw -40 40 --frames 32 --swing --out turn.mp4
  gan2shape-jax edit results/ictface/results/006 --version gan --yaw -40 40 --frames 9 --size 64 --out frames
  gan2shape-jax edit results/ictface/results/006 --base input --yaw 15 --light 0.8 0.2

Angles start from the front, or, where only the light is changed, from the input's own view; --base says otherwise.
"""
_ABOUT = (
    "Rotates and relights a saved result: in 3D, by rendering its mesh, and with the GAN, which\n"
    "generates a photo of the same view. The mesh follows angle and light exactly; the GAN's pictures\n"
    "look more like photos."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command `edit`; returns the exit status, 1 after an error that has been printed."""
    return exit_code(lambda: _run(_parser("edit").parse_args(argv)))


def render(argv: Sequence[str] | None = None) -> int:
    """Runs the command `render`; returns the exit status, 1 after an error that has been printed."""
    return exit_code(lambda: _run(_parser("render").parse_args(argv)))


def _parser(command: str) -> argparse.ArgumentParser:
    by_gan = command == "edit"
    about = _ABOUT if by_gan else "Draws new views of a saved result from its mesh, without GAN or networks."
    parser = option_types.parser(command, about, _EPILOG if by_gan else _RENDER_EPILOG)
    parser.set_defaults(command=command, version="3d", what="image", run=None, gan=None, latent=None)
    option_types.add_result(parser)
    if by_gan:
        about = "by the mesh, by the GAN, or both to compare (default: both)"
        parser.add_argument("--version", choices=("3d", "gan", "both"), default="both", help=about)
    _add_shots(parser)
    group = parser.add_argument_group("pictures")
    add = group.add_argument
    start = "; the input's where no angle is given" if by_gan else ""
    about = f"the view that the angles start from (default: canonical, the front{start})"
    add("--base", choices=("canonical", "input"), default=None if by_gan else "canonical", help=about)
    if not by_gan:
        about = "what to show (default: image); shape is grey under a light at the camera"
        add("--what", choices=SHOWS, default="image", help=about)
    about = "the mesh shows only the object, or the whole depth map (default: the object)"
    add("--mask", action=argparse.BooleanOptionalAction, default=True, help=about)
    own = f"the GAN's own, which is printed at the end, {_SMALLEST} at least" if by_gan else "512"
    about = f"side of one picture, pixels (default: {own})"
    add("--size", type=option_types.size(), default=None if by_gan else 512, metavar="PIXELS", help=about)
    kinds = f"{', '.join(STILLS)}: all views in one picture; {', '.join(MOVING)}: an animation; "
    folder = f"without extension: a new folder of single pictures and frames.csv (default: RESULT/{command}.png)"
    option_types.add_out_file(group, "PATH", kinds + folder)
    if by_gan:
        group = parser.add_argument_group("files that have moved since the run")
        option_types.add_path(group, "--run", "FOLDER", "the run that RESULT was made in")
        option_types.add_gan(group, "--gan", "the GAN")
        option_types.add_path(group, "--latent", "FILE", "the input's latent (.npy, .pt)")
    return parser


class _Version(NamedTuple):
    """One version of all views: `start` is the input, or the GAN's image of it; `frames` can be drawn only once."""

    name: str
    heading: str
    start: Tile
    frames: Iterable[np.ndarray]


def _run(options: argparse.Namespace) -> None:
    if options.command == "edit" and all(getattr(options, name) is None for name in _CHOSEN):
        raise UserError("nothing to edit: set --yaw, --pitch, --roll, --light or --strength (--help has examples)")
    result = load(options.result)
    out = _checked_out(options)
    shots = _shots(options, result)
    editor, shown, l1 = None, list[_Version](), list[float]()
    if options.version != "3d":
        editor = load_editor(options.result, run=options.run, gan=options.gan, latent=options.latent)
        _require_views_of_run(editor, shots.views)
    size = options.size or max(_SMALLEST, editor.size if editor else 0)
    count = len(shots.views)
    still, moving = (count * size, size), (size, size)
    if options.version == "both":
        still = pictures.contact_sheet_size(size, count + 1, [True] * 2, subtitle=bool(shots.note))
        moving = pictures.contact_sheet_size(size, 3, [True])
    _require_size(out, still, moving, count)
    if options.version != "gan":
        how = {"show": options.what, "size": size, "cut": options.mask}
        frames = pictures_in_turn(result, shots.views, shots.lights, **how)
        start = Tile(pictures.enlarge(pictures.to_uint8(result.signed_image), size), "input")
        shown.append(_Version("3d", "3D: the mesh", start, frames))
    if editor is not None:
        heading = "GAN: the generator's picture of the same view"
        start = Tile(_tiles(editor.picture[None], size)[0], "the GAN's image of it")
        shown.append(_Version("gan", heading, start, _gan_frames(editor, shots, l1, size)))
    write(
        out,
        still=lambda: _still(shown, shots, title=result.name),
        moving=lambda: _moving(shown, shots, title=result.name),
        single=lambda: _single(shown, shots, l1),
        swing=options.swing,
    )
    print(one_line(f"wrote {out}: {count} view{'s' if count > 1 else ''} of {result.name}"))
    if editor is not None:
        at, low, high = "" if size == editor.size else f", shown at {size}", f"{min(l1):.3f}", f"{max(l1):.3f}"
        print(
            f"the GAN's pictures have {editor.size} pixels{at}; mean difference to the renderings they follow: "
            f"{low if low == high else f'{low} to {high}'} (values in [-1, 1])"
        )
        if usual := _beyond_training(editor, shots):
            range_note = f"the encoder was mostly trained on {', '.join(usual)}"
            print(f"note: {range_note}; beyond, the GAN may not follow", file=sys.stderr)


def _require_views_of_run(editor: "Editor", views: Float[np.ndarray, "n 6"]) -> None:
    """Raises `UserError` if an angle is beyond those that the run's view network can tell."""
    limit, degrees = float(editor.settings.view_range.rotation_deg), np.rad2deg(views[:, :3])
    worst = np.unravel_index(np.argmax(np.abs(degrees)), degrees.shape)
    if np.abs(degrees[worst]) > limit + 0.1:
        axis = ("pitch", "yaw", "roll")[worst[1]]
        raise UserError(
            f"a {axis} of {degrees[worst]:.0f}° from the front is beyond the views of this run (config.camera."
            f"xyz_rotation_range_deg is {limit:g}): the GAN's version cannot show it; --version 3d can"
        )


_SIGNS = {
    "pitch": "pitch lowers the front",
    "yaw": "yaw turns the front to the picture's left",
    "roll": "roll turns clockwise",
    "light": "light comes from the picture's left, and from above",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Shots:
    """What each frame shows: `views` (n, 6) in radians and scene units; `lights` (n, 4) ambient, diffuse, dx, dy."""

    views: Float[np.ndarray, "n 6"]
    lights: Float[np.ndarray, "n 4"]
    captions: list[str]  # what sets each frame apart from the others: "yaw -40°", "light -1, +0.3"
    note: str  # what angles and signs in the captions mean, for the reader of a picture


def _add_shots(parser: argparse.ArgumentParser) -> None:
    """Adds the options of angles, of light and of the number of frames."""
    group = parser.add_argument_group("angles")
    for name, meaning in (
        ("yaw", "turn about the vertical, degrees; positive turns the front to the picture's left"),
        ("pitch", "nod, degrees; positive lowers the front"),
        ("roll", "turn in the picture's plane, degrees, positive clockwise"),
    ):
        kind = option_types.number(f"--{name}", -_MOST_DEG, _MOST_DEG, "degrees")
        group.add_argument(f"--{name}", type=kind, nargs="+", metavar="DEG", help=f"{meaning} (default: 0)")
    group = parser.add_argument_group("light")
    light = functools.partial(option_types.number, low=-1000, high=1000)  # strengths, and dx and dy
    about = (
        "light direction (DX, DY, 1), from the object's front: positive DX from the picture's left, positive "
        "DY from above; may be repeated (default: the result's own)"
    )
    group.add_argument("--light", type=light("--light"), nargs=2, action="append", metavar=("DX", "DY"), help=about)
    about = (
        f"adds R to the directional light and takes {AMBIENT_SHARE:g} R from the ambient one, as the method's "
        "relighting does with 0.3 and 0.6 (default: 0)"
    )
    group.add_argument("--strength", type=light("--strength"), metavar="R", help=about)
    for name, meaning in (("ambient", "ambient"), ("diffuse", "directional")):
        about = f"strength of {meaning} light (default: the result's)"
        group.add_argument(f"--{name}", type=light(f"--{name}"), help=about)
    group = parser.add_argument_group("frames")
    about = "frames, spread evenly from the first angle or light to the last (default: one for each)"
    frames = option_types.whole("--frames", 1, option_types.MOST_FRAMES)
    group.add_argument("--frames", type=frames, metavar="N", help=about)
    group.add_argument("--swing", action="store_true", help="animations go back the same way instead of starting over")


def _shots(options: argparse.Namespace, result: Reconstruction) -> Shots:
    """Returns the frames that the options ask for; `UserError` if too many, or the numbers of values disagree.

    Angles start where --base says, else from the front, or from the input's view if only the light is given.
    """
    own = result.light
    tracks = {name: np.array(getattr(options, name) or [0.0])[:, None] for name in ("pitch", "yaw", "roll")}
    tracks["light"] = np.array(options.light or [own[2:].tolist()])
    longest = max(map(len, tracks.values()))
    for name, track in tracks.items():
        if options.frames is None and len(track) not in (1, longest):
            raise UserError(
                f"--{name} has {len(track)} values, another option {longest}: use one, or as many, or spread them "
                "over --frames"
            )
    count = options.frames or longest
    if count > option_types.MOST_FRAMES:
        raise UserError(f"{count} angles or lights: at most {option_types.MOST_FRAMES} views are drawn")
    tracks_by_name = {name: _interpolated(track, count) for name, track in tracks.items()}
    strengths = options.ambient, options.diffuse, None, None
    base = np.array([mine if strength is None else strength for mine, strength in zip(own, strengths)], np.float32)
    lights = np.array([stronger(base, options.strength or 0.0, *pair) for pair in tracks_by_name["light"]])
    turned = sweep_views(**{f"{name}_deg": tracks_by_name[name][:, 0] for name in ("pitch", "yaw", "roll")})
    chosen = [name for name in tracks_by_name if getattr(options, name)]
    angles = [name for name in chosen if name != "light"]
    from_input = options.base == "input" if options.base else not angles
    note = "positive " + "; positive ".join(_SIGNS[name] for name in chosen) if chosen else ""
    if from_input and angles:
        note += "; angles from the input's view"
    varied = [name for name in chosen if np.ptp(tracks_by_name[name], axis=0).any()] or chosen
    captions = ["  ".join(_caption(name, tracks_by_name[name][i]) for name in varied) for i in range(count)]
    return Shots(turned + result.view if from_input else turned, lights, captions, note)


def _interpolated(track: np.ndarray, count: int) -> np.ndarray:
    """Resamples keyframes (k, c) evenly to (count, c), linearly in between."""
    where = np.linspace(0, len(track) - 1, count)
    return np.stack([np.interp(where, np.arange(len(track)), column) for column in track.T], axis=-1)


def _caption(name: str, values: np.ndarray) -> str:
    digits, unit = (1, "") if name == "light" else (0, "°")
    numbers = (f"{value:+.{digits}f}{unit}" if round(float(value), digits) else f"0{unit}" for value in values)
    return f"{name} " + ", ".join(numbers)


_MOST_SIDE = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383, ".mp4": 16384, ".gif": 65535}  # that their encoders take
_MOST_PIXELS = 2**28  # of one picture; Pillow itself opens no larger one without being asked to
_FPS = 16.0


def _checked_out(options: argparse.Namespace) -> pathlib.Path:
    """Returns the file, or the folder if it has no extension, that is written; `UserError` if it cannot be."""
    out: pathlib.Path = options.out or options.result / f"{options.command}.png"
    if not out.suffix:
        if not os.path.isdir(out.parent):
            raise UserError(f"--out {out}: there is no folder {out.parent}")
        require_new_folder(out)
        return out
    own = {pathlib.PurePath(name).stem for output in outputs() for name in output.files}
    if (out.parent / "result.json").is_file() and out.stem in own:
        raise UserError(f"--out {out} would overwrite a file of the result itself: choose another name")
    require_file_place(out, endings=STILLS + MOVING, overwrite=options.overwrite or options.out is None)
    return out


def require_new_folder(out: pathlib.Path) -> None:
    """Raises `UserError` unless `out` can be created or is an empty folder: nothing is ever overwritten there."""
    require_folder_place(out)
    require_folder_place(out.absolute().parent)  # where it is first written under another name
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out {out} exists and holds other files: name a new folder, or empty this one")


def _require_size(out: pathlib.Path, still: tuple[int, int], moving: tuple[int, int], frames: int) -> None:
    """Raises `UserError` if a file of this name cannot hold a picture or an animation of this width and height."""
    ending = out.suffix.lower()
    width, height = moving if ending in MOVING else still
    at_once, most = (frames, MOST_GIF_PIXELS) if ending == ".gif" else (1, _MOST_PIXELS)
    if ending and (max(width, height) > _MOST_SIDE.get(ending, width * height) or at_once * width * height > most):
        what = f"{frames} frames of {width} x {height} pixels" if ending in MOVING else f"{width} x {height} pixels"
        instead = "use a smaller --size, fewer --frames, or a new folder as --out"
        raise UserError(f"--out {out}: {what} are more than {ending[1:].upper()} can hold: {instead}")


def write(
    out: pathlib.Path,
    *,
    still: Callable[[], np.ndarray],
    moving: Callable[[], Iterable[np.ndarray]],
    single: Callable[[], Iterable[tuple[str, np.ndarray | str]]],
    swing: bool,
) -> None:
    """Writes a picture, an animation or a new folder, as the extension says; `UserError` if that is impossible.

    `still` draws the picture, `moving` the frames of the animation, which swings back or starts over; `single` yields
    a folder's files, pictures or text, each after its name.
    """
    if not out.suffix:
        require_new_folder(out)
        with atomic_folder(out) as fresh:
            for name, content in single():
                if isinstance(content, str):
                    (fresh / name).write_text(content, encoding="utf-8")
                else:
                    pictures.write_png(fresh / name, content)
    elif out.suffix.lower() in MOVING:
        atomic_file(out, functools.partial(pictures.write_animation, frames=moving(), fps=_FPS, swing=swing))
    elif out.suffix.lower() == ".png":
        atomic_file(out, functools.partial(pictures.write_png, picture=still()))
    else:
        atomic_file(out, functools.partial(Image.fromarray(still()).save, quality=95))


@dataclasses.dataclass(frozen=True, eq=False)
class Editor:
    """What the GAN's version of a result needs."""

    result: Reconstruction
    settings: Settings  # of its run
    frozen: FrozenModels  # the GAN; its view statistics are the run's, or zero if their file is gone
    params: models.Params  # the trained encoder, under the key `encoder`
    latent: jax.Array  # (1, W) or (1, L, W), of the input
    reference: jax.Array  # (1, S, S, 3), the GAN's picture of the latent
    picture: np.ndarray  # (c, c, 3), the same picture at the size the GAN draws it, c = `size`

    @property
    def size(self) -> int:
        """Side of the GAN's pictures in pixels: the GAN's own, or that of the crop."""
        return self.picture.shape[0]


def _gan_frames(editor: Editor, shots: Shots, l1: list[float], size: int) -> Iterator[np.ndarray]:
    """Yields the GAN's version; each view's difference to its rendering is appended to `l1` when its frame is drawn."""
    for drawn, differences in edit_in_parts(editor, shots.views, shots.lights):
        l1.extend(differences.tolist())
        yield from _tiles(drawn, size)


def _tiles(drawn: Float[np.ndarray, "n c c 3"], size: int) -> list[np.ndarray]:
    """Shrinks as the method does, so that side S shows what it works with; enlarges smoothly."""
    if size < drawn.shape[1]:
        drawn = np.asarray(resample.resize(jnp.asarray(drawn), size))
    return gan_tiles(drawn, size)


def _still(versions: Sequence[_Version], shots: Shots, *, title: str) -> np.ndarray:
    """Returns all views in one picture, uint8 (h, w, 3); a single version is shown alone, without the input."""
    if len(versions) == 1:
        return pictures.strip([versions[0].frames], gap=0)
    rows = []
    for version in versions:
        tiles = (Tile(frame, caption) for frame, caption in zip(version.frames, shots.captions))
        rows.append((version.heading, [version.start, *tiles]))
    return np.asarray(pictures.contact_sheet(rows, title=title, subtitle=shots.note))


def _moving(versions: Sequence[_Version], shots: Shots, *, title: str) -> Iterable[np.ndarray]:
    """Returns a frame, uint8 (h, w, 3), for each view."""
    if len(versions) == 1:
        return versions[0].frames

    def sheet(caption: str, *drawn: np.ndarray) -> np.ndarray:
        headings = (version.heading.partition(":")[0] for version in versions)
        tiles = [versions[0].start, *map(Tile, drawn, headings)]
        return np.asarray(pictures.contact_sheet([(caption, tiles)], title=title))

    return map(sheet, shots.captions, *(version.frames for version in versions))


def _single(versions: Sequence[_Version], shots: Shots, l1: list[float]) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yields every picture after its name, then as CSV what each numbered one shows, angles from the canonical view."""
    for version in versions:
        yield "input.png" if version.name == "3d" else f"input_{version.name}.png", version.start.picture
    for version in versions:  # which fills `l1`, if the GAN's version is among them
        ending = "" if [version.name] == ["3d"] * len(versions) else f"_{version.name}"
        for i, frame in enumerate(version.frames):
            yield f"{i:03}{ending}.png", frame
    titles = ["frame", "pitch_deg", "yaw_deg", "roll_deg", "ambient", "diffuse", "dx", "dy", *["gan_l1"] * bool(l1)]
    values = np.column_stack([np.rad2deg(shots.views[:, :3]), shots.lights, *([l1] if l1 else [])])
    rows = [[f"{i:03}", *row] for i, row in enumerate(values.round(5).tolist())]
    yield "frames.csv", csv_text(titles, rows)


_Given = str | pathlib.Path | None
_SAME_PICTURE = 0.02  # mean absolute difference; rounding on another machine stays far below it
_BATCH = 8  # views drawn together
_USUAL = 2.0  # standard deviations of the sampled views; 5% of a normal distribution lies beyond


def load_editor(folder: str | pathlib.Path, *, run: _Given = None, gan: _Given = None, latent: _Given = None) -> Editor:
    """Loads what the folder of one image's results and its run's configuration refer to.

    The run's folder and the files of GAN and latent can be named if they are no longer where they were. Raises
    `UserError`: a file is missing or damaged, or does not belong to the result.
    """
    folder = pathlib.Path(folder)
    result = load(folder)
    saved = find_run(folder, run)
    config = saved.config.copy_and_resolve_references().unlock()
    checkpoint = pathlib.Path(gan) if gan else saved.locate(config.gan.checkpoint)
    if not checkpoint.is_file():
        gone = f"the GAN of this run, {checkpoint}, is gone: name it with --gan FILE"
        raise UserError(f"--gan {gan}: there is no such file" if gan else gone)
    config.gan.checkpoint = str(checkpoint)
    architecture, gan_weights = inputs.load_gan(config)
    side = result.original_size or config.lift.cropped_from
    settings = resolve(config.lock()).settings(architecture, original_size=side)
    if settings.camera != result.camera:
        raise UserError(
            f"{folder} was not made by the run of {saved.root}: its camera is {result.camera}, the "
            f"run's {settings.camera}; name the run's folder with --run FOLDER"
        )
    mvn = {}  # only serves to judge how usual a view is
    for name, dims in (("view_mvn", 6), ("light_mvn", 4)):
        path = saved.locate(config.sampling[name])
        mvn[name] = arrays.load_mvn(path, dims) if path.is_file() else (np.zeros(dims), np.zeros((dims, dims)))
    mean_w = inputs.mean_latent(gan_weights, architecture) if config.gan.truncation < 1 else None
    view_mvn, light_mvn = mvn["view_mvn"], mvn["light_mvn"]
    fixed = frozen.build(
        gan_weights, architecture, view_mvn=view_mvn, light_mvn=light_mvn, F1_d=config.gan.F1_d, mean_w=mean_w
    )
    params = trained(folder, saved, settings, ("encoder",))
    stored_latent = _latent(saved, result.name, latent, architecture.style_dim)
    w = inputs.usable_latent(stored_latent, result.name, config, architecture, fixed)
    picture = jax.jit(projection.synthesize_large)(w, fixed, settings)
    reference = resample.resize(picture, settings.image_size)  # as `projection.gan_image` does
    apart = 0.0 if result.gan_image is None else float(np.abs(np.asarray(reference[0]) - result.gan_image).mean())
    if not apart < _SAME_PICTURE:
        raise UserError(
            f"{checkpoint} draws another picture of {result.name}'s latent than the result's gan_image.png "
            f"(mean difference {apart:.3f}): this is not the run's GAN or not its latent; name them with "
            "--gan FILE and --latent FILE"
        )
    return Editor(result, settings, fixed, params, w, reference, np.asarray(picture[0]))


def trained(folder: pathlib.Path, saved: SavedRun, settings: Settings, names: tuple[str, ...]) -> models.Params:
    """Loads trained networks, the image's own or those that all images of the run share; `UserError` if it cannot."""
    places = [folder / "networks.safetensors", saved.root / "networks.safetensors"]
    if saved.config.recipe == "predict":
        places.append(saved.locate(saved.config.networks.pretrained))
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(
            f"{places[0]} is missing: the GAN's pictures need the trained networks, which a run keeps unless "
            "config.outputs.networks is 'none'; reconstruct again (--version 3d of edit needs none)"
        )
    like = models.shapes(settings)
    networks = network_files.load_networks(path, like, settings, needed=names)
    return {name: networks[name] for name in names}


def _latent(saved: SavedRun, name: str, latent: _Given, style_dim: int) -> np.ndarray:
    """Loads the latent that the run read, or the one that it computed by inverting the GAN."""
    if latent:
        return arrays.load_latent(latent, style_dim)
    places = [saved.root / "latents"]
    if saved.config.data.latent_root:
        places.insert(0, saved.locate(saved.config.data.latent_root))
    path = next((path for place in places if (path := data.find(str(place), name, data.LATENT_KINDS))), None)
    if path is None:
        if saved.config.recipe == "predict":
            never = f"{name} was explained by a model alone, without a latent, which the GAN's pictures start from"
            how = "--version 3d draws the mesh; the GAN draws it once refined (photo --refine), or with --latent FILE"
            raise UserError(f"{never}: {how}")
        looked = " and ".join(map(str, places))
        raise UserError(f"the latent of {name} is no longer there (looked in {looked}): name it with --latent FILE")
    return arrays.load_latent(path, style_dim)


def edit_in_parts(
    editor: Editor, views: Float[np.ndarray, "n 6"], lights: Float[np.ndarray, "n 4"]
) -> Iterator[tuple[Float[np.ndarray, "k c c 3"], Float[np.ndarray, " k"]]]:
    """Yields the GAN's pictures of the views, c = `Editor.size`, some at a time: one program serves any number.

    With them come their mean absolute differences, at side S, to the renderings that the encoder was given, over the
    object's mask.
    """
    result = editor.result
    names = ("depth", "signed_albedo", "view", "light", "mask")
    factors = Factors(*(jnp.asarray(getattr(result, name)) for name in names))
    fixed = editor.latent, editor.reference, editor.frozen
    for start in range(0, len(views), _BATCH):
        rows = np.minimum(np.arange(start, start + _BATCH), len(views) - 1)
        turned, lit = (jnp.asarray(values[rows], jnp.float32) for values in (views, lights))
        pictures, l1 = _edit(editor.params, factors, turned, lit, *fixed, settings=editor.settings)
        yield np.asarray(pictures)[: len(views) - start], np.asarray(l1)[: len(views) - start]


@jax.jit
def _edit(
    params: models.Params,
    factors: Factors,
    views: Float[jax.Array, "n 6"],
    lights: Float[jax.Array, "n 4"],
    latent: jax.Array,
    reference: Float[jax.Array, "1 s s 3"],
    frozen: FrozenModels,
    *,
    settings: Settings,
) -> tuple[jax.Array, jax.Array]:
    shading, _ = shade(normals(factors.depth, settings.camera, unit=settings.unit_normals), lights)
    pseudo, masks = render_factors(factors, shading, views, settings)
    offset = projection.latent_offset(params, pseudo, reference, frozen, settings)
    pictures = projection.synthesize_large(projection.apply_offset(latent, offset, settings), frozen, settings)
    return pictures, jax.vmap(losses.photometric)(resample.resize(pictures, settings.image_size), pseudo, masks)


def _beyond_training(editor: Editor, shots: Shots) -> list[str]:
    """Returns, in words, the range mostly seen in training of each angle or light that the request takes beyond it."""
    settings, frozen = editor.settings, editor.frozen
    scale = float(settings.view_range.rotation_deg) * np.array([1, float(settings.view_scale), 1])
    mean = np.asarray(frozen.view_mean)[:3] * scale
    deviations = np.linalg.norm(np.asarray(frozen.view_factor), axis=-1)[:3] * scale
    sentences = []
    for name, values, middle, deviation in zip(
        ("pitch", "yaw", "roll"), np.rad2deg(shots.views[:, :3]).T, mean, deviations
    ):
        low, high = middle - _USUAL * deviation, middle + _USUAL * deviation
        if deviation > 0 and ((values < low - 0.5) | (values > high + 0.5)).any():
            sentences.append(f"{name} of {low:+.0f}° to {high:+.0f}°")
    x0, x1, y0, y1, *_ = map(float, settings.rand_light)
    (dx, dy), own = shots.lights[:, 2:].T, editor.result.light[2:]
    outside = (dx < x0) | (dx > x1) | (dy < y0) | (dy > y1)
    if (outside & (shots.lights[:, 2:] != own).any(axis=-1)).any():
        sentences.append(f"light from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g})")
    return sentences
