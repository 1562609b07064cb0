"""Mutations of safetensors headers and of the messages in ONNX files, whose lengths are corrected afterwards."""

import json
import random
import struct
from typing import Any

from helpers.hostile.mutated import NUMBERS

__all__ = ["change_header", "change_messages"]

_VALUES = (*NUMBERS, -1, 0.5, 1e300, float("nan"), None, True, "", "x", [], {}, [0], [[]], "F64", "I64", "[" * 2000)
_NAMES = ("a", "dtype", "shape", "data_offsets", "__metadata__", "format", "architecture", "networks", "depth/a")


def change_header(content: bytes, chance: random.Random) -> bytes:
    """Changes a value, name or entry in the header of a safetensors file, or in the JSON within it."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        changed = _changed(header, chance)
        text = json.dumps(changed).encode()
    except Exception:
        return content
    if chance.random() < 0.1:
        text = text[:-1] + b"," + text[1:]  # everything twice
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _changed(value: Any, chance: random.Random, depth: int = 8) -> Any:
    if isinstance(value, str) and value.startswith("{") and chance.random() < 0.7:
        return json.dumps(_changed(json.loads(value), chance, depth - 1))
    if isinstance(value, dict) and value and depth and chance.random() < 0.9:
        key = chance.choice([*value, *(name for name in value if name == "__metadata__" for _ in range(20))])
        match chance.randrange(8):
            case 0:
                return {name: entry for name, entry in value.items() if name != key}
            case 1:
                return {**value, chance.choice(_NAMES): value[key]}
            case _:
                return {**value, key: _changed(value[key], chance, depth - 1)}
    if isinstance(value, list) and value and depth and chance.random() < 0.7:
        at = chance.randrange(len(value))
        match chance.randrange(4):
            case 0:
                return value[:at]
            case 1:
                return value * chance.choice((2, 100))
            case _:
                return [*value[:at], _changed(value[at], chance, depth - 1), *value[at + 1 :]]
    return chance.choice(_VALUES)


def change_messages(content: bytes, chance: random.Random) -> bytes:
    """Changes a field of a protocol buffer, in the message itself or in a nested one."""
    fields = _fields(content)
    if not fields:
        return content
    at = chance.randrange(len(fields))
    number, wire, payload = fields[at]
    if wire == 2 and _fields(payload) and chance.random() < 0.8:
        fields[at] = (number, wire, change_messages(payload, chance))
    else:
        match chance.randrange(6):
            case 0:
                del fields[at]
            case 1:
                fields.insert(at, fields[chance.randrange(len(fields))])
            case 2:
                fields[at] = (chance.randrange(1, 27), wire, payload)
            case 3:
                fields[at] = (number, 0, _varint(chance.choice(NUMBERS)))
            case 4:
                fields[at] = (number, 2, payload * chance.choice((0, 2, 40)))
            case _:
                fields[at] = (number, 2, bytes(chance.randrange(256) for _ in range(chance.randrange(12))))
    return b"".join(_varint(number << 3 | wire) + _body(wire, payload) for number, wire, payload in fields)


def _body(wire: int, payload: bytes) -> bytes:
    return _varint(len(payload)) + payload if wire == 2 else payload


def _varint(value: int) -> bytes:
    content = b""
    while value > 127:
        content, value = content + bytes([value & 127 | 128]), value >> 7
    return content + bytes([value])


def _fields(content: bytes) -> list[tuple[int, int, bytes]]:
    """The fields of a message: number, wire type, and bytes; none if it is not a message."""
    fields, at = [], 0
    while at < len(content):
        key, at = _read(content, at)
        wire = key & 7
        if wire == 2:
            length, at = _read(content, at)
        else:
            length = {0: _read(content, at)[1] - at, 1: 8, 5: 4}.get(wire, len(content))
        if not key >> 3 or at + length > len(content):
            return []
        fields.append((key >> 3, wire, content[at : at + length]))
        at += length
    return fields


def _read(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(content[at : at + 10]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, at + index + 1
    return 0, len(content) + 1
