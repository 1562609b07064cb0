"""Heads with hair, beards and glasses, rooms behind them: a bundled 64-pixel StyleGAN2 of renderings, and its model.

gan2shape-jax photo me.jpg                                         the default of photos: for people
python -m gan2shape_jax.main --config=configs/head.py:lift         lifts that GAN anew, in six stages; then `:finetune`
                                                                   made the bundled model (docs/reports/heads.md)
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.categories import Category

CATEGORY = Category("head", "forehead", detector="face", word="face")


def get_config() -> ConfigDict:
    """Returns the configuration of heads, whose images, masks and latents are the user's own."""
    config = load_config("own").unlock()
    config.update(workdir="results/head", category="head")
    config.gan.checkpoint = asset("head/gan.safetensors")
    config.recipe = "refine"
    config.networks.pretrained = asset("head/model.safetensors")
    config.refinement.samples = "turned"
    # Hair and rooms have any colour: GrabCut starts from where the heads of the benchmark's training split are.
    config.lift.mean_mask = asset("head/usual_mask.png")
    config.inversion.steps = 300  # as the bundled faces
    # The GAN draws no photograph exactly, and its turned pictures show somebody else: shapes that are let free get
    # lumps and stripes from what they cannot explain, and views drift (docs/reports/lift.md).
    config.refinement.freeze_geometry = True
    return config
