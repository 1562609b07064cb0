"""Honest pictures of noise as Pillow saves them, and files with a few bytes changed."""

import functools
import io
import random
from collections.abc import Iterator

import numpy as np
from PIL import Image

__all__ = ["mutated", "saved"]


@functools.cache
def saved(kind: str, mode: str = "RGB", side: int = 64, frames: int = 1, **options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (frames, side, side, 4), np.uint8)
    pictures = [Image.fromarray(pixels).convert(mode) for pixels in noise]
    stream = io.BytesIO()
    several = {"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}
    pictures[0].save(stream, kind, **several, **options)
    return stream.getvalue()


def mutated(kind: str, whole: bytes, rounds: int, end: int = 600, start: int = 2) -> Iterator[tuple[str, bytes]]:
    draw = random.Random(kind)
    for index in range(rounds):
        raw = bytearray(whole)
        for _ in range(draw.choice((1, 1, 4, 16))):
            raw[draw.randrange(start, min(len(raw), end))] = draw.randrange(256)
        yield f"{kind} mutated {index}", bytes(raw)
