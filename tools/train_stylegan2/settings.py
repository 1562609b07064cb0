"""How a StyleGAN2 is trained: every choice that affects its weights, in one record."""

from __future__ import annotations

import dataclasses
from typing import Any

from gan2shape_jax.errors import UserError
from gan2shape_jax.stylegan2 import Architecture

__all__ = ["AUGMENTATIONS", "TrainingSettings", "architecture_for"]

AUGMENTATIONS = ("ada", "none")


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """The schedule of Karras et al., 2020 (StyleGAN2, and ADA), in its terms.

    Attributes:
      batch: photos, and as many samples, per iteration.
      learning_rate: Adam's learning rate, for both networks.
      r1_weight: gamma of the gradient penalty on photos.
      r1_every: iterations from one gradient penalty to the next ("lazy regularisation").
      path_weight: weight of the path-length penalty; 0 leaves it out, which costs little at small sizes.
      path_every: iterations from one path-length penalty to the next.
      path_shrink: the path-length penalty's batch is smaller by this factor.
      path_decay: share by which the mean path length moves towards a batch's.
      mixing: probability that a sample's styles come from two latents.
      average_images: half-life of the moving average of the generator's weights, in photos shown.
      average_ramp: the half-life is at most this share of the photos shown so far; 0 for a generator that starts
        out trained, which has the full half-life from the first iteration on.
      mirror: whether photos are mirrored with probability 1/2.
      augment: "ada" for adaptive augmentation, "none" for none.
      augment_target: target of the mean sign of the photos' logits.
      augment_images: photos over which the probability of augmentation may go from 0 to 1.
      bfloat16: whether features are bfloat16; weights, sums and the optimiser stay float32.
      seed: seed of all random numbers.
    """

    batch: int = 16
    learning_rate: float = 0.0025
    r1_weight: float = 1.0
    r1_every: int = 16
    path_weight: float = 0.0
    path_every: int = 4
    path_shrink: int = 2
    path_decay: float = 0.01
    mixing: float = 0.9
    average_images: float = 5000.0
    average_ramp: float = 0.05
    mirror: bool = True
    augment: str = "ada"
    augment_target: float = 0.6
    augment_images: float = 500_000.0
    bfloat16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.augment not in AUGMENTATIONS:
            raise UserError(f"an augmentation {self.augment!r}: one of {', '.join(AUGMENTATIONS)} is possible")
        if self.path_weight and self.batch % self.path_shrink:
            raise UserError(
                f"a batch of {self.batch} does not divide by {self.path_shrink} for path lengths: make it even"
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON represents them."""
        return dataclasses.asdict(self)


def architecture_for(size: int, *, most: int, base: int, style_dim: int, mapping_layers: int = 8) -> Architecture:
    """Returns a StyleGAN2 whose layers at s pixels have `base / s` channels, but at most `most`.

    NVIDIA's configurations are `most` 512 with `base` 16,384 (up to 256 pixels) or 32,768.

    Args:
      size: side of the images in pixels, a power of two from 8 to 1024.
      most: channels of the widest layers.
      base: channels times side in pixels of the other layers.
      style_dim: width of z and w.
      mapping_layers: layers of the mapping network.

    Raises:
      UserError: the sizes do not form a valid StyleGAN2.
    """
    sides, channels = 4, []
    while sides <= size:
        channels.append(max(1, min(most, base // sides)))
        sides *= 2
    try:
        return Architecture(
            size=size,
            style_dim=style_dim,
            mapping_layers=mapping_layers,
            channels=tuple(channels),
            discriminator_channels=tuple(channels),
        )
    except ValueError as error:
        raise UserError(f"no StyleGAN2 can be made so: {error}") from error
