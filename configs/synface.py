"""Rendered faces (Basel Face Model) at 64 pixels with true depth, as the reference's `synface.yml`.

python -m gan2shape_jax.main --config=configs/synface.py
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.categories import Category, face_parser

__all__ = ["CATEGORY", "get_config"]

CATEGORY = Category("synface", "forehead", face_parser(dict.fromkeys(range(1, 15), 1.0)), word="face")


def get_config() -> ConfigDict:
    """Returns the configuration for rendered faces; starts from what `synface_pretrain` trains."""
    config = load_config("base").unlock()
    config.workdir = "results/synface"
    config.category = "synface"
    config.image_size = 64
    config.data.image_list = "data/synface/test/list.txt"
    config.data.image_root = "data/synface/test/image"
    config.data.latent_root = "data/synface/test/latents"
    config.data.depth_root = "data/synface/test/depth"
    config.data.crop = 170
    config.parsing.weights = "checkpoints/parsing/bisenet.safetensors"
    config.networks.pretrained = "checkpoints/gan2shape/synface_pretrain.pth"
    config.gan.checkpoint = "checkpoints/stylegan2/stylegan2-synface-config-e.safetensors"
    config.gan.size = 128
    config.gan.channel_multiplier = 1
    config.gan.F1_d = 8
    config.gan.relative_enc = True
    config.sampling.view_mvn = "checkpoints/view_light/synface_view_mvn.pth"
    config.sampling.light_mvn = "checkpoints/view_light/synface_light_mvn.pth"
    config.sampling.view_scale = 1.2
    config.sampling.rand_light = (-0.9, 0.9, -0.3, 0.8, -0.1, 0.7, -0.4)
    config.sampling.batch_size = 16
    config.loss.lpips_weights = "checkpoints/lpips/lpips_vgg16.safetensors"
    config.schedule.stages = ((500, 500, 200),)
    config.schedule.flip1 = (False,)
    config.schedule.flip3 = (True,)
    return config
