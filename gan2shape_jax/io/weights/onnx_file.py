"""Checks an ONNX file before it is passed to onnxruntime.

An ONNX file is a protocol buffer: a graph of known operations and its weights. Anything is refused that a network from
images to vectors does not need and that would let a small file use a lot of memory or read other files: weights in
other files, sizes not backed by numbers in the file, sparse weights, functions (which can call one another twice, many
levels deep), loops, and operations from other domains. What the remaining operations compute is not checked.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gan2shape_jax.io.weights.messages import Refused, short

__all__ = ["check_onnx"]

_DEPTH = 12  # maximum nesting of messages; a branch (`If`) within a branch has nine levels
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")
_LOOPS = ("Loop", "Scan", "SequenceMap")
_AXES = 32
_VARINT, _BYTES = 0, 2  # how a field is encoded: a number, or a length and that many bytes
_FIXED = {1: 8, 5: 4}  # ... or a fixed number of bytes

# The fields that are messages to be checked, by kind of message and field number (onnx.proto).
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
}
_OPERATION, _DOMAIN = 4, 7  # fields of a node
_DIMS, _ELSEWHERE, _LOCATION = 1, 13, 14  # fields of a tensor
_GRAPH = 7  # field of a model


class _Field(NamedTuple):
    number: int
    wire: int
    value: int
    content: memoryview


def check_onnx(content: bytes) -> None:
    """Checks a file; raises `Refused` if it is not an ONNX network or contains something no such network needs."""
    found = _check("model", memoryview(content), _DEPTH)
    if _GRAPH not in found:
        raise Refused("no graph")


def _check(kind: str, message: memoryview, depth: int) -> set[int]:
    """Checks a message and the messages in it; returns the numbers of its fields."""
    if not depth:
        raise Refused("messages within messages, nested too deeply")
    if kind in ("function", "training", "sparse"):
        raise Refused({"function": "functions", "training": "training", "sparse": "sparse weights"}[kind])
    fields = list(_fields(message))
    if kind == "tensor":
        _check_tensor(fields, len(message))
    if kind == "node":
        _check_node(fields)
    for field in fields:
        if within := _MESSAGES.get(kind, {}).get(field.number):
            if field.wire != _BYTES:
                raise Refused("a field of another kind than ONNX has")
            _check(within, field.content, depth - 1)
    return {field.number for field in fields}


def _check_node(fields: list[_Field]) -> None:
    for field in fields:
        name = bytes(field.content[:100]).decode(errors="replace")
        if field.number == _OPERATION and name in _LOOPS:
            raise Refused(f"the operation {name}, which repeats others")
        if field.number == _DOMAIN and name not in _DOMAINS:
            raise Refused(f"an operation of {short(name)}, which is not part of ONNX")


def _check_tensor(fields: list[_Field], length: int) -> None:
    count, axes = 1, 0
    for field in fields:
        if field.number == _ELSEWHERE or field.number == _LOCATION and field.value:
            raise Refused(
                "weights in other files; save it as one file (onnx.save_model with save_as_external_data=False)"
            )
        if field.number == _DIMS:
            for size in [field.value] if field.wire == _VARINT else _varints(field.content):
                count, axes = count * size, axes + 1
                if axes > _AXES or count > 2 * length:  # the smallest number types have four bits
                    raise Refused("weights that are not there: a tensor's sizes go beyond its numbers")


def _fields(message: memoryview) -> Iterator[_Field]:
    """Yields the fields of a message; raises `Refused` if they are not valid protocol buffer fields."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, wire, value = key >> 3, key & 7, 0
        if wire == _VARINT:
            value, at = _varint(message, at)
            length = 0
        elif wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise Refused("what is no ONNX network")
        if not number or at + length > end:
            raise Refused("what is no ONNX network, or only the beginning of one")
        yield _Field(number, wire, value, message[at : at + length])
        at += length


def _varints(content: memoryview) -> Iterator[int]:
    at = 0
    while at < len(content):
        value, at = _varint(content, at)
        yield value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Returns a number encoded with 7 bits per byte, lowest first, and the offset of its end."""
    if at < len(message) and (first := message[at]) < 128:  # the usual case
        return first, at + 1
    value = 0
    for index, byte in enumerate(message[at : at + 10]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, at + index + 1
    raise Refused("what is no ONNX network, or only the beginning of one")
