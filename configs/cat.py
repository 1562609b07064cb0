"""Faces of cats: a bundled 64-pixel StyleGAN2, six of its samples, and a model lifted from it.

python -m gan2shape_jax.main --config=configs/cat.py             the model, refined on each sample
python -m gan2shape_jax.main --config=configs/cat.py:predict     the model as it is, feed-forward
python -m gan2shape_jax.main --config=configs/cat.py:lift        lifts that GAN again, in six stages (three, and
                                                                 `:finetune`, made the model: docs/reports/cats.md)
python -m gan2shape_jax.main --config=configs/cat.py:published   the reference's `cat.yml`: a 256-pixel StyleGAN2
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.config.load import jointly_published
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.categories import Category, scene_parser

VARIANTS = ("published", "published_joint")
CATEGORY = Category("cat", parser=scene_parser("VOC", 21, 8, normalize=True), word="cat's face")


def get_config(variant: str = "") -> ConfigDict:
    """Returns the configuration of the bundled cats, or that of the published ones."""
    if variant:
        config = _published()
        return jointly_published(config, batch_size=8) if variant == "published_joint" else config
    config = load_config("own").unlock()
    config.update(workdir="results/cat", category="cat")
    # Samples 0 to 5 of seed 84 with their latents; `--config.data.latent_root=` finds these again.
    for name, place in (("image_list", "list.txt"), ("image_root", "image"), ("latent_root", "latents")):
        config.data[name] = asset(f"cat/{place}")
    config.gan.checkpoint = asset("cat/gan.safetensors")
    # A face fills its picture: an ellipse is every one's mask, where GrabCut finds eyes and noses.
    config.lift.update(masks="mean", mean_mask=asset("cat/usual_mask.png"), truncation=0.8)
    # The GAN turns a head by 10 degrees; shapes that are let free follow the patches of a coat (docs/reports/cats.md).
    config.refinement.freeze_geometry = True
    # The schedule that docs/reports/cats.md was measured with, longer than the default.
    config.refinement.update(stages=((50, 300, 220),), collect_iters=48, gain=1.0)
    config.recipe = "refine"
    config.networks.pretrained = asset("cat/model.safetensors")
    return config


def _published() -> ConfigDict:
    """Returns the reference's cats, at 128 pixels; they start from what `published_joint` trains."""
    config = load_config("celeba:published").unlock()
    config.update(workdir="results/cat_published", category="cat")
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
