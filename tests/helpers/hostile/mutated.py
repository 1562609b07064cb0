"""Honest files with a few bytes changed, cut, or put twice: readers may take them or refuse them, in words."""

import pathlib
import random
from collections.abc import Iterator

__all__ = ["NUMBERS", "change_bytes", "mutated"]

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)


def mutated(folder: pathlib.Path, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yields so many changed copies of the files of a folder, by names that begin with `mutated`."""
    chance = random.Random(seed)
    honest = [path.read_bytes() for path in sorted(folder.glob("honest-*"))]
    for number in range(count):
        content = bytearray(chance.choice(honest))
        for _ in range(chance.choice((1, 1, 2, 8))):
            change_bytes(content, chance)
        yield f"mutated-{number}", bytes(content)


def change_bytes(content: bytearray, chance: random.Random) -> None:
    """Changes a few bytes in place; some are left."""
    at, length = chance.randrange(len(content)), chance.choice((1, 2, 4, 8, 64))
    match chance.randrange(6):
        case 0:
            content[at] ^= 1 << chance.randrange(8)
        case 1:
            content[at] = chance.randrange(256)
        case 2:
            width = min(chance.choice((1, 2, 4, 8)), len(content) - at)
            content[at : at + width] = chance.choice(NUMBERS).to_bytes(8, "little")[:width]
        case 3:
            del content[at : at + length]
        case 4:
            content[at:at] = content[at : at + length]
        case _:
            if chance.random() < 0.2:
                del content[at:]
    if not content:
        content += b"\0"
