"""Safetensors whose headers lie: `cases()` yields names and files, for GANs, networks, parsers and LPIPS alike."""

import json
import struct
from collections.abc import Iterator
from typing import Any

__all__ = ["cases", "written"]

_ARCHITECTURE = {
    "size": 16,
    "style_dim": 6,
    "mapping_layers": 2,
    "channels": [5, 4, 3],
    "discriminator_channels": [4, 5, 3],
}
_PARSER = {"family": "bisenet", "classes": 19, "width": 4, "blocks": [2, 2, 2, 2]}


def written(header: bytes, content: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + content


def _file(entries: dict[str, Any], content: bytes = b"", **metadata: Any) -> bytes:
    return written(json.dumps({"__metadata__": metadata, **entries}).encode(), content)


def _entry(shape, begin: int, end: int, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def cases() -> Iterator[tuple[str, bytes]]:
    yield from _lengths()
    yield from _json()
    yield from _places()
    yield from _kinds()
    for kind in ("gan", "parser", "networks"):
        for name, text in _architectures(kind):
            yield f"{kind}-{name}", _described(kind, text)
    for count in (1000, 12_000):
        names = {f"{'n' * 20}{n}": _entry([0], 0, 0) for n in range(count)}
        yield f"names-{count}", _file(names, format="gan2shape-jax/stylegan2/1", architecture=json.dumps(_ARCHITECTURE))
        yield f"names-plain-{count}", _file(names)


def _described(kind: str, text: str) -> bytes:
    formats = {
        "gan": "gan2shape-jax/stylegan2/1",
        "parser": "gan2shape-jax/parser/1",
        "networks": "gan2shape_jax networks",
    }
    listed = {"networks": text, "fits": text} if kind == "networks" else {}
    return _file({"x": _entry([1], 0, 4)}, bytes(4), format=formats[kind], architecture=text, **listed)


def _lengths() -> Iterator[tuple[str, bytes]]:
    body = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    for length in (0, 1, len(body) - 1, len(body) + 1, 2**20, 10**8, 2**31, 2**40, 2**62, 2**63, 2**64 - 1):
        yield f"length-{length}", written(body, bytes(4), length)
    for count in range(9):
        yield f"short-{count}", written(body, bytes(4))[:count]
    yield "spaces", written(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + b" " * 2 * 10**6, bytes(4))


def _json() -> Iterator[tuple[str, bytes]]:
    for depth in (500, 100_000):
        for begin, end in ((b"[", b"]"), (b'{"a":', b"}")):
            yield f"deep-{depth}-{len(end + begin)}", written(begin * depth + b"1" + end * depth)
            yield f"deep-in-{depth}-{len(begin)}", written(b'{"a":' + begin * depth + b"1" + end * depth + b"}")
    entry = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    for name, header in {
        "twice": b'{"a":%s,"a":%s}' % (entry, entry),
        "twice-in": b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        "metadata-twice": b'{"__metadata__":{"a":"b","a":"c"},"a":%s}' % entry,
        "nan": b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}',
        "infinity": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,Infinity]}}',
        "float": b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}',
        "true": b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}',
        "digits": b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}' % (b"9" * 10**5),
        "list": b"[1]",
        "number": b"1",
        "text": b'"a"',
        "nothing": b"",
        "latin": b'{"\xe9":1}',
        "surrogate": b'{"\\ud800":%s}' % entry,
        "control": b'{"\\u001b[2J":%s}' % entry,
        "metadata-list": b'{"__metadata__":[1]}',
        "metadata-number": b'{"__metadata__":{"a":1}}',
        "metadata-nested": b'{"__metadata__":{"a":{"b":"c"}}}',
        "many": b"{" + b",".join(b'"%d":0' % n for n in range(80_000)) + b"}",
        "metadata-many": b'{"__metadata__":{' + b",".join(b'"%d":""' % n for n in range(80_000)) + b"}}",
    }.items():
        yield name, written(header, bytes(4))


def _places() -> Iterator[tuple[str, bytes]]:
    for name, entries, size in (
        ("overlap", {"a": _entry([2], 0, 8), "b": _entry([2], 4, 12)}, 12),
        ("same", {"a": _entry([2], 0, 8), "b": _entry([2], 0, 8)}, 8),
        ("gap", {"a": _entry([1], 0, 4), "b": _entry([1], 8, 12)}, 12),
        ("late", {"a": _entry([1], 4, 8)}, 8),
        ("beyond", {"a": _entry([4], 0, 16)}, 8),
        ("less", {"a": _entry([1], 0, 4)}, 8),
        ("backwards", {"a": _entry([1], 4, 0)}, 4),
        ("negative", {"a": _entry([1], -4, 0)}, 4),
        ("misfit", {"a": _entry([3], 0, 4)}, 4),
        ("far", {"a": _entry([2**30], 2**62, 2**62 + 2**32)}, 4),
        ("three", {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2, 4]}}, 4),
        ("keys", {"a": {"dtype": "F32", "shape": [1]}}, 4),
        ("more-keys", {"a": {**_entry([1], 0, 4), "x": 1}}, 4),
        ("null", {"a": None}, 4),
        ("axes", {"a": _entry([1] * 100, 0, 4)}, 4),
    ):
        yield f"place-{name}", _file(entries, bytes(size))
    for side in (2**31, 2**40, 2**62, 2**63, 2**64, 10**30):
        yield f"side-{side}", _file({"a": _entry([side], 0, side * 4)}, bytes(4))
        yield f"empty-{side}", _file({"a": _entry([0, side], 0, 0)})
        yield f"square-{side}", _file({"a": _entry([side, side], 0, 4)}, bytes(4))
        yield f"shape-{side}", _file({"a": _entry(side, 0, 4)}, bytes(4))


def _kinds() -> Iterator[tuple[str, bytes]]:
    sizes = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "BF16": 2, "I32": 4, "I64": 8, "U64": 8}
    for kind, size in {**sizes, "C64": 8, "f32": 4, "F4": 1, "O": 8}.items():
        yield f"kind-{kind}", _file({"a": _entry([4], 0, 4 * size, kind)}, bytes(4 * size))
    for other in (None, 1, [], {}, "F32" * 10**4):
        yield f"kind-{str(other)[:10]}", _file({"a": _entry([1], 0, 4, other)}, bytes(4))


def _architectures(kind: str) -> Iterator[tuple[str, str]]:
    fields = _ARCHITECTURE if kind == "gan" else _PARSER
    texts = {"deep": "[" * 10**5, "deep-dict": '{"a":' * 10**5, "cut": "{", "list": "[]", "null": "null", "empty": "{}"}
    yield from {**texts, "long": "x" * 10**5, "names": "depth " * 10**4}.items()
    if kind == "networks":
        return
    for field in fields:
        for value in (
            10**9,
            2**30,
            2**62,
            10**30,
            -1,
            0,
            0.5,
            "x",
            None,
            True,
            [],
            {},
            [10**9] * 3,
            [1] * 10**5,
            float("nan"),
        ):
            yield f"{field}-{str(value)[:12]}", json.dumps({**fields, field: value})
    extra = {
        "taps": [float("nan")] * 4,
        "conv_clamp": float("inf"),
        "mapping_scale": 10**400,
        "unknown": 1,
        "stored_mean": [],
    }
    for field, value in extra.items():
        yield f"{field}-{str(value)[:12]}", json.dumps({**fields, field: value})
