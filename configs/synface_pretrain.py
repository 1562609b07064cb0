"""Joint training on 200 rendered faces, as the reference's `synface_pretrain.yml`.

python -m gan2shape_jax.main --config=configs/synface_pretrain.py
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.config.load import joined


def get_config() -> ConfigDict:
    """Returns the configuration for joint training on rendered faces."""
    config = joined(load_config("synface").unlock(), ((1500, 1500, 1500), *7 * ((700, 1000, 1000),)))
    config.workdir = "results/synface_pretrain"
    config.data.update(image_list="data/synface/train/list_200.txt", image_root="data/synface/train/image")
    config.data.update(latent_root="data/synface/train/latents", depth_root="data/synface/train/depth")
    config.sampling.update(collect_iters=1000, batch_size=12)
    config.checkpoint.update(every_iterations=2000, keep=10)
    return config
