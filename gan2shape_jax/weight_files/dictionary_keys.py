"""What the dictionaries and sets of a checkpoint may be keyed by: names and plain values of a modest size."""

from typing import Any

from gan2shape_jax.weight_files.budget import Refused

__all__ = ["check_key"]

_PLAIN = (str, int, float, bool, bytes, type(None))
_LONGEST = 1000  # characters or bytes; a tensor's name has a hundred at most


def check_key(key: Any) -> None:
    """Raises `Refused` for what no dictionary of a checkpoint is keyed by.

    Hashing what is nested deeply ends the process; many whole numbers beyond a machine word have one hash, and finding
    one among them takes for ever; long names, or ones of control characters, spoil every message they are in.
    """
    kind = type(key)
    if kind is str:
        if len(key) > _LONGEST or not key.isprintable():
            raise Refused("a dictionary key that is no name: too long, or with characters that cannot be printed")
    elif kind not in _PLAIN:
        raise Refused(f"a dictionary key of type {kind.__name__}")
    elif kind is int and key.bit_length() > 64 or kind is bytes and len(key) > _LONGEST:
        raise Refused("a dictionary key of unreasonable size")
