"""Joint training on 200 human faces, as the reference's `celeba_pretrain.yml`.

python -m gan2shape_jax.main --config=configs/celeba_pretrain.py
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.config.load import joined


def get_config() -> ConfigDict:
    """Returns the configuration for joint training on human faces."""
    config = joined(load_config("celeba").unlock(), ((1500, 1500, 1500), *3 * ((700, 1000, 1000),)))
    config.workdir = "results/celeba_pretrain"
    config.data.image_list = "data/celeba/list_0-199.txt"
    config.sampling.update(collect_iters=800, batch_size=8)
    config.checkpoint.keep = 2
    return config
