"""Cat faces at 128 pixels with a 256-pixel StyleGAN2, as the reference's `cat.yml`.

python -m gan2shape_jax.main --config=configs/cat.py
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.categories import Category, scene_parser

CATEGORY = Category("cat", parser=scene_parser("VOC", 21, 8, normalize=True))


def get_config() -> ConfigDict:
    """Returns the configuration for cats; it starts from what `cat_pretrain` trains."""
    config = load_config("celeba").unlock()
    config.update(workdir="results/cat", category="cat")
    config.data.update(
        image_list="data/cat/list_200-215.txt", image_root="data/cat", latent_root="data/cat/latents", crop=170
    )
    config.parsing.weights = "checkpoints/parsing/pspnet_voc.safetensors"
    config.networks.pretrained = "checkpoints/gan2shape/cat_pretrain.pth"
    config.gan.update(checkpoint="checkpoints/stylegan2/stylegan2-catface-config-e.safetensors", size=256)
    config.sampling.view_mvn = "checkpoints/view_light/cat_view_mvn.pth"
    config.sampling.light_mvn = "checkpoints/view_light/cat_light_mvn.pth"
    config.schedule.average_gradients = True
    return config
