"""Horses at 128 pixels with a 256-pixel StyleGAN2. Nothing is bundled.

The reference has no such file: the settings are those of `car:published`.

python -m gan2shape_jax.main --config=configs/horse.py:published
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.categories import Category, scene_parser

VARIANTS = ("published",)
CATEGORY = Category("horse", "ground", scene_parser("VOC", 21, 13, normalize=False), max_yaw_deg=45.0)


def get_config(variant: str) -> ConfigDict:
    """Returns the configuration for horses; the GAN is NVIDIA's for LSUN Horse (StyleGAN2, config-f)."""
    config = load_config("car:published").unlock()
    config.update(workdir="results/horse_published", category="horse")
    config.data.update(image_list="data/horse/list.txt", image_root="data/horse", latent_root="data/horse/latents")
    config.gan.update(checkpoint="checkpoints/stylegan2/stylegan2-horse-config-f.safetensors", size=256)
    return config
