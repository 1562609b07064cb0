"""Horses at 128 pixels with a 256-pixel StyleGAN2: the settings of `car`; the reference has no such file.

python -m gan2shape_jax.main --config=configs/horse.py
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.categories import Category, scene_parser

CATEGORY = Category("horse", "ground", scene_parser("VOC", 21, 13, normalize=False), max_yaw_deg=45.0)


def get_config() -> ConfigDict:
    """Returns the configuration for horses; the GAN is NVIDIA's for LSUN Horse (StyleGAN2, config-f)."""
    config = load_config("car").unlock()
    config.update(workdir="results/horse", category="horse")
    config.data.update(image_list="data/horse/list.txt", image_root="data/horse", latent_root="data/horse/latents")
    config.gan.update(checkpoint="checkpoints/stylegan2/stylegan2-horse-config-f.safetensors", size=256)
    return config
