"""The variant `lift` of any configuration: the GAN's own samples in place of images."""

from ml_collections import ConfigDict

__all__ = ["VARIANT", "lifted"]

VARIANT = "lift"
_STAGES = 6
_IMAGES, _BATCH = 4, 2  # samples that share an iteration, and pseudo-images of each


def lifted(config: ConfigDict) -> ConfigDict:
    """Returns a configuration's way of lifting its GAN; `config` is unlocked and changed.

    Camera, GAN, networks, losses and sampling stay. One set of networks begins anew; only a category whose networks
    learn from mirrored sheets is taken to be symmetric.
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
    # What an encoder that has seen exact latents says needs no mapping network to keep it among the GAN's images.
    config.gan.relative_enc = True
    config.gan.regularize_offset = False
    return config
