"""The configuration of a reconstruction in memory: defaults by the GAN, and what is refused."""

import numpy as np
import pytest

import gan2shape_jax as g2s
from gan2shape_jax import interface
from gan2shape_jax.config import load_config
from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.io.arrays import load_mvn
from gan2shape_jax.stylegan2 import Architecture


def _complete(config, size=64, seed=None, *, mapping_layers=8):
    levels = (8,) * (size.bit_length() - 2)
    sizes = {"mapping_layers": mapping_layers, "channels": levels, "discriminator_channels": levels}
    return interface._config_of(config, Architecture(size=size, style_dim=32, **sizes), seed)


def test_the_default_suits_the_gan_and_needs_no_file_of_the_user():
    for size, side, stages in ((32, 64, 2), (64, 64, 2), (128, 128, 4), (512, 128, 4)):
        config = _complete(None, size)
        assert (config.gan.size, config.gan.style_dim) == (size, 32)
        assert config.image_size == side and len(config.schedule.stages) == stages
        assert (config.networks.pretrained, config.loss.perceptual) == ("", "discriminator")
        mean, covariance = load_mvn(config.sampling.view_mvn, 6)
        assert mean.shape == (6,) and np.linalg.eigvalsh(covariance).min() > -1e-6


def test_a_named_configuration_keeps_its_values_and_the_callers_stays_as_it_is():
    config = _complete("ictface:quick", seed=7)
    assert config.seed == 7 and config.prior.iterations == load_config("ictface:quick").prior.iterations
    assert _complete("ictface:quick").seed == 0
    config = g2s.load_config("ictface")
    config.prior.iterations = 3
    before = config.to_dict()
    assert _complete(config, 128, 5).prior.iterations == 3
    assert config.to_dict() == before and config.is_locked


def test_other_configurations_and_seeds_are_refused():
    for config, message in (
        ("ictfaec", "did you mean ictface"),
        ("ictface:joint", "config.mode is 'joint': an image is reconstructed by itself in mode 'instance'"),
        ("celeba", "config.sampling.view_mvn: checkpoints/.* is not there"),
    ):
        with pytest.raises(g2s.UserError, match=message):
            _complete(config)
    with pytest.raises(g2s.UserError, match="config.gan.F1_d is 8, but the mapping network of this GAN has only 4"):
        _complete("ictface", mapping_layers=4)
    for seed in ("1", 1.5, np.zeros(2)):
        with pytest.raises(ArgumentError, match="^seed"):
            _complete("ictface", seed=seed)
    with pytest.raises(ArgumentError, match="^config"):
        _complete({"seed": 1})
