"""`gan2shape-jax photo`: from a photo to its shape and a page; crop, mask and latent are found automatically."""

import argparse
import contextlib
import itertools
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.apps.photo import photo_run
from gan2shape_jax.errors import (
    ConfigError,
    RunEndingError,
    UserError,
    exit_code,
    message_line,
    one_line,
    printable,
    require_applications,
)
from gan2shape_jax.geometry.crop_box import CropBox
from gan2shape_jax.io import option_types
from gan2shape_jax.io.output_folders import RUN, require_output_folder
from gan2shape_jax.results import Row, load_metrics, print_table
from gan2shape_jax.run import start, trust

_OUT = "results/photos"
_AT_ONCE = 8  # photos that are searched before what was found in them is reconstructed, and the page written
_DESCRIPTION = (
    "Finds the object in photos of any size and shape, cuts it out, and reconstructs it in 3D with a lifted GAN's "
    "model: meshes, maps, pictures, and a page that says how far to believe the shape."
)
_EPILOG = """\
examples:
  gan2shape-jax photo me.jpg --open
  gan2shape-jax photo holiday/*.jpg --out results/holiday
  gan2shape-jax photo cat.jpg --model my_cats.py --refine
  gan2shape-jax photo group.jpg            # everybody in it: group-1, group-2, ... from left to right
  gan2shape-jax photo group.jpg --which 2
  gan2shape-jax photo me.jpg --box 812 440 600 --mask me_mask.png
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, 1 if a photo failed or none was reconstructed."""
    parser = option_types.parser("photo", _DESCRIPTION, _EPILOG)
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="files, folders or patterns such as 'in/*.jpg'")
    about = "what the photos show: a configuration that names a model (by name or file), or a model.safetensors "
    model = photo_run.DEFAULT
    parser.add_argument("--model", default=model, help=f"{about}(default: {model})")
    about = f"folder of the results (default: {_OUT}); more photos may be added later, a photo done again is replaced"
    option_types.add_path(parser, "--out", "FOLDER", about)
    about = "refine the model on each photo: it takes longer, and the time left is shown"
    parser.add_argument("--refine", action="store_true", help=about)
    about = "give results the photo's own texture (default: yes)"
    parser.add_argument("--texture", action=argparse.BooleanOptionalAction, default=True, help=about)
    about = "reconstruct the best candidate in photos where nothing was found, too"
    parser.add_argument("--anyway", action="store_true", help=about)
    parser.add_argument("--open", action="store_true", help="open the page in a browser at the end")
    one = parser.add_argument_group("for a single photo")
    about = (
        "X Y SIDE [ROLL]: the square itself, by its centre and side in pixels of the upright photo, turned clockwise "
        "by ROLL degrees; nothing is searched"
    )
    one.add_argument("--box", nargs="+", metavar="N", type=option_types.number("--box", -1e6, 1e6), help=about)
    about = "the only one to reconstruct of several, numbered from left to right (default: all)"
    one.add_argument("--which", type=option_types.whole("--which", 1, 100), metavar="N", help=about)
    about = "picture, white or alone opaque on the object: of the photo's proportions, or square and of the crop"
    option_types.add_path(one, "--mask", "FILE", about)
    option_types.add_path(one, "--latent", "FILE", "latent of the crop (.npy or .pt), for --refine")
    return exit_code(lambda: _run(parser.parse_args(argv)))


def _run(options: argparse.Namespace) -> int:
    require_applications()
    paths, box = photo_run.expand(options.photos, say=_say), options.box
    if box is not None and len(box) not in (3, 4):
        raise ConfigError(f"--box has {len(box)} numbers: X Y SIDE or X Y SIDE ROLL is possible")
    if box is not None and options.which is not None:
        raise ConfigError("--which chooses among objects that are searched for; --box names the square itself")
    if len(paths) > 1 and (box or options.which or options.mask or options.latent):
        raise ConfigError(f"--box, --which, --mask and --latent are for a single photo: {len(paths)} are named")
    wishes = {name: getattr(options, name) for name in ("which", "mask", "latent", "anyway")}
    wishes["box"] = CropBox(*box) if box else None
    out = options.out or pathlib.Path(_OUT)
    require_output_folder(out, RUN)
    config = photo_run.config_of(photo_run.load_kind(options.model), out, refine=options.refine)
    cropper = photo_run.load_cropper(config, say=_say)
    with start.hold(out):
        code = _reconstruct(options, config, cropper, paths, **wishes)
    page = out / "index.html"
    if page.is_file():
        print(one_line(f"page: {page}"))
        if options.open:
            option_types.show(page.resolve().as_uri(), say=_say)
    return code


def _reconstruct(
    options: argparse.Namespace,
    config: ConfigDict,
    cropper: photo_run.Cropper,
    paths: list[pathlib.Path],
    **wishes: Any,
) -> int:
    """Searches the photos and reconstructs what is found in them, some at a time; returns the exit status."""
    names = photo_run.names_for(paths, photo_run.names_in(pathlib.Path(config.workdir)))
    refused: dict[str, str] = {}
    failed: dict[str, str] = {}
    made: list[str] = []
    unusable = False  # whether a photo could not be read
    for first in range(0, len(paths), _AT_ONCE):
        prepared: list[photo_run.Prepared] = []
        for number in range(first, min(first + _AT_ONCE, len(paths))):
            count = f"{number + 1} of {len(paths)}: " if len(paths) > 1 else ""
            try:
                found = photo_run.prepare(paths[number], names[number], config, cropper, **wishes)
            except RunEndingError:
                raise
            except UserError as error:
                refused[names[number]] = str(error)
                unusable |= not isinstance(error, photo_run.NothingFoundError)
                _tell_refusal(error, count, pathlib.Path(config.workdir), names[number])
                continue
            if len(found) > 1:
                ends = f"{found[0].name} to {found[-1].name}"
                _say(f"{count}{paths[number].name}: {len(found)} {cropper.kind}s, from left to right {ends}")
            for note in itertools.chain.from_iterable(one.notes for one in found):
                _say(f"{count}{note}")
            prepared += found
        made += [one.name for one in prepared]
        _tell_done(config, prepared)
        failed |= photo_run.run_over(config, prepared, cropper if options.texture else None, refused=failed | refused)
    results = pathlib.Path(config.workdir, "results")
    rows = [trust.row_of(name, results / name) for name in made if name not in failed]
    print_table(rows + [Row(name, f"failed: {why}") for name, why in (failed | refused).items()])
    return int(bool(failed or unusable) or not made)


def _tell_refusal(error: UserError, count: str, out: pathlib.Path, name: str) -> None:
    """Says why there is no 3D of a photo."""
    if isinstance(error, photo_run.NothingFoundError):
        drawing = out / photo_run.FOLDER / "framing" / f"{name}.jpg"
        nearest = f"{drawing} shows what came nearest, --anyway takes that, --box another square"
        _say(f"{count}{error}; {nearest if error.candidate else '--box takes a square of your own'}")
    else:
        print(f"error: {printable(message_line(str(error)))}", file=sys.stderr)


def _tell_done(config: ConfigDict, prepared: Sequence[photo_run.Prepared]) -> None:
    """Names the photos that are finished already, with how far to trust them; a run says so of the others."""
    for name in (one.name for one in prepared if photo_run.is_done(config, one.name)):
        _say(f"{name}: finished before, skipped")
        with contextlib.suppress(UserError):
            if sentence := trust.sentence_of(name, load_metrics(pathlib.Path(config.workdir, "results", name))):
                _say(sentence)


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
