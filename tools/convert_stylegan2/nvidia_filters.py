"""Low-pass filters of NVIDIA's modules, stored there as matrices, as taps along one axis."""

from collections.abc import Sequence

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.stylegan2.architecture import BINOMIAL

from .nvidia_network import Network

__all__ = ["MOST_TAPS", "filter_taps", "known_taps"]

MOST_TAPS = 64


def filter_taps(network: Network, module: str) -> tuple[float, ...]:
    """Returns the taps along one axis of a module's low-pass filter, which must be separable."""
    stored = network.tensors.get(f"{module}.resample_filter")
    if stored is None or stored.ndim not in (1, 2) or not stored.size:
        raise UserError(f"{network.source}: {network.full(module)} has no low-pass filter")
    if max(stored.shape) > MOST_TAPS:
        raise UserError(f"{network.source}: the low-pass filter of {network.full(module)} has {stored.shape} taps")
    taps = np.asarray(stored, np.float64)
    if taps.ndim == 2:
        taps = taps.sum(axis=0) if taps.shape[0] == taps.shape[1] else taps.ravel()
        if stored.ndim == 2 and not np.allclose(stored, np.outer(taps, taps) / taps.sum(), atol=1e-5):
            raise UserError(
                f"{network.source}: the low-pass filter of {network.full(module)} is not "
                "the same along rows and columns, which is not supported"
            )
    return known_taps(taps.tolist())


def known_taps(taps: Sequence[float]) -> tuple[float, ...]:
    """Returns taps along one axis, the usual ones as the package writes them; their sum is not zero."""
    if len(taps) == 4 and np.allclose(np.array(taps) / sum(taps), np.array(BINOMIAL) / 8, atol=1e-5):
        return BINOMIAL
    return tuple(taps)
