"""Cars at 128 pixels with a 512-pixel StyleGAN2, as the reference's `car.yml`.

python -m gan2shape_jax.main --config=configs/car.py
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.categories import Category, scene_parser

CATEGORY = Category("car", "ground", scene_parser("VOC", 21, 7, normalize=True), max_yaw_deg=45.0)


def get_config() -> ConfigDict:
    """Returns the configuration for cars."""
    config = load_config("base").unlock()
    config.update(workdir="results/car", category="car")
    config.data.update(image_list="data/car/list.txt", image_root="data/car", latent_root="data/car/latents")
    config.parsing.weights = "checkpoints/parsing/pspnet_voc.safetensors"
    config.gan.update(checkpoint="checkpoints/stylegan2/stylegan2-car-config-f.safetensors", size=512)
    config.sampling.view_mvn = "checkpoints/view_light/view_mvn.pth"
    config.sampling.light_mvn = "checkpoints/view_light/light_mvn.pth"
    config.loss.lpips_weights = "checkpoints/lpips/lpips_vgg16.safetensors"
    config.schedule.update(stages=((700, 700, 600), *3 * ((200, 500, 400),)), distinct_images=False, use_mask=True)
    return config
