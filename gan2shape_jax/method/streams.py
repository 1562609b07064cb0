"""Every random stream of a run, by name: the only place where keys are told apart.

All random choices of a run follow from `run_key(config.seed)`. A stream's key is `key_of(key, stream, step)`, where
`key` is the run's, or one that another stream has given to an image, and `step` numbers the stream's draws: phases,
samples, iterations. What draws more than once divides the key it is given by `jax.random.split`, or by
`jax.random.fold_in` with a number of its own.

`FIXED_SEED` takes the place of `config.seed` where there is no run, or where all runs of a GAN's file have to agree:

- the mean latent of a GAN whose file has none: `sample` writes latents that a run's truncation turns into the pictures
  shown, `edit` repeats a run's truncation, and `Gan.mean_latent` knows of no run, each whatever the seed;
- detectors, which are cached by their GAN's file;
- commands without a seed: the intervals of `evaluate`, and `convert`, which writes the same file each time.
"""

import enum

import jax
import numpy as np
from jaxtyping import Int, PRNGKeyArray, Scalar

FIXED_SEED = 0


class Stream(enum.IntEnum):
    """What random numbers are for. The values enter every result: none is changed, or taken again for another use."""

    # Of a run; steps in brackets.
    NETWORKS = 1  # initial weights
    DETAIL = 2  # initial weights of the network of that name
    IMAGE = 3  # an image's own key (a hash of its name)
    IMAGE_ORDER = 4  # of joint training (phase)
    RETURN = 5  # a lift that goes back to a checkpoint: another order from there on (how many times it went back)
    # Samples that a lift draws from its GAN (a sample's number)
    TRAINED_SAMPLE = 6
    HELD_OUT_SAMPLE = 7
    MEASURED_SAMPLE = 8
    MASK_SAMPLE = 9
    # How a GAN turns what it draws
    FLIPPED_SAMPLES = 10  # that its axes are found from
    WALKED_SAMPLES = 11  # that are moved along them
    TURNED_SAMPLES = 12  # that V is taught by
    TURNED_PLACES = 13  # how far each of those is turned
    DIRECTIONS = 14  # samples that directions in W are found from, in `evaluate`
    OUTLINED_SAMPLE = 15  # whose outlines teach V yaw (a sample's number)
    OUTLINED_ORDER = 16  # in which V sees those
    TEXTURED_SAMPLE = 17  # whose texture, turned, teaches V (a sample's number)
    TURNED_TEXTURES = 18  # from where V sees those

    # Of an image, and of a run whose images are new in every iteration
    LATENT = 20  # of a sample
    INVERSION = 21
    TRAIN = 22  # views, lights and samples of an iteration (phase)
    COLLECT = 23  # views and lights of projected samples (phase)
    CHOOSE = 24  # which of the projected samples an iteration sees (phase)
    OWN_ENCODER = 25  # the key of an encoder that learns from this image alone (phase)
    HELD_OUT = 26  # projected samples that a refinement is judged by

    # Of training a GAN
    GAN_WEIGHTS = 40
    GAN_PHOTOS = 41  # their order (epoch)
    GAN_DISCRIMINATOR = 42  # (iteration), as for all updates
    GAN_GRADIENT_PENALTY = 43
    GAN_GENERATOR = 44
    GAN_PATH_LENGTHS = 45
    GAN_SHOWN = 46  # samples of the sheets
    GAN_COMPARED = 47  # samples that are compared with photos
    GAN_COMPARED_PHOTOS = 48
    GAN_CHECK = 49  # a batch of noise, to measure time and memory

    # Of no run
    MEAN_LATENT = 60


def run_key(seed: int) -> PRNGKeyArray:
    """Returns the key that all random numbers of a run follow from."""
    return jax.random.key(seed)


def key_of(key: PRNGKeyArray, stream: Stream, step: Int[Scalar, ""] | int = 0) -> PRNGKeyArray:
    """Returns the key of a step, from 0, of a stream."""
    return jax.random.fold_in(jax.random.fold_in(key, int(stream)), step)


def generator_of(key: PRNGKeyArray, stream: Stream, step: int = 0) -> np.random.Generator:
    """Returns NumPy's generator for what is drawn on the host."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key_of(key, stream, step))))
