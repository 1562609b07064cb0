"""Cars at 128 pixels with a 512-pixel StyleGAN2, as the reference's `car.yml`.

python -m gan2shape_jax.main --config=configs/car.py
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.categories import Category, scene_parser

__all__ = ["CATEGORY", "get_config"]

CATEGORY = Category("car", "ground", scene_parser("VOC", 21, 7, normalize=True), max_yaw_deg=45.0)


def get_config() -> ConfigDict:
    """Returns the configuration for cars."""
    config = load_config("base").unlock()
    config.workdir = "results/car"
    config.category = "car"
    config.data.image_list = "data/car/list.txt"
    config.data.image_root = "data/car"
    config.data.latent_root = "data/car/latents"
    config.parsing.weights = "checkpoints/parsing/pspnet_voc.safetensors"
    config.gan.checkpoint = "checkpoints/stylegan2/stylegan2-car-config-f.safetensors"
    config.gan.size = 512
    config.sampling.view_mvn = "checkpoints/view_light/view_mvn.pth"
    config.sampling.light_mvn = "checkpoints/view_light/light_mvn.pth"
    config.loss.lpips_weights = "checkpoints/lpips/lpips_vgg16.safetensors"
    config.schedule.stages = ((700, 700, 600), *3 * ((200, 500, 400),))
    config.schedule.independent = False
    config.schedule.use_mask = True
    return config
