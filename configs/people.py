"""Photographs of people: six bundled ones, a bundled 64-pixel StyleGAN2 of portraits and rendered heads, and its model.

gan2shape-jax photo me.jpg                                         your own: this is the default of photos
python -m gan2shape_jax.main --config=configs/people.py            the model, refined on each photograph
python -m gan2shape_jax.main --config=configs/people.py:predict    the model as it is, feed-forward
python -m gan2shape_jax.main --config=configs/people.py:lift       lifts that GAN anew, in six stages (`:finetune` of a
                                                                   model of renderings made it: docs/reports/people.md)
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.categories import Category

CATEGORY = Category("people", "forehead", detector="face", word="face")


def get_config() -> ConfigDict:
    """Returns the configuration of people, with six studio photographs."""
    config = load_config("own").unlock()
    config.update(workdir="results/people", category="people")
    for name, place in (("image_list", "list.txt"), ("image_root", "image"), ("latent_root", "latents")):
        config.data[name] = asset(f"people/{place}")
    config.data.mask_root = asset("people/mask")
    config.gan.checkpoint = asset("people/gan.safetensors")
    config.recipe = "refine"
    config.networks.pretrained = asset("people/model.safetensors")
    config.refinement.samples = "turned"
    # Hair and rooms have any colour: GrabCut starts from where the heads of the benchmark's training split are.
    config.lift.mean_mask = asset("people/usual_mask.png")
    config.lift.view_iterations = 1500  # what it gains: docs/reports/views.md
    config.inversion.steps = 300  # as the bundled faces
    # The GAN draws no photograph exactly, and its turned pictures show somebody else: shapes that are let free get
    # lumps and stripes from what they cannot explain, and views drift (docs/reports/lift.md).
    config.refinement.freeze_geometry = True
    return config
