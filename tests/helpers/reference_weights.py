"""The weights that the reference ran with, which are not stored: each is drawn by its tensor's name."""

import zlib

import numpy as np


def drawn(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Returns a tensor of a parser, of VGG16, or of LPIPS' linear layers (`lin0` and so on)."""
    noise = np.random.default_rng(zlib.crc32(name.encode()) + seed).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(noise)
    if name.endswith(("running_mean", "bias")):
        return 0.1 * noise
    if name.startswith("lin"):
        return 0.1 * np.abs(noise)
    if len(shape) == 1:
        return 1 + 0.1 * noise
    return noise * np.sqrt(2 / np.prod(shape[1:])).astype(np.float32)
