"""Whether a GAN is the one that a configuration describes: checked by both `--check` and the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_collections import ConfigDict

if TYPE_CHECKING:  # imports jax, which checking a configuration need not wait for
    from gan2shape_jax.stylegan2 import Architecture

__all__ = ["gan_problems"]


def gan_problems(config: ConfigDict, architecture: Architecture) -> list[str]:
    """Returns a sentence for each way in which a loaded GAN differs from `config.gan`."""
    gan, path = config.gan, config.gan.checkpoint
    problems = [
        f"{path} has {field} {actual}, but config.gan.{field} is {gan[field]}: name the checkpoint of this category or "
        "set the field"
        for field, actual in (("size", architecture.size), ("style_dim", architecture.style_dim))
        if gan[field] != actual
    ]
    multiplier = gan.channel_multiplier
    if multiplier and architecture.size >= 64 and architecture.channels[4] != 256 * multiplier:
        problems.append(
            f"{path} has {architecture.channels[4]} channels at 64 pixels, but config.gan.channel_multiplier "
            f"{multiplier} means {256 * multiplier} (0 accepts any)"
        )
    if not 1 <= gan.F1_d <= architecture.mapping_layers:
        problems.append(
            f"config.gan.F1_d is {gan.F1_d}, but the mapping network of {path} has only "
            f"{architecture.mapping_layers} layers"
        )
    return problems
