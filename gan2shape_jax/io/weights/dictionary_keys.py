"""The keys allowed in a checkpoint's dictionaries and sets: names and plain values of modest size."""

from typing import Any

from gan2shape_jax.io.weights.budget import Refused

__all__ = ["check_key"]

_PLAIN = (str, int, float, bool, bytes, type(None))
_LONGEST = 1000  # characters or bytes; tensor names have at most a hundred


def check_key(key: Any) -> None:
    """Raises `Refused` for a key that no checkpoint's dictionary has.

    Hashing a deeply nested value crashes the process; many integers larger than a machine word share one hash, which
    makes lookups among them take forever; names that are long or contain control characters garble messages.
    """
    kind = type(key)
    if kind is str:
        if len(key) > _LONGEST or not key.isprintable():
            raise Refused("a dictionary key that is no name: too long, or with characters that cannot be printed")
    elif kind not in _PLAIN:
        raise Refused(f"a dictionary key of type {kind.__name__}")
    elif kind is int and key.bit_length() > 64 or kind is bytes and len(key) > _LONGEST:
        raise Refused("a dictionary key of unreasonable size")
