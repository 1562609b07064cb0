"""Joint training on 200 cat faces, as the reference's `cat_pretrain.yml`.

python -m gan2shape_jax.main --config=configs/cat_pretrain.py
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.config.load import joined


def get_config() -> ConfigDict:
    """Returns the configuration for joint training on cats."""
    config = joined(load_config("cat").unlock(), ((1500, 1500, 1500), *3 * ((700, 1000, 1000),)))
    config.workdir = "results/cat_pretrain"
    config.data.image_list = "data/cat/list_0-199.txt"
    config.sampling.update(collect_iters=800, batch_size=8)
    config.checkpoint.keep = 2
    return config
