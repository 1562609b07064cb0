"""The configuration of a reconstruction in memory: defaults by the GAN, and what is refused."""

import numpy as np
import pytest

import gan2shape_jax as g2s
from gan2shape_jax.config import load_config
from gan2shape_jax.interface import configuration
from gan2shape_jax.io.array_files import load_mvn
from gan2shape_jax.stylegan2 import Architecture


def _architecture(size: int, *, mapping_layers: int = 8) -> Architecture:
    levels = (8,) * (size.bit_length() - 2)
    return Architecture(
        size=size, style_dim=32, mapping_layers=mapping_layers, channels=levels, discriminator_channels=levels
    )


@pytest.mark.parametrize(("size", "side", "stages"), [(32, 64, 2), (64, 64, 2), (128, 128, 4), (512, 128, 4)])
def test_the_default_suits_the_gan_and_needs_no_file_of_the_user(size, side, stages):
    config = configuration.complete(None, _architecture(size), None)
    assert (config.gan.size, config.gan.style_dim) == (size, 32)
    assert config.image_size == side and len(config.schedule.stages) == stages
    assert (config.networks.pretrained, config.loss.perceptual) == ("", "discriminator")
    mean, covariance = load_mvn(config.sampling.view_mvn, 6)
    assert mean.shape == (6,) and np.linalg.eigvalsh(covariance).min() > -1e-6


def test_a_named_configuration_keeps_its_values():
    config = configuration.complete("ictface:quick", _architecture(64), 7)
    assert config.seed == 7 and config.prior.iterations == load_config("ictface:quick").prior.iterations
    assert configuration.complete("ictface:quick", _architecture(64), None).seed == 0


def test_the_callers_configuration_stays_as_it_is():
    config = g2s.load_config("ictface")
    config.prior.iterations = 3
    before = config.to_dict()
    assert configuration.complete(config, _architecture(128), 5).prior.iterations == 3
    assert config.to_dict() == before and config.is_locked


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("ictfaec", "did you mean ictface"),
        ("ictface:joint", "config.mode is 'joint': an image is reconstructed by itself in mode 'instance'"),
        ("celeba", "config.sampling.view_mvn: checkpoints/.* is not there"),
    ],
)
def test_other_configurations_are_refused(config, message):
    with pytest.raises(g2s.UserError, match=message):
        configuration.complete(config, _architecture(64), None)


def test_a_mapping_network_with_too_few_layers_is_refused():
    with pytest.raises(g2s.UserError, match="config.gan.F1_d is 8, but the mapping network of this GAN has only 4"):
        configuration.complete("ictface", _architecture(64, mapping_layers=4), None)
