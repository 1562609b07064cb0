"""ONNX files that lie, or that would compute without end: `cases()` yields names and files, written byte by byte."""

import struct
from collections.abc import Iterator

__all__ = ["cases", "honest"]


def _varint(value: int) -> bytes:
    content = b""
    while value > 127:
        content, value = content + bytes([value & 127 | 128]), value >> 7
    return content + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _part(field: int, *content: bytes) -> bytes:
    whole = b"".join(content)
    return _varint(field << 3 | 2) + _varint(len(whole)) + whole


def _tensor(name: str, dims: tuple[int, ...], raw: bytes, *more: bytes, kind: int = 1) -> bytes:
    return (
        b"".join(_number(1, size) for size in dims)
        + _number(2, kind)
        + _part(8, name.encode())
        + _part(9, raw)
        + b"".join(more)
    )


def _whole(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}q", *numbers)


def _node(operation: str, inputs: tuple[str, ...], output: str, *more: bytes) -> bytes:
    return (
        b"".join(_part(1, name.encode()) for name in inputs)
        + _part(2, output.encode())
        + _part(4, operation.encode())
        + b"".join(more)
    )


def _value(name: str, shape: tuple[int | str, ...] = (), kind: int = 1) -> bytes:
    axes = b"".join(_part(1, _number(1, a) if isinstance(a, int) else _part(2, a.encode())) for a in shape)
    tensor = _number(1, kind) + (_part(2, axes) if shape else b"")
    return _part(1, name.encode()) + _part(2, _part(1, tensor))


_MEAN = (_node("ReduceMean", ("x", "axes"), "m", _part(5, _part(1, b"keepdims"), _number(3, 0), _number(20, 2))),)
_AXES = (_tensor("axes", (2,), _whole(2, 3), kind=7),)


def _model(
    nodes=_MEAN, tensors=_AXES, shape=("n", 3, 8, 8), output="m", kind=1, graph=b"", more=b"", inputs=1
) -> bytes:
    entries = [_part(11, _value(f"x{n}" if n else "x", shape, kind)) for n in range(inputs)]
    parts = [_part(1, n) for n in nodes] + [_part(5, t) for t in tensors] + entries + [_part(12, _value(output))]
    versions = _part(8, _part(1, b""), _number(2, 18)) + _part(8, _part(1, b"com.microsoft"), _number(2, 1))
    return _number(1, 9) + _part(7, *parts, _part(2, b"g"), graph) + versions + more


def honest() -> bytes:
    """A network that gives the mean colour of pictures of 8 pixels."""
    return _model()


def cases() -> Iterator[tuple[str, bytes]]:
    yield from _elsewhere()
    yield from _sizes()
    yield from _operations()
    yield from _computed()
    whole = honest()
    for step in range(len(whole) - 4, 0, -4):
        yield f"cut-{step}", whole[:step]
    for number in (2**31, 2**62, 2**63, 2**64 - 1):
        yield f"length-{number}", _varint(7 << 3 | 2) + _varint(number) + whole
    for wire in (1, 3, 4, 5, 6, 7):
        yield f"wire-{wire}", _varint(7 << 3 | wire) + b"\x01"
    yield "endless-number", b"\xff" * 10**5
    yield "fields", b"\x08\x01" * 200_000
    yield "operations", _model([_node("Relu", (f"m{n}" if n else "x",), f"m{n + 1}") for n in range(60_000)])
    yield "zeros", bytes(1000)
    yield "text", b"no network at all"
    yield "flatbuffer", _part(1, b"ORTM")[:2] + b"  ORTM" + bytes(200)
    yield "polyglot", _part(2, b"xxORTM" + bytes(100)) + whole[:-1]


def _elsewhere() -> Iterator[tuple[str, bytes]]:
    """Weights in other files."""
    for place in ("/etc/passwd", "../secret", "absent.bin", "/dev/zero", "\x00", "a" * 10**5, "*/_ORT_MEM_ADDR_/*"):
        location = _part(13, _part(1, b"location"), _part(2, place.encode()))
        for more in ((location, _number(14, 1)), (location,), (_number(14, 1),)):
            tensor = _number(1, 3) + _number(2, 1) + _part(8, b"w") + b"".join(more)
            name = f"{place[:20]!r}-{len(more)}-{len(more[0])}"
            yield f"elsewhere-{name}", _model(tensors=(*_AXES, tensor))
            node = _node("Constant", (), "w", _part(5, _part(1, b"value"), _part(5, tensor), _number(20, 4)))
            yield f"elsewhere-node-{name}", _model((node, *_MEAN))


def _sizes() -> Iterator[tuple[str, bytes]]:
    """Tensors, inputs and batches that are larger than what is there, or than pictures are."""
    for dims in (
        (2**31,),
        (2**62,),
        (2**63 - 1,),
        (2**16, 2**16),
        (2**40, 2**40),
        (1,) * 40,
        (2**64 - 1,),
    ):
        name = "x".join(map(str, dims))[:40]
        yield f"dims-{name}", _model(tensors=(*_AXES, _tensor("w", dims, b"abcd")))
        packed = _part(1, *map(_varint, dims)) + _number(2, 1) + _part(8, b"w") + _part(9, b"abcd")
        yield f"packed-{name}", _model(tensors=(*_AXES, packed))
        sparse = _part(1, _tensor("w", (1,), b"abcd")) + _part(2, _tensor("i", (1,), _whole(0), kind=7))
        yield f"sparse-{name}", _model(graph=_part(15, sparse + b"".join(_number(3, d) for d in dims)))
    for shape in (
        (2**30, 3, 8, 8),
        (2**62, 3, 8, 8),
        (1, 3, 2**20, 2**20),
        ("n", 3, 2**40, 2**40),
        (1, 2**30, 2**30, 3),
    ):
        yield f"input-{shape}", _model(shape=shape)
    for shape in ((), (3,), (1, 2, 8, 8), ("n", "c", "h", "w"), (1, 3, 8, 9), (1, 3, 8, 8, 1), (0, 3, 8, 8)):
        yield f"input-{shape}", _model(shape=shape)
    for kind in (0, 7, 8, 10, 16, 99):
        yield f"kind-{kind}", _model(kind=kind)
    for inputs in (0, 2, 1000):
        yield f"inputs-{inputs}", _model(inputs=inputs)


def _operations() -> Iterator[tuple[str, bytes]]:
    body = _part(1, *_MEAN[:1]) + _part(12, _value("m"))
    for operation in ("Loop", "Scan", "SequenceMap"):
        node = _node(operation, ("x",), "m", _part(5, _part(1, b"body"), _part(6, body), _number(20, 5)))
        yield f"operation-{operation}", _model((node,))
        inner = _part(5, _part(1, b"then_branch"), _part(6, _part(1, node)), _number(20, 5))
        yield f"operation-{operation}-in-a-branch", _model((_node("If", ("x",), "m", inner),))
    for domain in ("evil", "ai.onnx.contrib", "com.example", "x" * 10**4, "\x1b[2J"):
        yield f"domain-{domain[:16]!r}", _model((_node("Call", ("x",), "m", _part(7, domain.encode())),))
    for operation in ("", "Nothing", "x" * 10**5, "PyOp"):
        yield f"unknown-{operation[:8]}", _model((_node(operation, ("x",), "m"),))
    nested = _MEAN[0]
    for depth in (3, 100):
        branch = nested
        for _ in range(depth):
            branch = _node(
                "If", ("x",), "m", _part(5, _part(1, b"then_branch"), _part(6, _part(1, branch)), _number(20, 5))
            )
        yield f"branches-{depth}", _model((branch,))
    call = [_part(7, _node(f"F{n}", ("x",), "y", _part(7, b"local"))) for n in range(40)]
    functions = b"".join(
        _part(25, _part(1, f"F{n + 1}".encode()), _part(4, b"x"), _part(5, b"y"), call[n], call[n], _part(10, b"local"))
        for n in range(39)
    )
    yield "functions", _model((_node("F39", ("x",), "m", _part(7, b"local")),), more=functions)
    yield "functions-unused", _model(more=functions)
    yield "training", _model(more=_part(20, _part(1, b"")))


def _computed() -> Iterator[tuple[str, bytes]]:
    """Sizes that the graph gives itself."""
    add = _node("Add", ("m", "r"), "y")
    total = _node("ReduceSum", ("big",), "r", _part(5, _part(1, b"keepdims"), _number(3, 0), _number(20, 2)))
    one = _part(5, _part(1, b"value"), _part(5, _tensor("", (1,), struct.pack("<f", 1.0))), _number(20, 4))
    for size in (2**28, 2**32, 2**40, 2**62):
        for shape in ((size,), (size // 2**14, 2**14)):
            name = "x".join(map(str, shape))
            sized = _tensor("s", (len(shape),), _whole(*shape), kind=7)
            filled = _node("ConstantOfShape", ("s",), "big", one)
            yield f"filled-{name}", _model((*_MEAN, filled, total, add), (*_AXES, sized), output="y")
            single = _tensor("o", (1,), struct.pack("<f", 1.0))
            spread = _node("Expand", ("o", "s"), "big")
            yield f"spread-{name}", _model((*_MEAN, spread, total, add), (*_AXES, sized, single), output="y")
    ends = (
        _tensor("b", (), struct.pack("<f", 0)),
        _tensor("e", (), struct.pack("<f", 1e18)),
        _tensor("d", (), struct.pack("<f", 1)),
    )
    counted = _node("Range", ("b", "e", "d"), "big")
    yield "range", _model((*_MEAN, counted, total, add), (*_AXES, *ends), output="y")
    doubled = [
        _node("Concat", (f"c{n}", f"c{n}"), f"c{n + 1}", _part(5, _part(1, b"axis"), _number(3, 0), _number(20, 2)))
        for n in range(40)
    ]
    doubled[0] = _node("Identity", ("m",), "c1")
    yield "doubled", _model((*_MEAN, *doubled), output="c40")
