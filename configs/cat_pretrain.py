"""Joint training on 200 cat faces, as the reference's `cat_pretrain.yml`.

python -m gan2shape_jax.main --config=configs/cat_pretrain.py
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """Returns the configuration for joint training on cats."""
    config = load_config("cat").unlock()
    config.workdir = "results/cat_pretrain"
    config.mode = "joint"
    config.data.image_list = "data/cat/list_0-199.txt"
    config.networks.pretrained = ""
    config.sampling.collect_iters = 800
    config.sampling.batch_size = 8
    config.schedule.joint = True
    config.schedule.reset_weight = False
    config.schedule.stages = ((1500, 1500, 1500), *3 * ((700, 1000, 1000),))
    config.schedule.flip1 = (False, True, True, True)
    config.schedule.flip3 = (True, True, True, True)
    config.checkpoint.keep = 2
    return config
