"""Converts rosinality's and NVIDIA's StyleGAN2 checkpoints to safetensors, without PyTorch."""

import dataclasses
import os
import pathlib
from typing import Any

import jax
import numpy as np
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.convert.foreign import Source, read_source
from gan2shape_jax.apps.convert.stylegan2 import nvidia, nvidia_tf, rosinality
from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io.weights import STYLEGAN2
from gan2shape_jax.method.streams import FIXED_SEED
from gan2shape_jax.results.pictures import strip, to_uint8
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.latents import random_images

_SIDE_LIMIT = 1536  # pixels of the sheet of samples
_TRUNCATION = 0.7


@dataclasses.dataclass(frozen=True)
class Converted:
    """A converted checkpoint.

    Attributes:
      arch, params: what `stylegan2.save` takes.
      source_sha256: the file's hash.
      notes: what the source lacked and how that was made up, what was fixed, what is computed differently.
      family: the name of its family.
      license_note: what is known about the weights' licence.
    """

    arch: Architecture
    params: Params
    source_sha256: str
    notes: str
    family: str
    license_note: str
    suffix = ".safetensors"

    def lines(self, _: pathlib.Path) -> list[str]:
        """Returns what the checkpoint is, one line per network, and the notes."""
        arch = self.arch
        size = f"{arch.size} pixels, style width {arch.style_dim}, {arch.mapping_layers} mapping layers"
        lines = [f"StyleGAN2 of {size} (family {self.family})"]
        of_generator = "generator", arch.generator_kind, arch.channels, arch.conv_clamp
        of_other = "discriminator", arch.discriminator_kind, arch.discriminator_channels, arch.discriminator_clamp
        for what, kind, channels, clamp in (of_generator, of_other):
            clamped = "" if clamp is None else f", clamped to +-{clamp:g}"
            lines += [f"  {what}: {kind}, channels {' '.join(map(str, channels))}{clamped}"] if channels else []
        return [*lines, *filter(None, [self.notes])]

    def write(self, target: pathlib.Path, licence: str | None) -> None:
        """Writes the file; `licence` is what its header says of the licence, None what is known."""
        note = self.license_note if licence is None else licence
        about = {"notes": self.notes, "license_note": note, "source_sha256": self.source_sha256}
        stylegan2.save(target, self.arch, self.params, **about)

    def draw(self, _: Image.Image) -> Image.Image:
        """Draws a square grid of samples, at most 6 by 6, truncated towards the mean latent."""
        arch, params = self.arch, self.params["generator"]
        key, count = jax.random.key(FIXED_SEED), max(1, min(6, _SIDE_LIMIT // arch.size))
        mean = stylegan2.mean_w(key, params, arch=arch)
        images = random_images(key, params, arch=arch, count=count**2, truncation=_TRUNCATION, mean=mean)[0]
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
) -> Converted:
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
    return Converted(arch, params, source.sha256, " ".join(notes), family, note)


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
