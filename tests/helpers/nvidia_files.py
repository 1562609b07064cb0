"""Network pickles in NVIDIA's form for the tests of conversion, and how far outputs are from theirs."""

import contextlib

import numpy as np
import torch

from helpers import nvidia_networks
from helpers.nvidia_networks import Discriminator, Generator

WIDTH = 12
SMALL = (6, 5, 4)


@contextlib.contextmanager
def one_thread():
    """PyTorch on one thread, so that it leaves the others to JAX."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def networks(generator=None, discriminator=None, *, channels=SMALL, seed=0):
    torch.manual_seed(seed)
    return (
        Generator(WIDTH, channels, **(generator or {})).eval(),
        Discriminator(channels, **(discriminator or {})).eval(),
    )


def save(path, g, d, **options):
    """Saves a generator and a discriminator as NVIDIA does; returns the path."""
    nvidia_networks.save(path, G=g, D=d, G_ema=g, augment_pipe=None, **options)
    return path


def relative(ours, theirs):
    """The greatest relative L2 error of an item; `theirs` is a torch tensor, NCHW or (B, W)."""
    ours, theirs = np.asarray(ours), theirs.numpy()
    theirs = np.moveaxis(theirs, 1, -1) if theirs.ndim == 4 else theirs
    assert ours.shape == theirs.shape
    flat = [x.reshape(len(x), -1) for x in (ours - theirs, theirs)]
    return (np.linalg.norm(flat[0], axis=1) / np.linalg.norm(flat[1], axis=1)).max()


def one_hot(index, count, classes):
    found = torch.zeros(count, classes)
    found[:, index if classes else 0 :][:, :1] = 1
    return found
