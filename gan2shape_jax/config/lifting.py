"""The variants `lift` and `relift` of any configuration: the GAN's own samples instead of images."""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

__all__ = ["LIFT", "VARIANTS"]

LIFT = "lift"
_STAGES = 6
_IMAGES, _BATCH = 4, 2  # samples that share an iteration, and pseudo-images of each


def _lifted(config: ConfigDict) -> ConfigDict:
    """Returns a configuration for lifting its GAN; `config` is unlocked and modified.

    Camera, GAN, networks, losses and sampling stay the same. One set of networks is trained from scratch; a category is
    taken to be symmetric only if its networks learn from mirrored sheets.
    """
    config.mode = "lift"
    config.workdir = f"{config.workdir}_lift"
    config.networks.pretrained = ""
    config.prior.shape = "whole_ellipsoid"
    config.prior.iterations = 300
    mirrored = any(config.schedule.flip3)
    config.schedule.joint = False
    config.schedule.reset_weight = False
    config.schedule.share_weight = True
    config.schedule.independent = True
    config.schedule.stages = ((500, 150, 700), *(_STAGES - 1) * ((150, 100, 700),))
    config.optimizer.learning_rate = 5e-4
    config.schedule.flip1 = (False, *(_STAGES - 1) * (mirrored,))
    config.schedule.flip3 = _STAGES * (mirrored,)
    config.schedule.batches_per_iteration = _IMAGES
    config.sampling.batch_size = _BATCH
    # The output of an encoder that has seen exact latents needs no mapping network to keep it among the GAN's images.
    config.gan.relative_enc = True
    config.gan.regularize_offset = False
    return config


def _relifted(config: ConfigDict) -> ConfigDict:
    """Returns how training continues from a lift (`networks.pretrained`): few samples, each with its own encoder."""
    config = _lifted(config)
    config.workdir = f"{config.workdir.removesuffix('_lift')}_relift"
    config.schedule.stages = ((1, 1, 300),)  # a second stage gains nothing (docs/reports/lift.md)
    mirrored = config.schedule.flip3[0]
    config.schedule.flip1 = config.schedule.flip3 = (mirrored,)
    config.lift.first_learning_rate = 3e-4
    config.sampling.batch_size = 4
    config.lift.samples = 48
    config.lift.batches = 24
    config.lift.inversion_iterations = 0
    config.lift.anchored_stages = 0
    config.lift.own_encoder_iterations = 300
    config.lift.encoder_learning_rate = 1e-4
    config.lift.warmup_iterations = 20
    return config


VARIANTS: Mapping[str, Callable[[ConfigDict], ConfigDict]] = {LIFT: _lifted, "relift": _relifted}
"""From a variant's name to the function from a configuration, unlocked, which it changes, to the variant."""
