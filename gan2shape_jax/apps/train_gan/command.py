"""Trains a StyleGAN2 on photos of one kind of object, for this program to learn shapes from.

gan2shape-jax train-gan PHOTOS --out GAN
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from typing import Any

from gan2shape_jax import stylegan2
from gan2shape_jax.apps import option_types
from gan2shape_jax.apps.train_gan import loop, photos
from gan2shape_jax.apps.train_gan.photos import Selection
from gan2shape_jax.apps.train_gan.training import TrainingSettings, architecture_for
from gan2shape_jax.errors import UserError, exit_code, install, one_line, printable
from gan2shape_jax.io import output_folders
from gan2shape_jax.io.bundled import GAN, weights_file
from gan2shape_jax.io.files import clear_leftovers, sha256
from gan2shape_jax.plan.runtime import keep_programs
from gan2shape_jax.run.lock import hold

_SIZES = tuple(2**n for n in range(3, 11))
_DEFAULTS = TrainingSettings()
_R1 = 0.0002  # times pixels divided by the batch size: ADA's rule for gamma
_MOST_PHOTOS = 10**9
_EPILOG = """\
examples:
  gan2shape-jax train-gan cats/ --size 64 --out cats_gan
  gan2shape-jax train-gan cats.zip --size 128 --out cats_gan --check
  gan2shape-jax train-gan dogs/ --start cat --out dogs_gan --images 200000
  gan2shape-jax train-gan cats/ --size 64 --out cats_gan --typical 0.65 --no-grey

Started again with the same arguments, a training continues where it was stopped (Ctrl-C stops it).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; prints input errors without a traceback. Returns the exit status."""
    return exit_code(
        lambda: _run(_parser().parse_args(argv)), interrupted="interrupted; run the same command again to continue"
    )


def _parser() -> argparse.ArgumentParser:
    about = "Trains a StyleGAN2 on photographs of one kind of object, all framed in the same way."
    parser = option_types.parser("train-gan", about, _EPILOG)
    photos = "a folder (and all below it), a zip file, or a list of files (.txt)"
    option_types.add_path(parser, "PHOTOS", "PHOTOS", photos)
    parser.add_argument(
        "--out", type=option_types.path("--out"), required=True, metavar="GAN", help="folder of the training"
    )
    parser.add_argument(
        "--check", action="store_true", help="examine the photos, measure memory and time on this machine, and stop"
    )
    group = parser.add_argument_group("the photos")
    told = "train only on the share that is most like the others (default: 1, all)"
    _add(group, option_types.number, "--typical", 0.01, 1, 1.0, "SHARE", told)
    group.add_argument("--no-grey", action="store_true", help="leave out photos without colours")
    group.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        default=_DEFAULTS.mirror,
        help="mirror every other photo at random (default: yes); not if left and right differ, as in writing",
    )
    group, whole = parser.add_argument_group("the networks"), option_types.whole
    group.add_argument("--size", type=int, choices=_SIZES, help="side of the images, pixels (default: 64)")
    option_types.add_gan(group, "--start", "start from this GAN")
    _add(group, whole, "--channels", 1, 4096, 512, "N", "channels of the widest layers (default: 512)")
    base = "channels times resolution of the other layers (default: 4096; NVIDIA's are 16384 and 32768)"
    _add(group, whole, "--base", 8, 2**20, 4096, "N", base)
    _add(group, whole, "--style-width", 1, 4096, 256, "N", "dimensions of a latent (default: 256)")
    group, number = parser.add_argument_group("the training"), option_types.number
    images = "photos to show to the discriminator (default: 2000000); may be raised later"
    _add(group, whole, "--images", 1, _MOST_PHOTOS, 2_000_000, "N", images)
    _add(group, whole, "--batch", 1, 65536, _DEFAULTS.batch, "N", "(default: %(default)s)")
    _add(group, number, "--rate", 1e-8, 1, _DEFAULTS.learning_rate, "R", "learning rate (default: %(default)s)")
    r1 = "weight of the gradient penalty (default: 0.0002 pixels / batch, ADA's rule, 0.2 at least)"
    _add(group, number, "--r1", 0, 1e6, None, "GAMMA", r1)
    path = "weight of the path-length penalty (default: %(default)s, none; StyleGAN2's is 2)"
    _add(group, number, "--path", 0, 1e6, _DEFAULTS.path_weight, "WEIGHT", path)
    group.add_argument("--bfloat16", action="store_true", help="features in bfloat16, for GPU and TPU")
    group.add_argument("--seed", type=option_types.seed(), default=0, metavar="K", help="(default: 0)")
    every = "photos from one snapshot and checkpoint to the next (default: 20000)"
    _add(group, whole, "--every", 1, _MOST_PHOTOS, 20_000, "N", every)
    features = (
        "features for comparing samples with photos: a network (.onnx), for KID, or the discriminator of another "
        "GAN, by name or file (default: ictface); 'none' for no comparison"
    )
    option_types.add_path(group, "--features", "FILE", features)
    side = "input size of that network, if its file does not state it"
    _add(group, whole, "--features-side", 8, 1024, 0, "PIXELS", side)
    return parser


def _add(group: Any, kind: Any, name: str, low: float, high: float, default: Any, metavar: str, meaning: str) -> None:
    group.add_argument(name, type=kind(name, low, high), default=default, metavar=metavar, help=meaning)


def _run(options: argparse.Namespace) -> None:
    keep_programs("")  # one that is continued does not compile again
    training = _training_of(options)
    with hold(options.out, output_folders.GAN, option="--out"):
        clear_leftovers(options.out)
        selection = Selection(options.typical, not options.no_grey)
        packed = photos.load(options.photos, options.out, training.arch.size, selection, log=_log)
        if options.check:
            loop.check(training, log=_log)
        else:
            if importlib.util.find_spec("matplotlib") is None:
                _warn(f"no curves.png is drawn: it needs matplotlib, {install('plots')}")
            loop.train(training, packed, log=_log, warn=_warn)


def _training_of(options: argparse.Namespace) -> loop.Training:
    arch = architecture_for(options.size or 64, most=options.channels, base=options.base, style_dim=options.style_width)
    start, started_from = None, ""
    if options.start is not None:
        arch, start = stylegan2.load(options.start)
        started_from = sha256(options.start)
        if options.size not in (None, arch.size):
            raise UserError(f"--size {options.size}, but {options.start} makes images of {arch.size} pixels")
        if arch.discriminator_size != arch.size:
            pixels = arch.discriminator_size
            raise UserError(f"{options.start}: its discriminator takes {pixels} pixels, so it cannot be trained")
    settings = TrainingSettings(
        batch=options.batch,
        learning_rate=options.rate,
        r1_weight=max(0.2, _R1 * arch.size**2 / options.batch) if options.r1 is None else options.r1,
        path_weight=options.path,
        average_ramp=_DEFAULTS.average_ramp if start is None else 0.0,
        mirror=options.mirror,
        bfloat16=options.bfloat16,
        seed=options.seed,
    )
    group = min(arch.stddev_group or options.batch, options.batch)
    if options.batch % group:
        raise UserError(f"--batch {options.batch} is not a multiple of {group}, the discriminator's groups of images")
    features = None
    if str(options.features) != "none":
        features = loop.load_features(weights_file(options.features or "ictface", GAN), side=options.features_side)
    return loop.Training(
        out=options.out,
        arch=arch,
        settings=settings,
        images=options.images,
        every=max(options.every, options.batch),
        start=start,
        started_from=started_from,
        features=features,
    )


def _log(line: str) -> None:
    print(one_line(line), flush=True)


def _warn(line: str) -> None:
    print(f"warning: {printable(line)}", file=sys.stderr, flush=True)
