"""What happens to files: every kind of damage that a start of the program has to take."""

import pathlib
import random
from collections.abc import Callable

__all__ = ["HARMS", "JSON_OF_ANOTHER_FORM", "do", "flip"]

# Texts that are no record of any kind; some are not even JSON.
JSON_OF_ANOTHER_FORM = ("", "{", "null", "[]", "{}", "3", '"a"', "[[1]]", '{"format": null}', "[" * 100_000, "\0\xff")


def flip(content: bytes, place: int | None = None) -> bytes:
    """Returns the bytes with one bit flipped, by default in the middle."""
    place = len(content) // 2 if place is None else place
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


HARMS: dict[str, Callable[[bytes], bytes | None]] = {
    "truncate": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "delete": lambda content: None,
    "garble": lambda content: random.Random(0).randbytes(len(content)),
    "flip": flip,
}


def do(path: pathlib.Path, kind: str) -> None:
    """Does harm of a kind to a file."""
    content = HARMS[kind](path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
