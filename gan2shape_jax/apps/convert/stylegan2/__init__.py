"""Converts rosinality's and NVIDIA's StyleGAN2 checkpoints to safetensors, without PyTorch."""

import dataclasses
import functools
import os
from typing import Any

import jax
import numpy as np
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.convert.foreign import Converted, Source, read_source
from gan2shape_jax.apps.convert.stylegan2 import nvidia, nvidia_tf, rosinality
from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io.weights import STYLEGAN2
from gan2shape_jax.method.streams import FIXED_SEED
from gan2shape_jax.results.pictures import strip, to_uint8
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.latents import random_images
from gan2shape_jax.stylegan2.weights import file_content

_SIDE_LIMIT = 1536  # pixels of the sheet of samples
_TRUNCATION = 0.7


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertedGan(Converted):
    """A converted StyleGAN2, whose notes say what the source lacked, what was fixed, what is computed differently.

    Attributes:
      arch, params: what `stylegan2.load` returns of the file.
      family: the name of the source's family.
    """

    arch: Architecture
    params: Params
    family: str


def _summary(arch: Architecture, family: str) -> str:
    """Returns what a GAN is, and a line for each network."""
    size = f"{arch.size} pixels, style width {arch.style_dim}, {arch.mapping_layers} mapping layers"
    lines = [f"StyleGAN2 of {size} (family {family})"]
    of_generator = "generator", arch.generator_kind, arch.channels, arch.conv_clamp
    of_other = "discriminator", arch.discriminator_kind, arch.discriminator_channels, arch.discriminator_clamp
    for what, kind, channels, clamp in (of_generator, of_other):
        clamped = "" if clamp is None else f", clamped to +-{clamp:g}"
        lines += [f"  {what}: {kind}, channels {' '.join(map(str, channels))}{clamped}"] if channels else []
    return "\n".join(lines)


def _samples(arch: Architecture, generator: Params, _: Image.Image) -> Image.Image:
    """Draws a square grid of samples, at most 6 by 6, truncated towards the mean latent."""
    key, count = jax.random.key(FIXED_SEED), max(1, min(6, _SIDE_LIMIT // arch.size))
    mean = stylegan2.mean_w(key, generator, arch=arch)
    images = random_images(key, generator, arch=arch, count=count**2, truncation=_TRUNCATION, mean=mean)[0]
    return Image.fromarray(strip(np.split(to_uint8(images), count), gap=0))


def convert(path: str | os.PathLike) -> tuple[Architecture, Params]:
    """Returns a checkpoint's architecture and parameters like `stylegan2.load`; raises what `read_checkpoint` does."""
    converted = read_checkpoint(path)
    return converted.arch, converted.params


def read_checkpoint(
    path: str | os.PathLike,
    *,
    class_index: int | None = None,
    discriminator: str | os.PathLike | None = None,
    source: Source | None = None,
) -> ConvertedGan:
    """Reads a rosinality or NVIDIA checkpoint, whatever its file extension.

    Of a conditional network the class `class_index` is converted; `discriminator` is a file of the same family to take
    that from; `source` is what the file holds, if it has been read already. Raises `UserError` for a file that cannot
    be read, belongs to another family (the message names the tool for it), or does not fit (it lists what).
    """
    source = source or read_source(path, STYLEGAN2)
    family, content, other = source.family.name, _parts(source), None
    if discriminator is not None:
        other = read_source(discriminator, STYLEGAN2)
        if other.family != source.family:
            raise UserError(f"{discriminator}: the discriminator is of another family than {path}")
    if other is not None or family != "stylegan2-rosinality":
        content |= _discriminator(other or source)
    if class_index is not None and family != "stylegan2-nvidia":
        raise UserError(f"{path}: --class is for conditional networks of NVIDIA's PyTorch repositories")
    try:
        if family == "stylegan2-nvidia":
            arch, params, notes = nvidia.convert(content, path, class_index)
        elif family == "stylegan2-tensorflow":
            arch, params, notes = nvidia_tf.convert(content, path)
        else:
            arch, params, notes = rosinality.convert(content, path)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Of a file that is not what its names say, anything can be missing, or of another type.
        why = f"{type(error).__name__}: {one_line(str(error)[:300])}"
        raise UserError(f"{path}: no StyleGAN2 that is supported ({why})") from error
    if not arch.discriminator_channels:
        advice = "for runs and photos convert it again with --discriminator, a checkpoint of the same training"
        notes.append(f"No discriminator: fit for samples, inversion and the Python interface; {advice}.")
    if other is not None:
        notes.append(f"Discriminator from a file of SHA-256 {other.sha256}.")
    unstated = "not stated; see where the checkpoint is from"
    note = unstated if family == "stylegan2-rosinality" else nvidia.LICENSE
    about = {"license_note": note, "source_sha256": source.sha256, "notes": " ".join(notes)}
    tensors, header = file_content(arch, params, **about)
    summary, draw = _summary(arch, family), functools.partial(_samples, arch, params["generator"])
    known: dict[str, Any] = {"arch": arch, "params": params, "family": family, "notes": about["notes"]}
    return ConvertedGan(summary=summary, tensors=tensors, header=header, draw=draw, **known)


def _discriminator(source: Source) -> dict[str, Any]:
    """Returns the discriminator by its key; raises `UserError` if there is none."""
    key, content = "d" if source.family.name == "stylegan2-rosinality" else "D", _parts(source)
    if content.get(key) is None:
        why = "whose features Step 2 of the method and the inversion of images compare"
        advice = "take the checkpoint of the training, or give one for the same kind of images with --discriminator"
        raise UserError(f"{source.path}: no {key!r} (the discriminator) in it, {why}: {advice}")
    return {key: content[key]}


def _parts(source: Source) -> dict[str, Any]:
    readers = {"stylegan2-tensorflow": nvidia_tf, "stylegan2-rosinality": rosinality}
    return dict(readers.get(source.family.name, nvidia).networks_of(source.content))
