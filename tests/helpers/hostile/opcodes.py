"""Pickles written instruction by instruction: what no pickler would write."""

import struct

__all__ = [
    "BEGIN",
    "build",
    "call",
    "get",
    "glob",
    "integer",
    "named",
    "ordered",
    "pairs",
    "put",
    "text",
    "tuple_of",
]

BEGIN = b"\x80\x02"


def glob(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def integer(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def tuple_of(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def call(name: str, *parts: bytes) -> bytes:
    return glob(name) + tuple_of(*parts) + b"R"


def pairs(**entries: bytes) -> bytes:
    return b"(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def named(entries: dict[str, bytes]) -> bytes:
    """A dictionary."""
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def ordered() -> bytes:
    return call("collections.OrderedDict")


def build(state: bytes) -> bytes:
    return state + b"b"


def put(index: int) -> bytes:
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)
