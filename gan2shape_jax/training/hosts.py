"""Communication between hosts that compute together; a single host skips it."""

from __future__ import annotations

import jax
import numpy as np
from jax.experimental import multihost_utils

__all__ = ["all_say", "wait_for_all"]


def all_say(word: bool) -> bool:
    """Returns whether `word` is true on every host; all hosts must call this."""
    if jax.process_count() == 1:
        return word
    return bool(np.all(multihost_utils.process_allgather(np.asarray(word, np.int32))))


def wait_for_all(name: str) -> None:
    """Returns once every host has reached this barrier; `name` identifies the barrier."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
