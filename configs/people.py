"""People: six rendered heads with true depth, a 64-pixel StyleGAN2 of portraits and rendered heads, and its model.

gan2shape-jax photo me.jpg                                         your own: this is the default of photos
python -m gan2shape_jax.main --config=configs/people.py            the model, refined on each head
python -m gan2shape_jax.main --config=configs/people.py:predict    the model as it is, feed-forward
python -m gan2shape_jax.main --config=configs/people.py:lift       lifts that GAN again, in six stages (`:finetune` of a
                                                                   model of renderings made it: docs/reports/people.md)
python -m gan2shape_jax.main --config=configs/people.py:head       whole heads: hair, chin and neck, in a wider frame
                                                                   (docs/reports/whole_heads.md)
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.categories import Category

CATEGORY = Category("people", "forehead", detector="face", word="face")
VARIANTS = ("head",)


def get_config(variant: str = "") -> ConfigDict:
    """Returns the configuration of people, or of their whole heads, with six rendered heads."""
    config = load_config("own").unlock()
    folder = f"people/{variant}" if variant else "people"
    config.update(workdir=f"results/{folder.replace('/', '_')}", category="people")
    # Of the test split of benchmarks/faces: the first two of each family, and the first of each turned by 30 degrees.
    for name, place in (("image_list", "list.txt"), ("image_root", "image"), ("latent_root", "latents")):
        config.data[name] = asset(f"{folder}/{place}")
    config.data.update(depth_root=asset(f"{folder}/depth"), mask_root=asset(f"{folder}/mask"))
    config.gan.checkpoint = asset(f"{folder}/gan.safetensors")
    config.recipe = "refine"
    config.networks.pretrained = asset(f"{folder}/model.safetensors")
    config.refinement.samples = "turned"
    # Hair and rooms have any colour: GrabCut starts from where the heads of the benchmark's training split are.
    config.lift.mean_mask = asset(f"{folder}/usual_mask.png")
    config.lift.view_iterations = 1500  # what it gains: docs/reports/views.md
    config.inversion.steps = 300  # as the bundled faces
    if variant == "head":
        # What a depth network says has a fixed mean, and a wide frame has more background: heads lie nearer by so much.
        config.camera.rot_center_depth = 0.992
    # The GAN draws no photograph exactly, and its turned pictures show somebody else: shapes that are let free get
    # lumps and stripes from what they cannot explain, and views drift (docs/reports/lift.md).
    config.refinement.freeze_geometry = True
    return config
