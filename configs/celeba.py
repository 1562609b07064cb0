"""Human faces at 128 pixels with a 128-pixel StyleGAN2. Nothing is bundled.

python -m gan2shape_jax.main --config=configs/celeba.py:published         the reference's `celeba.yml`
python -m gan2shape_jax.main --config=configs/celeba.py:published_joint   its `celeba_pretrain.yml`: 200 faces jointly
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.config.load import jointly_published
from gan2shape_jax.io.categories import Category, face_parser

# 1 on the face, 0.5 on the rest of the head: neck, hair and hat, but not cloth.
_HEAD = {label: 1.0 if label <= 13 else 0.5 for label in range(1, 19) if label != 16}
VARIANTS = ("published", "published_joint")
CATEGORY = Category("face", "neck", face_parser(_HEAD), detector="face")


def get_config(variant: str) -> ConfigDict:
    """Returns the configuration for human faces, which starts from what `published_joint` trains, or that."""
    config = load_config("base").unlock()
    config.update(workdir="results/celeba_published", category="face")
    config.data.update(
        image_list="data/celeba/list_200-399.txt", image_root="data/celeba", latent_root="data/celeba/latents"
    )
    config.parsing.weights = "checkpoints/parsing/bisenet.safetensors"
    config.networks.pretrained = "checkpoints/gan2shape/celeba_pretrain.pth"
    config.gan.checkpoint = "checkpoints/stylegan2/stylegan2-celeba-config-e.safetensors"
    config.gan.update(size=128, channel_multiplier=1, relative_enc=True)
    config.sampling.view_mvn = "checkpoints/view_light/celeba_view_mvn.pth"
    config.sampling.light_mvn = "checkpoints/view_light/celeba_light_mvn.pth"
    config.sampling.update(view_scale=1.2, batch_size=16)
    config.loss.lpips_weights = "checkpoints/lpips/lpips_vgg16.safetensors"
    config.schedule.update(flip3=(True, False, False, False), average_gradients=False)
    config.checkpoint.keep = 1
    return jointly_published(config, batch_size=8) if variant == "published_joint" else config
