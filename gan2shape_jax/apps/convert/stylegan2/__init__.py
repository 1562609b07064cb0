"""Converts rosinality's and NVIDIA's StyleGAN2 checkpoints to safetensors, without PyTorch."""

import dataclasses
import os
from typing import Any

from gan2shape_jax.apps.convert.stylegan2 import nvidia, nvidia_tf, rosinality
from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io.checkpoints import read_checkpoint as read_content
from gan2shape_jax.io.files import sha256
from gan2shape_jax.io.weights import STYLEGAN2, explain, recognise, tensor_names
from gan2shape_jax.stylegan2 import Architecture, Params

_UNSTATED = "not stated; see where the checkpoint is from"


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

    def summary(self) -> list[str]:
        """Returns what the checkpoint is, one line per network, and the notes."""
        arch = self.arch

        def clamped(clamp: float | None) -> str:
            return "" if clamp is None else f", clamped to +-{clamp:g}"

        mean, channels = ", mean latent stored" if arch.stored_mean else "", " ".join(map(str, arch.channels))
        lines = [
            f"StyleGAN2 of {arch.size} pixels, style width {arch.style_dim}, {arch.mapping_layers} mapping "
            f"layers{mean} (family {self.family})",
            f"  generator: {arch.generator_kind}, channels {channels}{clamped(arch.conv_clamp)}",
        ]
        if arch.discriminator_channels:
            deviation = (
                f"deviation over {arch.stddev_group or 'all'} images" if arch.stddev_channels else "no deviation"
            )
            widths = " ".join(map(str, arch.discriminator_channels))
            clamp = clamped(arch.discriminator_clamp)
            lines.append(f"  discriminator: {arch.discriminator_kind}, channels {widths}{clamp}, {deviation}")
        return lines + ([f"  {self.notes}"] if self.notes else [])


def convert(path: str | os.PathLike) -> tuple[Architecture, Params]:
    """Returns a checkpoint's architecture and parameters like `stylegan2.load`; raises what `read_checkpoint` does."""
    converted = read_checkpoint(path)
    return converted.arch, converted.params


def read_checkpoint(
    path: str | os.PathLike,
    *,
    class_index: int | None = None,
    discriminator: str | os.PathLike | None = None,
    content: Any = None,
) -> Converted:
    """Reads a rosinality or NVIDIA checkpoint, whatever its file extension.

    Of a conditional network the class `class_index` is converted; `discriminator` is a file of the same family to take
    that from; `content` is what the file holds, if it has been read already. Raises `UserError` for a file that cannot
    be read, belongs to another family (the message names the tool for it), or does not fit (it lists what).
    """
    content = read_content(path) if content is None else content
    family = _family(content, path)
    content = _parts(content, family)
    if discriminator is not None:
        other = read_content(discriminator)
        if _family(other, discriminator) != family:
            raise UserError(f"{discriminator}: the discriminator is of another family than {path}")
        content |= _discriminator(_parts(other, family), family, discriminator)
    elif family != "stylegan2-rosinality":
        _discriminator(content, family, path)
    if class_index is not None and family != "stylegan2-nvidia":
        raise UserError(
            f"{path}: --class is for conditional networks of NVIDIA's PyTorch repositories; this file has no classes "
            "to choose from"
        )
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
        notes.append(
            "No discriminator: fit for samples, inversion and the Python interface; for the method and for "
            "photos convert it again with --discriminator, a checkpoint of the same training."
        )
    if discriminator is not None:
        notes.append(f"Discriminator from a file of SHA-256 {sha256(discriminator)}.")
    return Converted(
        arch,
        params,
        sha256(path),
        " ".join(notes),
        family,
        _UNSTATED if family == "stylegan2-rosinality" else nvidia.LICENSE,
    )


def _family(content: Any, path: str | os.PathLike) -> str:
    """Returns the StyleGAN2 family; raises `UserError` for other families, naming the command for them."""
    family = recognise(tensor_names(content))
    if family is not None and family.tool != STYLEGAN2:
        raise UserError(explain(family, path))
    if family is not None:
        return family.name
    keys = ", ".join(str(key)[:30] for key in list(content)[:8]) if isinstance(content, dict) else ""
    raise UserError(
        f"{path}: not a StyleGAN2 that is supported{f' (it holds {keys})' if keys else ''}: take a training checkpoint "
        "of rosinality/stylegan2-pytorch, or a network pickle of NVIDIA's with generator and discriminator"
    )


def _discriminator(content: dict[str, Any], family: str, path: str | os.PathLike) -> dict[str, Any]:
    """Returns the discriminator by its key; raises `UserError` if there is none."""
    key = "d" if family == "stylegan2-rosinality" else "D"
    if content.get(key) is None:
        raise UserError(
            f"{path}: no {key!r} (the discriminator) in it, whose features Step 2 of the method and the inversion of "
            "images compare: take the checkpoint of the training, which has both (NVIDIA's network-snapshot-*.pkl, "
            "rosinality's NNNNNN.pt), or give one for the same kind of images with --discriminator"
        )
    return {key: content[key]}


def _parts(content: Any, family: str) -> dict[str, Any]:
    readers = {"stylegan2-tensorflow": nvidia_tf, "stylegan2-rosinality": rosinality}
    return dict(readers.get(family, nvidia).networks_of(content))
