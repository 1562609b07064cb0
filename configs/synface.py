"""Rendered faces (Basel Face Model) at 64 pixels with true depth. Nothing is bundled.

python -m gan2shape_jax.main --config=configs/synface.py:published         the reference's `synface.yml`
python -m gan2shape_jax.main --config=configs/synface.py:published_joint   its `synface_pretrain.yml`: 200 faces jointly
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.config.load import jointly_published
from gan2shape_jax.io.categories import Category, face_parser

VARIANTS = ("published", "published_joint")
CATEGORY = Category("synface", "forehead", face_parser(dict.fromkeys(range(1, 15), 1.0)), detector="face", word="face")


def get_config(variant: str) -> ConfigDict:
    """Returns the configuration for rendered faces, which starts from what `published_joint` trains, or that."""
    config = load_config("celeba:published").unlock()
    config.update(workdir="results/synface_published", category="synface", image_size=64)
    config.data.update(image_list="data/synface/test/list.txt", image_root="data/synface/test/image", crop=170)
    config.data.update(latent_root="data/synface/test/latents", depth_root="data/synface/test/depth")
    config.networks.pretrained = "checkpoints/gan2shape/synface_pretrain.pth"
    config.gan.update(checkpoint="checkpoints/stylegan2/stylegan2-synface-config-e.safetensors", F1_d=8)
    config.sampling.view_mvn = "checkpoints/view_light/synface_view_mvn.pth"
    config.sampling.light_mvn = "checkpoints/view_light/synface_light_mvn.pth"
    config.sampling.rand_light = (-0.9, 0.9, -0.3, 0.8, -0.1, 0.7, -0.4)
    config.schedule.update(stages=((500, 500, 200),), flip1=(False,), flip3=(True,), average_gradients=True)
    config.checkpoint.keep = 2
    if variant == "published_joint":
        jointly_published(config, batch_size=12, stages=8)
        config.data.update(image_list="data/synface/train/list_200.txt", image_root="data/synface/train/image")
        config.data.update(latent_root="data/synface/train/latents", depth_root="data/synface/train/depth")
        config.sampling.collect_iters = 1000
        config.checkpoint.update(every_iterations=2000, keep=10)
    return config
