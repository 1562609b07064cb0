"""`gan2shape-jax edit`: rotates and relights a result with its mesh ("3D") and with the GAN, side by side.

Angles are in degrees on the command line. Several angles or lights make several views: columns of a still picture,
frames of an animation, or files in a folder. A still has one row per version, with the input at the left (in the GAN's
row, the GAN's own image of it, from which that row starts); in an animation the versions stand side by side.

The GAN's pictures are made as in step 2 of the training: the result's factors are lit and rendered by sampling the
canonical texture at the warped depth; the trained encoder turns such a rendering into an offset of the latent code, and
the frozen generator draws the picture. It follows the angles as far as encoder and GAN can, the mesh exactly. Source:
GAN2Shape, sections 3.2 and 4.3.

The result's folder holds the factors and the trained encoder; the run's folder around it holds the configuration,
which names the GAN and the latent. Files may have moved since then, so each path can be given explicitly.

Views `(n, 6)` are in radians and scene units from the canonical frame, lights `(n, 4)` are ambient, diffuse, dx, dy;
pictures are in [-1, 1].
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from gan2shape_jax.apps import option_types, render
from gan2shape_jax.apps.render import Shots
from gan2shape_jax.errors import UserError, exit_code, one_line
from gan2shape_jax.geometry import resample
from gan2shape_jax.geometry.lighting import normals, shade
from gan2shape_jax.io import arrays, data
from gan2shape_jax.method import frozen, losses, models, projection
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.sampling import render_factors
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.results import pictures
from gan2shape_jax.results.pictures import MOVING, Tile
from gan2shape_jax.results.reconstruction import Reconstruction, load
from gan2shape_jax.results.tables import csv_text
from gan2shape_jax.results.views import gan_tiles, pictures_in_turn
from gan2shape_jax.run import prepare
from gan2shape_jax.run.folder import SavedRun, find_run
from gan2shape_jax.run.recipe import resolve
from gan2shape_jax.training import network_files

_SMALLEST = 256  # pixels; smaller pictures are enlarged for viewing
_LABELLED = 128  # pixels; below this, captions overlap
_GAP = 2  # pixels, between pictures without captions
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
    """Runs the command; returns the exit status, 1 after an error that has been printed."""
    return exit_code(lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = option_types.parser("edit", _ABOUT, _EPILOG)
    about = "the folder of one image's results, inside the folder of its run"
    option_types.add_path(parser, "RESULT", "RESULT", about)
    about = "by the mesh, by the GAN, or both to compare (default: both)"
    parser.add_argument("--version", choices=("3d", "gan", "both"), default="both", help=about)
    render.add_shots(parser)
    group = parser.add_argument_group("pictures")
    add, yes_no = group.add_argument, argparse.BooleanOptionalAction
    about = "the view that the angles start from (default: canonical, the front; the input's where no angle is given)"
    add("--base", choices=("canonical", "input"), help=about)
    about = "3D shows only the object, or the whole depth map (default: the object)"
    add("--mask", action=yes_no, default=True, help=about)
    about = "side of one picture; the GAN's own side, where nothing is enlarged or shrunk, is printed at the end "
    add("--size", type=option_types.size(), metavar="PIXELS", help=f"{about}(default: that side, {_SMALLEST} at least)")
    about = f"headings, captions and the input (default: with both, from {_LABELLED} pixels on)"
    add("--labels", action=yes_no, help=about)
    kinds = f"{', '.join(render.STILLS)}: all views in one picture; {', '.join(MOVING)}: an animation; "
    folder = "without extension: a new folder of single pictures and frames.csv (default: RESULT/edit.png)"
    option_types.add_out_file(group, "PATH", kinds + folder)
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
    chosen = ("yaw", "pitch", "roll", "light", "strength", "ambient", "diffuse")
    if all(getattr(options, name) is None for name in chosen):
        raise UserError("nothing to edit: set --yaw, --pitch, --roll, --light or --strength (--help has examples)")
    result = load(options.result)
    out = render.checked_out(options, "edit.png")
    shots = render.shots(options, result)
    views, count, versions = shots.views, len(shots.views), 2 if options.version == "both" else 1

    editor, shown, l1 = None, list[_Version](), list[float]()
    if options.version != "3d":
        editor = load_editor(options.result, run=options.run, gan=options.gan, latent=options.latent)
        limit, degrees = float(editor.settings.view_range.rotation_deg), np.rad2deg(views[:, :3])
        worst = np.unravel_index(np.argmax(np.abs(degrees)), degrees.shape)
        if np.abs(degrees[worst]) > limit + 0.1:
            axis = ("pitch", "yaw", "roll")[worst[1]]
            raise UserError(
                f"a {axis} of {degrees[worst]:.0f}° from the front is beyond the views of this run (config.camera."
                f"xyz_rotation_range_deg is {limit:g}): the GAN's version cannot show it; --version 3d can"
            )
    size = options.size or max(_SMALLEST, editor.size if editor else 0)
    labels = options.labels if options.labels is not None else versions > 1 and size >= _LABELLED
    alone = versions == 1 and not labels  # without the input, and without gaps

    def sheet_size(rows: int, columns: int, *, subtitle: bool) -> tuple[int, int]:
        if labels:
            return pictures.contact_sheet_size(size, columns, [True] * rows, subtitle=subtitle)
        gap = 0 if alone else _GAP
        return columns * (size + gap) - gap, rows * (size + gap) - gap

    still = sheet_size(versions, count if alone else count + 1, subtitle=bool(shots.note))
    render.require_size(out, still, sheet_size(1, 1 if alone else versions + 1, subtitle=False), count)
    if options.version != "gan":
        frames = pictures_in_turn(result, views, shots.lights, size=size, cut=options.mask)
        start = Tile(pictures.enlarge(pictures.to_uint8(result.signed_image), size), "input")
        shown.append(_Version("3d", "3D: the mesh", start, frames))
    if editor is not None:
        heading = "GAN: the generator's picture of the same view"
        start = Tile(_tiles(editor.picture[None], size)[0], "the GAN's image of it")
        shown.append(_Version("gan", heading, start, _gan_frames(editor, shots, l1, size)))
    render.write(
        out,
        still=lambda: _still(shown, shots, labels=labels, title=result.name),
        moving=lambda: _moving(shown, shots, labels=labels, title=result.name),
        single=lambda: _single(shown, shots, l1),
        fps=options.fps,
        swing=options.swing,
    )
    print(one_line(f"wrote {out}: {count} view{'s' if count > 1 else ''} of {result.name}"))
    if editor is not None:
        at, low, high = "" if size == editor.size else f", shown at {size}", f"{min(l1):.3f}", f"{max(l1):.3f}"
        print(
            f"the GAN's pictures have {editor.size} pixels{at}; mean difference to the renderings they follow: "
            f"{low if low == high else f'{low} to {high}'} (values in [-1, 1])"
        )
        if usual := beyond_training(editor, views, shots.lights):
            range_note = f"the encoder was mostly trained on {', '.join(usual)}"
            print(f"note: {range_note}; beyond, the GAN may not follow", file=sys.stderr)


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


def _still(versions: Sequence[_Version], shots: Shots, *, labels: bool, title: str) -> UInt8[np.ndarray, "h w 3"]:
    """Returns all views in one picture; without labels, a single version is shown alone, without the input."""
    if labels:
        rows = []
        for version in versions:
            tiles = (Tile(frame, caption) for frame, caption in zip(version.frames, shots.captions))
            rows.append((version.heading, [version.start, *tiles]))
        return np.asarray(pictures.contact_sheet(rows, title=title, subtitle=shots.note))
    alone = len(versions) == 1
    shown = [[*([] if alone else [version.start.picture]), *version.frames] for version in versions]
    return pictures.strip(shown, gap=0 if alone else _GAP)


def _moving(versions: Sequence[_Version], shots: Shots, *, labels: bool, title: str) -> Iterator[np.ndarray]:
    """Yields a frame, uint8 (h, w, 3), for each view."""
    if not labels and len(versions) == 1:
        yield from versions[0].frames
        return
    headings = [version.heading.partition(":")[0] for version in versions]
    for caption, *drawn in zip(shots.captions, *(version.frames for version in versions)):
        tiles = [versions[0].start, *(Tile(picture, heading) for picture, heading in zip(drawn, headings))]
        if labels:
            yield np.asarray(pictures.contact_sheet([(caption, tiles)], title=title))
        else:
            yield pictures.strip([[tile.picture for tile in tiles]], gap=_GAP)


def _single(versions: Sequence[_Version], shots: Shots, l1: list[float]) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yields every picture after its name, then what each numbered one shows, angles from the canonical view, as CSV.

    Once the pictures are drawn, `l1` holds the differences to the renderings, if the GAN's version is among them.
    """
    for version in versions:
        yield "input.png" if version.name == "3d" else f"input_{version.name}.png", version.start.picture
    for version in versions:
        for i, frame in enumerate(version.frames):
            yield f"{i:03}_{version.name}.png", frame
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
    architecture, gan_weights = prepare.load_gan(config)
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
    mean_w = prepare.mean_latent(gan_weights, architecture) if config.gan.truncation < 1 else None
    view_mvn, light_mvn = mvn["view_mvn"], mvn["light_mvn"]
    fixed = frozen.build(
        gan_weights, architecture, view_mvn=view_mvn, light_mvn=light_mvn, F1_d=config.gan.F1_d, mean_w=mean_w
    )
    params = trained(folder, saved, settings, ("encoder",))
    stored_latent = _latent(saved, result.name, latent, architecture.style_dim)
    w = prepare.usable_latent(stored_latent, result.name, config, architecture, fixed)
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
    """Yields the views, each under its light, rendered and projected some at a time: one program serves any number.

    They are the GAN's pictures, c = `Editor.size`, and their mean absolute differences, at side S, to the renderings
    that the encoder was given, over the object's mask.
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


def beyond_training(editor: Editor, views: Float[np.ndarray, "n 6"], lights: Float[np.ndarray, "n 4"]) -> list[str]:
    """Returns, in words, the range mostly seen in training of each angle or light that the request takes beyond it."""
    settings, frozen = editor.settings, editor.frozen
    scale = float(settings.view_range.rotation_deg) * np.array([1, float(settings.view_scale), 1])
    mean = np.asarray(frozen.view_mean)[:3] * scale
    deviations = np.linalg.norm(np.asarray(frozen.view_factor), axis=-1)[:3] * scale
    sentences = []
    for name, values, middle, deviation in zip(("pitch", "yaw", "roll"), np.rad2deg(views[:, :3]).T, mean, deviations):
        low, high = middle - _USUAL * deviation, middle + _USUAL * deviation
        if deviation > 0 and ((values < low - 0.5) | (values > high + 0.5)).any():
            sentences.append(f"{name} of {low:+.0f}° to {high:+.0f}°")
    x0, x1, y0, y1, *_ = map(float, settings.rand_light)
    (dx, dy), own = lights[:, 2:].T, editor.result.light[2:]
    outside = (dx < x0) | (dx > x1) | (dy < y0) | (dy > y1)
    if (outside & (lights[:, 2:] != own).any(axis=-1)).any():
        sentences.append(f"light from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g})")
    return sentences
