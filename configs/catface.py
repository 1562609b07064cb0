"""Faces of cats: eight bundled photographs, a bundled 64-pixel StyleGAN2, and the model that lifting it gave.

python -m gan2shape_jax.main --config=configs/catface.py           the model, refined on each photograph
python -m gan2shape_jax.main --config=configs/catface.py:predict   the model as it is, feed-forward
python -m gan2shape_jax.main --config=configs/catface.py:scratch   every photograph by itself, from untrained networks
python -m gan2shape_jax.main --config=configs/catface.py:lift      lifts that GAN anew, in six stages
                                                                   (three, and `:finetune`, made the bundled model:
                                                                   docs/reports/cats.md)
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.categories import Category

VARIANTS = ("scratch", "predict")
CATEGORY = Category("catface", word="cat's face")


def get_config(variant: str = "") -> ConfigDict:
    """Returns the configuration of cats' faces, or a variant: from scratch, or feed-forward."""
    config = load_config("own").unlock()
    config.update(workdir=f"results/catface{variant and '_'}{variant}", category="catface")
    for name, place in (("image_list", "list.txt"), ("image_root", "image"), ("latent_root", "latents")):
        config.data[name] = asset(f"catface/{place}")
    config.gan.checkpoint = asset("catface/gan.safetensors")
    # A face fills its picture: an ellipse is every one's mask, where GrabCut finds eyes and noses.
    config.lift.update(masks="mean", mean_mask=asset("catface/usual_mask.png"), truncation=0.8)
    # The GAN turns a head by 10 degrees; shapes that are let free follow the patches of a coat (docs/reports/cats.md).
    config.refinement.freeze_geometry = True
    # The schedule that docs/reports/cats.md was measured with, longer than the default.
    config.refinement.update(stages=((50, 300, 220),), collect_iters=48, gain=1.0)
    if variant != "scratch":
        config.recipe = variant or "refine"
        config.networks.pretrained = asset("catface/model.safetensors")
    return config
