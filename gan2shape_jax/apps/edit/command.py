"""`gan2shape-jax edit`: rotates and relights a result with its mesh ("3D") and with the GAN, side by side.

Angles are in degrees on the command line. Several angles or lights make several views: columns of a still picture,
frames of an animation, or files in a folder.
"""

import argparse
import csv
import functools
import io
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gan2shape_jax.apps.edit import comparison, requests
from gan2shape_jax.apps.edit.comparison import Comparison, Version
from gan2shape_jax.apps.edit.editor import Editor, load_editor
from gan2shape_jax.apps.render import out as outs
from gan2shape_jax.apps.render import shots as asked
from gan2shape_jax.apps.render.shots import Shots
from gan2shape_jax.errors import UserError, exit_code, one_line
from gan2shape_jax.geometry import resample
from gan2shape_jax.io import option_types
from gan2shape_jax.results import pictures
from gan2shape_jax.results.animation import MOVING
from gan2shape_jax.results.result import Result, load_result
from gan2shape_jax.results.turntable import gan_tiles
from gan2shape_jax.results.views import pictures_in_turn

__all__ = ["main"]

_SMALLEST = 256  # pixels; smaller pictures are enlarged for viewing
_LABELLED = 128  # pixels; below this, captions overlap
_EPILOG = """\
examples:
  gan2shape-jax edit results/ictface/results/006 --yaw -40 -20 0 20 40
  gan2shape-jax edit results/ictface/results/006 --light -0.9 0 --light 0 0.8 --light 0.9 0 --strength 0.5
  gan2shape-jax edit results/ictface/results/006 --yaw -40 40 --frames 32 --swing --out turn.mp4
  gan2shape-jax edit results/ictface/results/006 --version gan --yaw -40 40 --frames 9 --size 64 --out frames
  gan2shape-jax edit results/ictface/results/006 --base input --yaw 15 --light 0.8 0.2

Angles start from the front, or, where only the light is changed, from the input's own view; --base says otherwise.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, 1 after an error that has been printed."""
    return exit_code(lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax edit",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Rotates and relights a saved result: in 3D, by drawing its mesh, and with the GAN, which draws\n"
        "a photo of the same view. The mesh keeps exactly to angle and light; the GAN's pictures look\n"
        "more like photos.",
    )
    parser.add_argument(
        "result",
        type=option_types.path("RESULT"),
        metavar="RESULT",
        help="the folder of one image's results, inside the folder of its run",
    )
    parser.add_argument(
        "--version",
        choices=("3d", "gan", "both"),
        default="both",
        help="by the mesh, by the GAN, or both to compare (default: both)",
    )
    asked.add_angles(parser)
    asked.add_lights(parser)
    asked.add_sampling(parser)
    _add_pictures(parser)
    _add_files(parser)
    return parser


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "--base",
        choices=("canonical", "input"),
        help="the view that the angles start from (default: canonical, the front; the input's where no angle is given)",
    )
    group.add_argument(
        "--mask",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="3D shows only the object, or the whole sheet (default: the object)",
    )
    group.add_argument(
        "--size",
        type=option_types.size(),
        metavar="PIXELS",
        help=f"side of one picture; the GAN's own side, where nothing is enlarged or shrunk, is printed at the end "
        f"(default: that side, {_SMALLEST} at least)",
    )
    group.add_argument(
        "--labels",
        action=argparse.BooleanOptionalAction,
        help=f"headings, captions and the input (default: for both, from {_LABELLED} pixels on)",
    )
    group.add_argument(
        "--out",
        type=option_types.path("--out"),
        metavar="PATH",
        help=f"{', '.join(outs.STILLS)}: all views in one picture; {', '.join(MOVING)}: an "
        "animation; without extension: a new folder of single pictures and frames.csv (default: RESULT/edit.png)",
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files that are no longer where the run's config.json says")
    for name, kind, meaning in (
        ("run", "FOLDER", "the run that RESULT was made in"),
        ("gan", "FILE", "the GAN (.safetensors)"),
        ("latent", "FILE", "the input's latent (.npy, .pt)"),
        ("image", "FILE", "the input (needed where the run crops)"),
    ):
        group.add_argument(f"--{name}", type=option_types.path(f"--{name}"), metavar=kind, help=meaning)


def _run(options: argparse.Namespace) -> None:
    out = options.out or options.result / "edit.png"
    _require_request(options)
    result = load_result(options.result)
    outs.check_out(out, inputs=[options.image])
    shots = asked.shots(options, result)
    turned = any((options.yaw, options.pitch, options.roll))
    from_input = options.base == "input" if options.base else not turned
    views = asked.shot_views(shots, result, from_input=from_input)
    note = asked.signs(options) + ("; angles from the input's view" if from_input and turned else "")
    _require_size(out, options, options.size or _SMALLEST, len(views), note=bool(note))
    editor = None
    if options.version != "3d":
        editor = load_editor(
            options.result, run=options.run, gan=options.gan, latent=options.latent, image=options.image
        )
        requests.require_range(editor, views)
    size = options.size or max(_SMALLEST, editor.size if editor else 0)
    _require_size(out, options, size, len(views), note=bool(note))
    versions, l1 = [], list[float]()
    if options.version != "gan":
        versions.append(_by_mesh(result, views, shots, size=size, cut=options.mask))
    if editor is not None:
        versions.append(_by_gan(editor, views, shots, l1, size=size))
    shown = Comparison(result.name, note, asked.captions(shots, options), versions)
    _write(out, shown, lambda: _csv(views, shots, l1), options)
    print(one_line(f"wrote {out}: {len(views)} view{'s' if len(views) > 1 else ''} of {result.name}"))
    if editor is not None:
        _tell(editor, l1, views, shots, size=size)


def _require_request(options: argparse.Namespace) -> None:
    chosen = ("yaw", "pitch", "roll", "light", "strength", "ambient", "diffuse")
    if all(getattr(options, name) is None for name in chosen):
        raise UserError("nothing to edit: give --yaw, --pitch, --roll, --light or --strength (--help has examples)")


def _require_size(out: pathlib.Path, options: argparse.Namespace, size: int, count: int, *, note: bool) -> None:
    """Raises `UserError` if the format of `out` cannot hold that many views of that size."""
    versions = 2 if options.version == "both" else 1
    labels = _has_labels(options, versions, size)
    if outs.is_moving(out):
        outs.require_size(out, *comparison.moving_size(versions, size, labels=labels), count)
    elif not outs.is_folder(out):
        outs.require_size(out, *comparison.still_size(versions, count, size, labels=labels, note=note))


def _has_labels(options: argparse.Namespace, versions: int, size: int) -> bool:
    return options.labels if options.labels is not None else versions > 1 and size >= _LABELLED


def _by_mesh(result: Result, views: np.ndarray, shots: Shots, *, size: int, cut: bool) -> Version:
    frames = pictures_in_turn(result, views, shots.lights, size=size, cut=cut)
    start = pictures.enlarge(pictures.to_uint8(result.image), size)
    return Version("3d", "3D: the mesh", start, "input", frames)


def _by_gan(editor: Editor, views: np.ndarray, shots: Shots, l1: list[float], *, size: int) -> Version:
    """Returns the GAN's version; each view's `Edits.l1` is appended to `l1` when its frame is made."""

    def frames() -> Iterator[np.ndarray]:
        for some in requests.edit_in_parts(editor, views, shots.lights):
            l1.extend(some.l1.tolist())
            yield from _tiles(some.pictures, size)

    return Version(
        "gan",
        "GAN: the generator's picture of the same view",
        _tiles(editor.picture[None], size)[0],
        "the GAN's image of it",
        frames(),
    )


def _tiles(drawn: Float[np.ndarray, "n c c 3"], size: int) -> list[np.ndarray]:
    """Shrinks as the method does, so that side S shows what it works with; enlarges smoothly."""
    if size < drawn.shape[1]:
        drawn = np.asarray(resample.resize(jnp.asarray(drawn), size))
    return gan_tiles(drawn, size)


def _write(out: pathlib.Path, shown: Comparison, table: Callable[[], str], options: argparse.Namespace) -> None:
    labels = _has_labels(options, len(shown.versions), shown.versions[0].start.shape[0])
    if outs.is_folder(out):
        outs.write_frames(out, comparison.single(shown), lambda: {"frames.csv": table()})
    else:
        still = functools.partial(comparison.still, shown, labels=labels)
        moving = functools.partial(comparison.moving, shown, labels=labels)
        outs.write(out, still, moving, fps=options.fps, swing=options.swing)


def _csv(views: np.ndarray, shots: Shots, l1: Sequence[float]) -> str:
    """Returns what each numbered picture shows, as CSV; angles are from the canonical view, `gan_l1` is `Edits.l1`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["frame", "pitch_deg", "yaw_deg", "roll_deg", "ambient", "diffuse", "dx", "dy"]
    writer.writerow([*header, *(["gan_l1"] if l1 else [])])
    for i, values in enumerate(np.concatenate([np.rad2deg(views[:, :3]), shots.lights], axis=-1)):
        difference = [f"{l1[i]:.4f}"] if l1 else []
        writer.writerow([f"{i:03}", *(f"{value:.6g}" for value in values), *difference])
    return text.getvalue()


def _tell(editor: Editor, l1: Sequence[float], views: np.ndarray, shots: Shots, *, size: int) -> None:
    """Prints how large the GAN's pictures are, how well they follow the renderings, and which requests are unusual."""
    shown = "" if size == editor.size else f", shown at {size}"
    low, high = f"{min(l1):.3f}", f"{max(l1):.3f}"
    print(
        f"the GAN's pictures have {editor.size} pixels{shown}; mean difference to the renderings they follow: "
        f"{low if low == high else f'{low} to {high}'} (values from -1 to 1)"
    )
    usual = requests.beyond_training(editor, views, shots.lights)
    if usual:
        print(f"note: the encoder has mostly seen {', '.join(usual)}; beyond, the GAN may not follow", file=sys.stderr)
