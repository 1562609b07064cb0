"""What hosts that compute together tell each other; on one host nothing is asked."""

from __future__ import annotations

import jax
import numpy as np
from jax.experimental import multihost_utils

__all__ = ["all_say", "wait_for_all"]


def all_say(word: bool) -> bool:
    """Returns whether every host says yes; all of them have to call this."""
    if jax.process_count() == 1:
        return word
    return bool(np.all(multihost_utils.process_allgather(np.asarray(word, np.int32))))


def wait_for_all(name: str) -> None:
    """Returns when every host has come here; `name` tells this place from others."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
