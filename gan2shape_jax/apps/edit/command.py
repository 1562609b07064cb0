"""`gan2shape-jax edit`: rotates and relights a result with its mesh ("3D") and with the GAN, side by side.

Angles are in degrees on the command line. Several angles or lights make several views: columns of a still picture,
frames of an animation, or files in a folder. A still has one row per version, with the input at the left (in the GAN's
row, the GAN's own image of it, from which that row starts); in an animation the versions stand side by side.
"""

import argparse
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from gan2shape_jax.apps import render
from gan2shape_jax.apps.edit.editor import Editor, beyond_training, edit_in_parts, load_editor, require_range
from gan2shape_jax.apps.render import Shots
from gan2shape_jax.errors import UserError, exit_code, one_line
from gan2shape_jax.geometry import resample
from gan2shape_jax.io import option_types
from gan2shape_jax.results import pictures
from gan2shape_jax.results.pictures import MOVING, Tile
from gan2shape_jax.results.result import load_result
from gan2shape_jax.results.views import gan_tiles, pictures_in_turn

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
    "Rotates and relights a saved result: in 3D, by drawing its mesh, and with the GAN, which draws\n"
    "a photo of the same view. The mesh keeps exactly to angle and light; the GAN's pictures look\n"
    "more like photos."
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
    about = "3D shows only the object, or the whole sheet (default: the object)"
    add("--mask", action=yes_no, default=True, help=about)
    about = "side of one picture; the GAN's own side, where nothing is enlarged or shrunk, is printed at the end "
    add("--size", type=option_types.size(), metavar="PIXELS", help=f"{about}(default: that side, {_SMALLEST} at least)")
    about = f"headings, captions and the input (default: for both, from {_LABELLED} pixels on)"
    add("--labels", action=yes_no, help=about)
    kinds = f"{', '.join(render.STILLS)}: all views in one picture; {', '.join(MOVING)}: an animation; "
    folder = "without extension: a new folder of single pictures and frames.csv (default: RESULT/edit.png)"
    option_types.add_path(group, "--out", "PATH", kinds + folder)
    group = parser.add_argument_group("files that are no longer where the run's config.json says")
    option_types.add_path(group, "--run", "FOLDER", "the run that RESULT was made in")
    option_types.add_path(group, "--gan", "FILE", "the GAN (.safetensors)")
    option_types.add_path(group, "--latent", "FILE", "the input's latent (.npy, .pt)")
    option_types.add_path(group, "--image", "FILE", "the input (needed where the run crops)")
    return parser


class _Version(NamedTuple):
    """One version of all views: `start` is the input, or the GAN's image of it; `frames` can be drawn only once."""

    name: str
    heading: str
    start: Tile
    frames: Iterable[np.ndarray]


def _run(options: argparse.Namespace) -> None:
    out = options.out or options.result / "edit.png"
    chosen = ("yaw", "pitch", "roll", "light", "strength", "ambient", "diffuse")
    if all(getattr(options, name) is None for name in chosen):
        raise UserError("nothing to edit: give --yaw, --pitch, --roll, --light or --strength (--help has examples)")
    result = load_result(options.result)
    render.check_out(out, inputs=[options.image])
    shots = render.shots(options, result)
    views, count, versions = shots.views, len(shots.views), 2 if options.version == "both" else 1

    editor, shown, l1 = None, list[_Version](), list[float]()
    if options.version != "3d":
        files = {name: getattr(options, name) for name in ("run", "gan", "latent", "image")}
        editor = load_editor(options.result, **files)
        require_range(editor, views)
    size = options.size or max(_SMALLEST, editor.size if editor else 0)
    labels = options.labels if options.labels is not None else versions > 1 and size >= _LABELLED
    alone = versions == 1 and not labels  # without the input, and without gaps

    def sheet_size(rows: int, columns: int, *, subtitle: bool) -> tuple[int, int]:
        if labels:
            return pictures.sheet_size(size, columns, [True] * rows, subtitle=subtitle)
        gap = 0 if alone else _GAP
        return columns * (size + gap) - gap, rows * (size + gap) - gap

    still = sheet_size(versions, count if alone else count + 1, subtitle=bool(shots.note))
    render.require_size(out, still, sheet_size(1, 1 if alone else versions + 1, subtitle=False), count)
    if options.version != "gan":
        frames = pictures_in_turn(result, views, shots.lights, size=size, cut=options.mask)
        start = Tile(pictures.enlarge(pictures.to_uint8(result.image), size), "input")
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
        _tell(editor, l1, shots, size=size)


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
        return np.asarray(pictures.sheet(rows, title=title, subtitle=shots.note))
    alone = len(versions) == 1
    shown = [[*([] if alone else [version.start.picture]), *version.frames] for version in versions]
    return pictures.strip(shown, gap=0 if alone else _GAP)


def _moving(
    versions: Sequence[_Version], shots: Shots, *, labels: bool, title: str
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yields a frame for each view."""
    if not labels and len(versions) == 1:
        yield from versions[0].frames
        return
    headings = [version.heading.partition(":")[0] for version in versions]
    for caption, *drawn in zip(shots.captions, *(version.frames for version in versions)):
        tiles = [versions[0].start, *(Tile(picture, heading) for picture, heading in zip(drawn, headings))]
        if labels:
            yield np.asarray(pictures.sheet([(caption, tiles)], title=title))
        else:
            yield pictures.strip([[tile.picture for tile in tiles]], gap=_GAP)


def _single(
    versions: Sequence[_Version], shots: Shots, l1: list[float]
) -> Iterator[tuple[str, UInt8[np.ndarray, "size size 3"] | str]]:
    """Yields every picture after its name, then what each numbered one shows, angles from the canonical view, as CSV.

    Once the pictures are drawn, `l1` holds the differences to the renderings, if the GAN's version is among them.
    """
    for version in versions:
        yield "input.png" if version.name == "3d" else f"input_{version.name}.png", version.start.picture
    for version in versions:
        for i, frame in enumerate(version.frames):
            yield f"{i:03}_{version.name}.png", frame
    columns = [
        np.arange(len(shots.views)),
        np.rad2deg(shots.views[:, :3]),
        shots.lights,
        *([np.array(l1)] if l1 else []),
    ]
    header = "frame,pitch_deg,yaw_deg,roll_deg,ambient,diffuse,dx,dy" + (",gan_l1" if l1 else "")
    kinds = ["%03d", *["%.6g"] * 7, *(["%.4f"] if l1 else [])]
    text = io.StringIO()
    np.savetxt(text, np.column_stack(columns), kinds, ",", header=header, comments="")
    yield "frames.csv", text.getvalue()


def _tell(editor: Editor, l1: Sequence[float], shots: Shots, *, size: int) -> None:
    """Prints how large the GAN's pictures are, how well they follow the renderings, and which requests are unusual."""
    shown = "" if size == editor.size else f", shown at {size}"
    low, high = f"{min(l1):.3f}", f"{max(l1):.3f}"
    print(
        f"the GAN's pictures have {editor.size} pixels{shown}; mean difference to the renderings they follow: "
        f"{low if low == high else f'{low} to {high}'} (values from -1 to 1)"
    )
    if usual := beyond_training(editor, shots.views, shots.lights):
        print(f"note: the encoder has mostly seen {', '.join(usual)}; beyond, the GAN may not follow", file=sys.stderr)
