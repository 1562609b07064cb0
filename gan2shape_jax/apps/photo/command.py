"""`gan2shape-jax photo`: from a photo to its shape and a page; crop, mask and latent are found automatically."""

import argparse
import contextlib
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.apps.photo import photo_run
from gan2shape_jax.errors import ConfigError, RunEndingError, UserError, exit_code, message_line, one_line, printable
from gan2shape_jax.geometry.crop_box import CropBox
from gan2shape_jax.io import option_types
from gan2shape_jax.io.output_folders import RUN, require_output_folder
from gan2shape_jax.results.result import load_metrics
from gan2shape_jax.run import start, trust

_OUT = "results/photos"
_DESCRIPTION = (
    "Finds the object in photos of any size and shape, cuts it out, and reconstructs it in 3D with a lifted GAN's "
    "model: meshes, maps, pictures, and a page that says how far to believe the shape."
)
_EPILOG = """\
examples:
  gan2shape-jax photo me.jpg --open
  gan2shape-jax photo holiday/*.jpg --out results/holiday
  gan2shape-jax photo cat.jpg --model my_cats.py --refine
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
    about = "reconstruct what is nearest to the model's kind in photos where none was found, too"
    parser.add_argument("--anyway", action="store_true", help=about)
    parser.add_argument("--open", action="store_true", help="open the page in a browser at the end")
    one = parser.add_argument_group("for a single photo")
    about = (
        "X Y SIDE [ROLL]: the square itself, by its centre and side in pixels of the upright photo, turned clockwise "
        "by ROLL degrees; nothing is searched"
    )
    one.add_argument("--box", nargs="+", metavar="N", type=option_types.number("--box", -1e6, 1e6), help=about)
    about = "which of several objects, 1 for the surest (default: 1)"
    one.add_argument("--which", type=option_types.whole("--which", 1, 100), default=1, metavar="N", help=about)
    about = "picture, white or alone opaque on the object: of the photo's proportions, or square and of the crop"
    option_types.add_path(one, "--mask", "FILE", about)
    option_types.add_path(one, "--latent", "FILE", "latent of the crop (.npy or .pt), for --refine")
    return exit_code(lambda: _run(parser.parse_args(argv)))


def _run(options: argparse.Namespace) -> int:
    paths, box = photo_run.expand(options.photos, say=_say), options.box
    if box is not None and len(box) not in (3, 4):
        raise ConfigError(f"--box has {len(box)} numbers: X Y SIDE or X Y SIDE ROLL is possible")
    if box is not None and options.which != 1:
        raise ConfigError("--which chooses among objects that are searched for; --box names the square itself")
    if len(paths) > 1 and (box or options.which != 1 or options.mask or options.latent):
        raise ConfigError(f"--box, --which, --mask and --latent are for a single photo: {len(paths)} are named")
    wishes = {name: getattr(options, name) for name in ("which", "mask", "latent", "anyway")}
    wishes["box"] = CropBox(*box) if box else None
    out = options.out or pathlib.Path(_OUT)
    require_output_folder(out, RUN)
    config = photo_run.config_of(photo_run.load_kind(options.model), out, refine=options.refine)
    framer = photo_run.load_framer(config, say=_say)
    with start.hold(out):
        code = _reconstruct(options, config, framer, paths, **wishes)
    page = out / "index.html"
    if page.is_file():
        print(one_line(f"page: {page}"))
        if options.open:
            option_types.show(page.resolve().as_uri(), say=_say)
    return code


def _reconstruct(
    options: argparse.Namespace, config: ConfigDict, framer: photo_run.Framer, paths: list[pathlib.Path], **wishes: Any
) -> int:
    """Prepares the photos, and runs over those that are not done; returns the exit status."""
    out, prepared, failed = pathlib.Path(config.workdir), [], 0
    for path, name in zip(paths, photo_run.names_for(paths, photo_run.records_in(out)), strict=True):
        try:
            prepared.append(photo_run.prepare(path, name, config, framer, **wishes))
        except RunEndingError:
            raise
        except photo_run.NothingFoundError as nothing:
            drawing = out / photo_run.FOLDER / "framing" / f"{name}.jpg"
            _say(f"{nothing}; {drawing} shows the nearest that there is, --anyway takes that, --box another square")
        except UserError as error:
            print(f"error: {printable(message_line(str(error)))}", file=sys.stderr)
            failed += 1
        else:
            for note in prepared[-1].notes:
                _say(note)
    done = [photo.name for photo in prepared if photo_run.is_done(config, photo.name)]
    for name in done:
        _say(f"{name}: finished before, skipped")
        with contextlib.suppress(UserError):  # of the others, the run says how far to trust them
            if sentence := trust.sentence_of(name, load_metrics(out / "results" / name)):
                _say(sentence)
    failed += len(photo_run.run_over(config, prepared, framer if options.texture else None))
    return int(failed > 0 or not prepared)


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
