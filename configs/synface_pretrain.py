"""Joint training on 200 rendered faces, as the reference's `synface_pretrain.yml`.

python -m gan2shape_jax.main --config=configs/synface_pretrain.py
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """Returns the configuration for joint training on rendered faces."""
    config = load_config("synface").unlock()
    config.workdir = "results/synface_pretrain"
    config.mode = "joint"
    config.data.image_list = "data/synface/train/list_200.txt"
    config.data.image_root = "data/synface/train/image"
    config.data.latent_root = "data/synface/train/latents"
    config.data.depth_root = "data/synface/train/depth"
    config.networks.pretrained = ""
    config.sampling.collect_iters = 1000
    config.sampling.batch_size = 12
    config.schedule.joint = True
    config.schedule.reset_weight = False
    config.schedule.stages = ((1500, 1500, 1500), *7 * ((700, 1000, 1000),))
    config.schedule.flip1 = (False, *7 * (True,))
    config.schedule.flip3 = 8 * (True,)
    config.checkpoint.every_iterations = 2000
    config.checkpoint.keep = 10
    return config
