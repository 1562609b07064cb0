"""Colour profiles (ICC, version 2) written by hand, and what sRGB's pictures are in their colours."""

import struct

import numpy as np

_WHITE = {"D65": (0.3127, 0.3290), "D50": (0.3457, 0.3585)}
_SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), "D65")
# Primaries, white and exponent.
SPACES = {
    "Display P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), "D65", 2.2),
    "Adobe RGB": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), "D65", 563 / 256),
    "ProPhoto": ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), "D50", 1.8),
    "linear": (*_SRGB, 1.0),
}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def _xyz(xy):
    return np.array([xy[0] / xy[1], 1, (1 - sum(xy)) / xy[1]])


def _to_d50(primaries):
    """Returns the matrix from linear RGB to XYZ, its white adapted to D50 after Bradford."""
    *corners, white = primaries
    columns = np.stack([_xyz(xy) for xy in corners], axis=1)
    columns = columns * np.linalg.solve(columns, _xyz(_WHITE[white]))
    cones = (_BRADFORD @ _xyz(_WHITE["D50"])) / (_BRADFORD @ _xyz(_WHITE[white]))
    return np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD @ columns


def in_space(picture: np.ndarray, name: str) -> np.ndarray:
    """Returns the 8-bit values that a picture of sRGB has in another space, clipped to its colours."""
    *primaries, exponent = SPACES[name]
    values = picture / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    moved = linear @ (np.linalg.inv(_to_d50(primaries)) @ _to_d50(_SRGB)).T
    return np.round(255 * np.clip(moved, 0, 1) ** (1 / exponent)).astype(np.uint8)


def _fixed(*values):
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _profile(space: bytes, connection: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78), **tags}
    tags[b"wtpt"] = b"XYZ " + bytes(4) + _fixed(*_xyz(_WHITE["D50"]))
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"none", 0x02400000, kind, space, connection) + bytes(12)
    head += b"acsp" + bytes(28) + _fixed(*_xyz(_WHITE["D50"]))
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def _curve(exponent):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256))


def rgb(name: str) -> bytes:
    """Returns the profile of one of `SPACES`."""
    *primaries, exponent = SPACES[name]
    columns = _to_d50(primaries).T
    tags = {
        letter + b"XYZ": b"XYZ " + bytes(4) + _fixed(*column) for letter, column in zip((b"r", b"g", b"b"), columns)
    }
    tags |= {letter + b"TRC": _curve(exponent) for letter in (b"r", b"g", b"b")}
    return _profile(b"RGB ", b"XYZ ", b"mntr", tags)


def grey(exponent: float) -> bytes:
    """Returns the profile of greys that are a power of light."""
    return _profile(b"GRAY", b"XYZ ", b"mntr", {b"kTRC": _curve(exponent)})


def ink() -> bytes:
    """Returns a profile of CMYK with a table of two values a channel: black where K is full, else a grey of 1 - C."""
    ramp = bytes((0, 255))
    corners = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    lightness = np.where(corners[:, 3] == 1, 0, 255 * (1 - corners[:, 0]))
    lab = np.stack([lightness, *[np.full(16, 128)] * 2], axis=-1).astype(np.uint8)
    matrix = _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    levels = b"".join(bytes(range(256)) for _ in range(4)), b"".join(bytes(range(256)) for _ in range(3))
    table = b"mft1" + bytes(4) + bytes((4, 3, len(ramp), 0)) + matrix + levels[0] + lab.tobytes() + levels[1]
    return _profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": table})
