"""Six bundled faces with true depth, a bundled 64-pixel StyleGAN2, and the model that lifting it gave: runs on any CPU.

python -m gan2shape_jax.main --config=configs/ictface.py           the model, refined on each face
python -m gan2shape_jax.main --config=configs/ictface.py:predict   the model as it is, feed-forward
python -m gan2shape_jax.main --config=configs/ictface.py:scratch   the published schedule, from untrained networks
python -m gan2shape_jax.main --config=configs/ictface.py:quick     two faces, a short schedule, small pictures
python -m gan2shape_jax.main --config=configs/ictface.py:joint     one set of networks for all six
python -m gan2shape_jax.main --config=configs/ictface.py:lift      one set of networks for whatever the GAN draws,
                                                                   as the bundled model began
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.categories import Category

__all__ = ["CATEGORY", "VARIANTS", "get_config"]

VARIANTS = ("scratch", "quick", "joint", "predict")
CATEGORY = Category("ictface", "forehead", word="face")


def get_config(variant: str = "") -> ConfigDict:
    """Returns the configuration of the bundled faces, or a variant: feed-forward, from scratch, short, or joint."""
    config = load_config("base").unlock()
    config.workdir = "results/ictface"
    config.category = "ictface"
    config.image_size = 64
    config.data.image_list = asset("ictface/list.txt")
    config.data.image_root = asset("ictface/image")
    config.data.latent_root = asset("ictface/latents")
    config.data.depth_root = asset("ictface/depth")
    config.data.mask_root = asset("ictface/mask")
    config.networks.width = 32
    config.networks.group_base = 8
    config.gan.checkpoint = asset("ictface/gan.safetensors")
    config.gan.size = 64
    config.gan.channel_multiplier = 0
    config.gan.style_dim = 128
    config.gan.F1_d = 8
    config.gan.relative_enc = True
    config.sampling.view_mvn = asset("ictface/view_mvn.pth")
    config.sampling.light_mvn = asset("ictface/light_mvn.pth")
    config.sampling.view_scale = 1.2
    config.sampling.rand_light = (-0.9, 0.9, -0.3, 0.8, -0.1, 0.7, -0.4)
    config.loss.perceptual = "discriminator"
    # 500 steps find latents with an error that is 1% lower, but take 4 seconds more a photo (docs/reports/speed.md).
    config.inversion.steps = 300
    config.schedule.stages = ((600, 600, 400), (200, 500, 300))
    config.schedule.flip1 = (False, False)
    config.schedule.flip3 = (True, False)
    if variant in ("", "predict"):
        config.networks.pretrained = asset("ictface/model.safetensors")
    if variant == "scratch":
        config.workdir = "results/ictface_scratch"
    elif variant == "quick":
        _shorten(config)
    elif variant == "joint":
        _join(config)
    elif variant == "predict":
        config.workdir = "results/ictface_predict"
        config.mode = "predict"
    return config


def _join(config: ConfigDict) -> None:
    """Trains one set of networks on all six faces, with the flips of the published joint training."""
    config.workdir = "results/ictface_joint"
    config.mode = "joint"
    config.schedule.joint = True
    config.schedule.reset_weight = False
    config.schedule.stages = ((600, 900, 1200), (300, 600, 900))
    config.schedule.flip1 = (False, True)
    config.schedule.flip3 = (True, True)
    config.sampling.collect_iters = 60


def _shorten(config: ConfigDict) -> None:
    """Shortens every step, to see that all of them work: the shapes are rough."""
    config.workdir = "results/ictface_quick"
    config.data.image_list = asset("ictface/list_quick.txt")
    config.prior.iterations = 150
    config.schedule.stages = ((60, 60, 40),)
    config.schedule.flip1 = (False,)
    config.schedule.flip3 = (True,)
    config.sampling.collect_iters = 10
    config.outputs.turntable_frames = 8
    config.outputs.picture_size = 128
    config.logging.every_iterations = 20
