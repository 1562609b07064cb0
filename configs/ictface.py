"""Six bundled faces with true depth, a bundled 64-pixel StyleGAN2, and a model lifted from it: runs on any CPU.

python -m gan2shape_jax.main --config=configs/ictface.py           the model, refined on each face
python -m gan2shape_jax.main --config=configs/ictface.py:predict   the model as it is, feed-forward
python -m gan2shape_jax.main --config=configs/ictface.py:scratch   the published schedule, from untrained networks
python -m gan2shape_jax.main --config=configs/ictface.py:quick     two faces, a short schedule, small pictures
python -m gan2shape_jax.main --config=configs/ictface.py:joint     one set of networks for all six
python -m gan2shape_jax.main --config=configs/ictface.py:lift      one set of networks for all of the GAN's samples,
                                                                   with which the bundled model began
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.categories import Category

CATEGORY = Category("ictface", "forehead", detector="face", word="face")


def get_config() -> ConfigDict:
    """Returns the configuration of the bundled faces."""
    config = load_config("own").unlock()
    config.update(workdir="results/ictface", category="ictface")
    for name, place in (("image_list", "list.txt"), ("image_root", "image"), ("latent_root", "latents")):
        config.data[name] = asset(f"ictface/{place}")
    config.data.update(depth_root=asset("ictface/depth"), mask_root=asset("ictface/mask"))
    config.gan.checkpoint = asset("ictface/gan.safetensors")
    # 500 steps find latents with an error that is 1% lower, but take 4 seconds more a photo.
    config.inversion.steps = 300
    config.recipe = "refine"
    config.networks.pretrained = asset("ictface/model.safetensors")
    config.refinement.samples = "turned"
    return config
