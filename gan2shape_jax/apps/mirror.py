"""`gan2shape-jax mirror`: turns and relights what a GAN draws, along axes found from its mirror images alone.

FOLDER/sheet.png (samples, turned and relit), axes.csv (what each step along an axis does: means over 64 samples),
axes.npz (`axes`, `readers`, `centre`, `names`: see `stylegan2.mirror.Mirror`), latents.npy (those of the sheet, by row
and column).
"""

import argparse
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.render import require_new_folder
from gan2shape_jax.errors import UserError, exit_code, one_line
from gan2shape_jax.geometry import resample
from gan2shape_jax.interface import load_gan, load_model
from gan2shape_jax.io import option_types
from gan2shape_jax.io.bundled import GAN, MODEL, names_of
from gan2shape_jax.io.files import atomic_folder
from gan2shape_jax.method import models
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.results import pictures
from gan2shape_jax.results.page import csv_text
from gan2shape_jax.results.pictures import Tile
from gan2shape_jax.stylegan2 import mirror
from gan2shape_jax.stylegan2.latents import sample_w

_STEPS = np.arange(-3, 3.5, 0.5)  # deviations
_DRAWN = np.linspace(-1.5, 1.5, 5)  # those of the sheet: farther, many samples become somebody else
_WALKED, _NAMED, _SHOWN = 64, 512, 8  # samples that axes are tried on, named by, and shown with
_BATCH = 8  # a multiple of the group that a discriminator compares
_TRUNCATION = 0.8  # of the samples shown
_EPILOG = """\
examples:
  gan2shape-jax mirror --gan catface --out turned
  gan2shape-jax mirror --gan dogs_gan/gan.safetensors --model dogs_lifted/model.safetensors --out turned
"""
_ABOUT = (
    "Finds how a GAN turns what it draws, and moves its light sideways, from nothing but its samples' mirror\n"
    "images, and shows it: a minute for 64 pixels."
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
        raise UserError("name a GAN: --gan catface, or --gan FILE")
    require_new_folder(options.out)
    gan = load_gan(options.gan)
    arch, params = gan.architecture, gan.weights
    named = {file: name for name, file in names_of(GAN).items()}.get(options.gan, "")
    model = options.model or (named if named in names_of(MODEL) else None)
    see = _see(arch, params, model)
    found = mirror.find(jax.random.key(0), params, arch=arch)
    latents = sample_w(jax.random.key(1), params["generator"], arch=arch, samples=_NAMED)
    seen, names = see(latents), [f"axis {number + 1}" for number in range(mirror.AXES)]
    if model is not None:
        coordinates = found.coordinates(latents)
        values = np.stack([seen["yaw"], seen["light"]], axis=1)
        mixing = np.linalg.lstsq(coordinates - coordinates.mean(axis=0), values - values.mean(axis=0), rcond=None)[0]
        found, names = found.turned(mixing, latents), ["yaw", "light"]
        pairs = zip(names, found.coordinates(latents).T, values.T, strict=True)
        rates = [f"{name} {np.corrcoef(told, known)[0, 1]:.2f}" for name, told, known in pairs]
        print("correlation with what the model sees: " + ", ".join(rates))
    shown = gan.mean_latent + _TRUNCATION * (latents[:_SHOWN] - gan.mean_latent)
    places = [(axis, step) for axis in range(mirror.AXES) for step in _DRAWN]
    moved = np.stack([shown, *(_along(found, shown, *place) for place in places)], axis=1)
    captions = ["itself", *(f"{names[axis]} {step:+.1f}" for axis, step in places)]
    drawn = gan.synthesize(moved.reshape(-1, *moved.shape[2:])).reshape(*moved.shape[:2], arch.size, arch.size, 3)
    side = max(96, min(arch.size, 256))
    tiles = [
        (f"sample {number}", [Tile(pictures.enlarge(each, side), caption) for each, caption in zip(row, captions)])
        for number, row in enumerate(drawn)
    ]
    with atomic_folder(options.out) as folder:
        sheet = pictures.sheet(tiles, title=named or options.gan.name, subtitle="steps in standard deviations")
        sheet.save(folder / "sheet.png")
        np.savez(folder / "axes.npz", axes=found.axes, readers=found.readers, centre=found.centre, names=names)
        np.save(folder / "latents.npy", moved)
        heads = ["axis", "step", "yaw_deg", "yaw_deviation_deg", "light", "logit"]
        rows = _walked(found, latents[:_WALKED], see, names)
        (folder / "axes.csv").write_text(csv_text(heads, rows), encoding="utf-8")
    print(one_line(f"wrote {options.out}: sheet.png shows {_SHOWN} samples, axes.csv what the axes do"))


def _see(
    arch: stylegan2.Architecture, params: stylegan2.Params, model: str | pathlib.Path | None
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns a function of latents: `logit`, and by a model `yaw` (degrees) and `light` (dx).

    The last two are the odd parts of what its networks say of a picture and of its mirror image.
    """
    networks = None if model is None else load_model(model).networks

    @jax.jit
    def both(latents: jax.Array, params: stylegan2.Params, trained: models.Params) -> dict[str, Any]:
        images = jnp.clip(stylegan2.synthesize(params["generator"], latents, arch=arch), -1, 1)
        ways = images, images[:, :, ::-1]
        front, back = (stylegan2.discriminate(params["discriminator"], way, arch=arch)[0][:, 0] for way in ways)
        result = {"logit": (front + back) / 2}
        if networks is not None:
            frozen, settings = networks.frozen, networks.settings
            small = [resample.resize(way, settings.image_size) for way in ways]
            yaws = [models.views(trained, way, frozen.view_mean, settings)[:, 1] for way in small]
            lights = [models.lights(trained, way, frozen.light_mean, settings)[:, 2] for way in small]
            result |= {"yaw": jnp.degrees(yaws[0] - yaws[1]) / 2, "light": (lights[0] - lights[1]) / 2}
        return result

    trained = {} if networks is None else networks.params
    return lambda latents: in_batches(lambda part: both(part, params, trained), latents, size=_BATCH)


def _along(found: mirror.Mirror, latents: np.ndarray, axis: int, step: float) -> np.ndarray:
    """Returns latents moved along an axis until they have this coordinate."""
    values = np.full((len(latents), mirror.AXES), np.nan)
    values[:, axis] = step
    return found.moved(latents, values)


def _walked(found: mirror.Mirror, latents: np.ndarray, see: Callable, names: Sequence[str]) -> list[list[Any]]:
    """Returns a row for each step along each axis: means, and the deviation of yaw, without a model None."""
    rows = []
    for axis, name in enumerate(names):
        for step in _STEPS:
            seen = see(_along(found, latents, axis, step))
            told = [None] * 3 if "yaw" not in seen else [seen["yaw"].mean(), seen["yaw"].std(), seen["light"].mean()]
            measured = [step, *told, seen["logit"].mean()]
            rows.append([name, *(None if value is None else round(float(value), 3) for value in measured)])
    return rows
