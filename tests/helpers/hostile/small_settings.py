"""Networks so small that their shapes are found in no time."""

from gan2shape_jax.config import load_config
from gan2shape_jax.method.settings import Settings, from_config
from gan2shape_jax.stylegan2 import Architecture

__all__ = ["small_settings"]


def small_settings() -> Settings:
    config = load_config("ictface:scratch").unlock()
    config.image_size = 32
    config.networks.width, config.networks.view_light_width, config.networks.group_base = 2, 1, 1
    config.networks.zdim, config.networks.encoder_width = 2, 1
    channels = (8,) * 4
    architecture = Architecture(
        size=32, style_dim=8, mapping_layers=2, channels=channels, discriminator_channels=channels
    )
    return from_config(config, architecture, original_size=32)
