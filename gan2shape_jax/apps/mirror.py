"""`gan2shape-jax mirror`: turns and relights what a GAN draws, along axes found from its mirror images alone.

FOLDER/sheet.png (samples, turned and relit), axes.csv (what each step along an axis does: means over 64 samples),
axes.npz (`axes`, `dual_basis`, `centre`, `names`: see `stylegan2.flip_subspace.FlipSubspace`), latents.npy (those of
the sheet, by row and column).
"""

import argparse
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.render import require_new_folder
from gan2shape_jax.errors import UserError, exit_code, one_line
from gan2shape_jax.interface import Gan, load_gan, load_model
from gan2shape_jax.io import option_types
from gan2shape_jax.io.bundled import GAN, MODEL, names_of
from gan2shape_jax.io.files import atomic_folder
from gan2shape_jax.method import pose_edit
from gan2shape_jax.method.streams import FIXED_SEED, Stream, key_of, run_key
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.results import pictures
from gan2shape_jax.results.page import csv_text
from gan2shape_jax.results.pictures import Tile
from gan2shape_jax.stylegan2 import flip_subspace
from gan2shape_jax.stylegan2.latents import sample_w

_STEPS = np.arange(-3, 3.5, 0.5)  # deviations
_DRAWN = np.linspace(-1.5, 1.5, 5)  # those of the sheet: farther, many samples become somebody else
_SHOWN = 8  # samples that axes are shown with
_BATCH = 8  # a multiple of the group that a discriminator compares
_TRUNCATION = 0.8  # of the samples shown
_EPILOG = """\
examples:
  gan2shape-jax mirror --gan cat --out turned
  gan2shape-jax mirror --gan dogs_gan/gan.safetensors --model dogs_lifted/model.safetensors --out turned
"""
_ABOUT = (
    "Finds and shows how a GAN turns what it draws and moves its light sideways, from its samples' mirror\n"
    "images alone: a minute for 64 pixels."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, 1 after an error that has been printed."""
    parser = option_types.parser("mirror", _ABOUT, _EPILOG)
    option_types.add_gan(parser, "--gan", "the GAN, of symmetric objects, with its discriminator")
    about = "a lifted model, by name or file, that names the axes (default: the GAN's own where it has one)"
    option_types.add_path(parser, "--model", "MODEL", about)
    parser.add_argument("--out", type=option_types.path("--out"), required=True, metavar="FOLDER", help="a new folder")
    return exit_code(lambda: _run(parser.parse_args(argv)))


def _run(options: argparse.Namespace) -> None:
    if options.gan is None:
        raise UserError("name a GAN: --gan cat, or --gan FILE")
    require_new_folder(options.out)
    gan = load_gan(options.gan)
    arch, params = gan.architecture, gan.weights
    named = {file: name for name, file in names_of(GAN).items()}.get(options.gan, "")
    model = options.model or (named if named in names_of(MODEL) else None)
    networks = load_model(model).networks if model else None
    found_by, named_by = (key_of(run_key(FIXED_SEED), s) for s in (Stream.FLIPPED_SAMPLES, Stream.WALKED_SAMPLES))
    axes = flip_subspace.find(found_by, params, arch=arch)
    latents = sample_w(named_by, params["generator"], arch=arch, samples=pose_edit.NAMED_BY)
    names, predictor = [f"axis {number + 1}" for number in range(flip_subspace.AXES)], None
    if networks is not None:
        frozen = dataclasses.replace(networks.frozen, **params)
        predictor = networks.params, frozen, dataclasses.replace(networks.settings, architecture=arch)
        axes, rates = pose_edit.named(axes, latents, *predictor)
        names = ["yaw", "light"]
        told = ", ".join(f"{name} {rate:.2f}" for name, rate in zip(names, rates, strict=True))
        print(f"correlation with the model's estimates: {told}")
    shown = gan.mean_latent + _TRUNCATION * (latents[:_SHOWN] - gan.mean_latent)
    places = [(axis, step) for axis in range(flip_subspace.AXES) for step in _DRAWN]
    moved = np.stack([shown, *(pose_edit.along(axes, shown, *place) for place in places)], axis=1)
    captions = ["itself", *(f"{names[axis]} {step:+.1f}" for axis, step in places)]
    drawn = gan.synthesize(moved.reshape(-1, *moved.shape[2:])).reshape(*moved.shape[:2], arch.size, arch.size, 3)
    side = max(96, min(arch.size, 256))
    tiles = [
        (f"sample {number}", [Tile(pictures.enlarge(each, side), caption) for each, caption in zip(row, captions)])
        for number, row in enumerate(drawn)
    ]
    with atomic_folder(options.out) as folder:
        contact_sheet = pictures.contact_sheet(
            tiles, title=named or options.gan.name, subtitle="steps in standard deviations"
        )
        contact_sheet.save(folder / "sheet.png")
        np.savez(folder / "axes.npz", axes=axes.axes, dual_basis=axes.dual_basis, centre=axes.centre, names=names)
        np.save(folder / "latents.npy", moved)
        heads = ["axis", "step", "yaw_deg", "yaw_deviation_deg", "light", "logit"]
        rows = _walked(axes, latents[: pose_edit.WALKED], gan, predictor, names)
        (folder / "axes.csv").write_text(csv_text(heads, rows), encoding="utf-8")
    print(one_line(f"wrote {options.out}: sheet.png shows {_SHOWN} samples, axes.csv what the axes do"))


@functools.partial(jax.jit, static_argnames="arch")
def _logits(params: stylegan2.Params, latents: jax.Array, *, arch: stylegan2.Architecture) -> jax.Array:
    """Returns the discriminator's judgement of latents' images (n,), the mean of a picture's and its mirror image's."""
    images = jnp.clip(stylegan2.synthesize(params["generator"], latents, arch=arch), -1, 1)
    ways = images, images[:, :, ::-1]
    front, back = (stylegan2.discriminate(params["discriminator"], way, arch=arch)[0][:, 0] for way in ways)
    return (front + back) / 2


def _walked(
    axes: flip_subspace.FlipSubspace, latents: np.ndarray, gan: Gan, model: tuple[Any, ...] | None, names: Sequence[str]
) -> list[list[Any]]:
    """Returns a row for each step along each axis: means, and the deviation of yaw, without a model None."""
    rows = []
    logits = functools.partial(_logits, gan.weights, arch=gan.architecture)
    for axis, name in enumerate(names):
        for step in _STEPS:
            there, told = pose_edit.along(axes, latents, axis, step), [None] * 3
            if model is not None:
                yaw, light = pose_edit.predicted_sides(model[0], there, *model[1:]).T
                told = [np.degrees(yaw.mean()), np.degrees(yaw.std()), light.mean()]
            measured = [step, *told, in_batches(logits, there, size=_BATCH).mean()]
            rows.append([name, *(None if value is None else round(float(value), 3) for value in measured)])
    return rows
