"""A GAN of your own, of up to 64 pixels: the starting point for a new category.

`gan2shape-jax train-gan PHOTOS --out GAN` writes GAN/config.py, which names what is missing here: the GAN and its
sizes, the category, a folder for results. By hand:

    from gan2shape_jax.config import load_config

    def get_config():
        config = load_config("own").unlock()
        config.category = "dog"
        config.workdir = "results/dog"
        config.gan.checkpoint = "dog/gan.safetensors"
        config.networks.pretrained = "results/dog_lift/model.safetensors"  # which `gan2shape-jax lift` writes
        return config
"""

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.bundled import asset


def get_config() -> ConfigDict:
    """Returns the configuration of small pictures that nothing else is known of."""
    config = load_config("base").unlock()
    config.update(workdir="results/own", category="own", image_size=64)
    config.networks.update(width=32, group_base=8)
    config.gan.update(size=64, channel_multiplier=0, style_dim=128, F1_d=8, relative_enc=True)
    # Of rendered faces. Views are relative to the mean view, and lights hardly differ from kind to kind.
    config.sampling.update(view_mvn=asset("ictface/view_mvn.npz"), light_mvn=asset("ictface/light_mvn.npz"))
    config.sampling.update(view_scale=1.2, rand_light=(-0.9, 0.9, -0.3, 0.8, -0.1, 0.7, -0.4))
    config.loss.perceptual = "discriminator"
    config.schedule.stages = ((600, 600, 400), (200, 500, 300))
    config.schedule.update(flip1=(False, False), flip3=(True, False))
    return config
