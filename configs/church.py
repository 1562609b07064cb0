"""Churches at 128 pixels with a 256-pixel StyleGAN2, as the reference's `church.yml`. Nothing is bundled.

python -m gan2shape_jax.main --config=configs/church.py:published
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.categories import Category, scene_parser

VARIANTS = ("published",)
CATEGORY = Category("church", "ground", scene_parser("ADE20K", 150, 1, normalize=False), max_yaw_deg=45.0)


def get_config(variant: str) -> ConfigDict:
    """Returns the configuration for churches."""
    config = load_config("car:published").unlock()
    config.update(workdir="results/church_published", category="church")
    config.data.update(image_list="data/church/list.txt", image_root="data/church", latent_root="data/church/latents")
    config.parsing.weights = "checkpoints/parsing/pspnet_ade20k.safetensors"
    config.gan.update(checkpoint="checkpoints/stylegan2/stylegan2-church-config-f.safetensors", size=256)
    config.prior.far = 1.0
    return config
