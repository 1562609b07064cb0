"""Cars: six bundled renderings with true depth, a bundled 64-pixel StyleGAN2, and a model lifted from it.

python -m gan2shape_jax.main --config=configs/car.py             the model as it is, feed-forward
python -m gan2shape_jax.main --config=configs/car.py:scratch     separate networks for each car, from a cuboid
python -m gan2shape_jax.main --config=configs/car.py:lift        lifts that GAN again (docs/reports/cars.md)
python -m gan2shape_jax.main --config=configs/car.py:published   the reference's `car.yml`: a 512-pixel StyleGAN2
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.categories import Category, scene_parser

VARIANTS = ("published",)
CATEGORY = Category("car", "ground", scene_parser("VOC", 21, 7, normalize=True), max_yaw_deg=45.0)


def get_config(variant: str = "") -> ConfigDict:
    """Returns the configuration of the bundled cars, or that of the published ones."""
    if variant:
        return _published()
    config = load_config("own").unlock()
    config.update(workdir="results/car", category="car")
    config.data.update(image_list=asset("car/list.txt"), image_root=asset("car/image"))
    config.data.update(depth_root=asset("car/depth"), mask_root=asset("car/mask"))
    config.gan.checkpoint = asset("car/gan.safetensors")
    config.inversion.steps = 300  # as of `ictface`
    # Seen three quarters from in front, by up to 45 degrees more or less: not symmetric in the picture.
    config.sampling.update(view_mvn=asset("car/view_mvn.npz"), view_scale=1.0)
    config.schedule.update(flip1=(False, False), flip3=(False, False))
    config.prior.update(shape="cuboid", far=1.015)
    config.lift.mean_mask = asset("car/usual_mask.png")
    config.lift.view_iterations = 600  # by validation cars, 1,500 are no better: docs/reports/cars.md
    # Views that are let free leave the picture, six of eight (docs/reports/cars.md).
    config.refinement.freeze_geometry = True
    config.recipe = "predict"
    config.networks.pretrained = asset("car/model.safetensors")
    return config


def _published() -> ConfigDict:
    """Returns the reference's cars, at 128 pixels."""
    config = load_config("base").unlock()
    config.update(workdir="results/car_published", category="car")
    config.data.update(image_list="data/car/list.txt", image_root="data/car", latent_root="data/car/latents")
    config.parsing.weights = "checkpoints/parsing/pspnet_voc.safetensors"
    config.gan.update(checkpoint="checkpoints/stylegan2/stylegan2-car-config-f.safetensors", size=512)
    config.sampling.view_mvn = "checkpoints/view_light/view_mvn.pth"
    config.sampling.light_mvn = "checkpoints/view_light/light_mvn.pth"
    config.loss.lpips_weights = "checkpoints/lpips/lpips_vgg16.safetensors"
    config.schedule.update(stages=((700, 700, 600), *3 * ((200, 500, 400),)), distinct_images=False, use_mask=True)
    return config
