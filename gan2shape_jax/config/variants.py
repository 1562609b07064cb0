"""Changes that configurations share: joint training, and the variants `lift` and `relift` that each of them has."""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

LIFT = "lift"


def joined(config: ConfigDict, stages: tuple[tuple[int, int, int], ...]) -> ConfigDict:
    """Returns joint training as published: one set of networks for all images, from scratch, mirrored in all stages.

    Args:
        config: unlocked; modified.
        stages: iterations of steps 1, 2 and 3, one triple a stage.
    """
    config.mode = "joint"
    config.networks.pretrained = ""
    config.schedule.update(joint=True, reset_weight=False, share_weight=True, stages=stages)
    config.schedule.flip1 = (False, *(len(stages) - 1) * (True,))
    config.schedule.flip3 = len(stages) * (True,)
    return config


def _lifted(config: ConfigDict) -> ConfigDict:
    """Returns a configuration, modified, for lifting its GAN: one set of networks trained from scratch.

    Camera, GAN, networks, losses and sampling stay the same. A category is taken to be symmetric only if its networks
    learn from mirrored sheets.
    """
    mirrored, later = any(config.schedule.flip3), 5
    config.mode = "lift"
    config.workdir = f"{config.workdir}_lift"
    config.networks.pretrained = ""
    config.prior.update(shape="whole_ellipsoid", iterations=300)
    config.schedule.update(joint=False, reset_weight=False, share_weight=True, independent=True)
    config.schedule.stages = ((500, 150, 700), *later * ((150, 100, 700),))
    config.schedule.update(flip1=(False, *later * (mirrored,)), flip3=(mirrored, *later * (mirrored,)))
    config.schedule.batches_per_iteration = 4  # samples that share an iteration
    config.sampling.batch_size = 2  # pseudo-images of each
    config.optimizer.learning_rate = 5e-4
    # The output of an encoder that has seen exact latents needs no mapping network to keep it among the GAN's images.
    config.gan.update(relative_enc=True, regularize_offset=False)
    return config


def _relifted(config: ConfigDict) -> ConfigDict:
    """Returns how training continues from a lift (`networks.pretrained`): few samples, each with its own encoder."""
    config = _lifted(config)
    mirrored = config.schedule.flip3[:1]
    config.workdir = f"{config.workdir.removesuffix('_lift')}_relift"
    # A second stage gains nothing (docs/reports/lift.md).
    config.schedule.update(stages=((1, 1, 300),), flip1=mirrored, flip3=mirrored)
    config.sampling.batch_size = 4
    config.lift.update(samples=48, batches=24, inversion_iterations=0, anchored_stages=0, own_encoder_iterations=300)
    config.lift.update(first_learning_rate=3e-4, encoder_learning_rate=1e-4, warmup_iterations=20)
    return config


VARIANTS: Mapping[str, Callable[[ConfigDict], ConfigDict]] = {LIFT: _lifted, "relift": _relifted}
"""From a variant's name to the function from a configuration, unlocked, which it changes, to the variant."""
