"""Pickles of NVIDIA's whose records lie: `cases()` yields names and files."""

import struct
from collections.abc import Iterator

from helpers.hostile.forms import Nvidia, legacy_file
from helpers.hostile.opcodes import build, call, get, glob, integer, named, put, text, tuple_of

__all__ = ["cases"]


def cases() -> Iterator[tuple[str, bytes]]:
    for make in (_nested, _arrays, _settings, _shared):
        for name, build_body in make():
            holder = Nvidia()
            yield name, holder.file(build_body(holder))


def _raw(content: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(content)) + content


def _record(class_name: str, *, modules=b"}", parameters=b"}", buffers=b"}", **settings: bytes) -> bytes:
    state = {"_modules": modules, "_parameters": parameters, "_buffers": buffers, **settings}
    return call(
        "torch_utils.persistence._reconstruct_persistent_obj",
        named({"type": text("class"), "class_name": text(class_name), "state": named(state)}),
    )


def _nested():
    """Files within files."""
    inner = legacy_file(b"N", {})
    for levels in (1, 3, 30):

        def body(holder, levels=levels):
            content = legacy_file(holder.tensor((4,)), {})
            for _ in range(levels):
                content = legacy_file(call("torch.storage._load_from_bytes", _raw(content)), {})
            return call("torch.storage._load_from_bytes", _raw(content))

        yield f"nested-{levels}", body
    million = bytes(10**6)
    storage = legacy_file(Nvidia().storage(million)[:0] + b"N", {})
    yield "nested-none", lambda holder: call("torch.storage._load_from_bytes", _raw(storage))
    yield (
        "nested-again",
        lambda holder: (
            text(inner.decode("latin1"))
            + put(0)
            + b"0"
            + b"]("
            + call("torch.storage._load_from_bytes", call("_codecs.encode", get(0), text("latin1"))) * 1000
            + b"e"
        ),
    )
    yield (
        "encode-again",
        lambda holder: (
            text("é" * 10**6) + put(0) + b"0" + b"](" + call("_codecs.encode", get(0), text("latin1")) * 3000 + b"e"
        ),
    )

    def many(holder):
        one = holder.storage(bytes(400))
        return b"](" + one * 10_000 + b"e"

    yield "nested-10000", many
    deeper = put(0) + b"0" + _record("Generator", a=get(0))
    yield "deep-modules", lambda holder: b"N" + deeper * 10_000
    settings = put(0) + b"0" + call("dnnlib.util.EasyDict") + text("a") + get(0) + b"s"
    yield "deep-settings", lambda holder: b"N" + settings * 40_000


def _arrays():
    """NumPy's arrays and types."""
    dtype = call("numpy.dtype", text("f8"), b"\x89", b"\x88")
    for shape in ((2**40,), (2**62, 2**62), (0, 2**62), (-1,)):
        state = tuple_of(integer(1), tuple_of(*map(integer, shape)), dtype, b"\x89", _raw(b"abc"))
        array = call("numpy.core.multiarray._reconstruct", glob("numpy.ndarray"), tuple_of(integer(0)), _raw(b"b"))
        array += build(state)
        yield f"array-{shape[0]}", lambda holder, value=array: named({"G_ema": value, "D": value})
        yield (
            f"buffer-{shape[0]}",
            lambda holder, shape=shape: named(
                {
                    "G_ema": call(
                        "numpy.core.numeric._frombuffer", _raw(b"abc"), dtype, tuple_of(*map(integer, shape)), text("C")
                    )
                }
            ),
        )
    item = b"N" + b"".join(put(n) + b"0" + get(n) + get(n) + b"\x86" for n in range(60))
    for name in ("numpy.dtype", "numpy.core.multiarray.scalar", "_codecs.encode", "builtins.set", "torch.Size"):
        yield f"laughs-{name}", lambda holder, name=name: call(name, item)
        yield f"laughs-{name}-listed", lambda holder, name=name: call(name, b"]" + item + b"a")
    for size in (-1, 0, 2**31 - 1):
        head = b"\x96" + struct.pack("<Q", size & (2**63 - 1))
        yield f"bytearray-{size}", lambda holder, head=head: head


def _pair(generator: dict[str, bytes], discriminator: dict[str, bytes], **parts: bytes) -> bytes:
    """A generator and a discriminator that are recognised, and are far from whole."""
    blocks = {"synthesis": _record("SynthesisNetwork", modules=named({"b4": _record("SynthesisBlock")}))}
    first = {"modules": named(blocks | parts), **generator}
    second = {"modules": named({"b4": _record("DiscriminatorEpilogue"), **parts}), **discriminator}
    return named({"G_ema": _record("Generator", **first), "D": _record("Discriminator", **second)})


def _settings():
    """Settings that are endless to print, huge, or of another kind."""
    item = b"N" + b"".join(put(n) + b"0" + b"]" + get(n) + b"a" + get(n) + b"a" for n in range(60))
    values = {
        "laughs": item,
        "self": b"]" + put(0) + get(0) + b"a",
        "huge": integer(10**9),
        "huger": integer(2**79 - 1),
        "negative": integer(-1),
        "nan": b"G" + struct.pack(">d", float("nan")),
        "text": text("x" * 10**5),
        "none": b"N",
        "dict": b"}" + put(0) + text("a") + get(0) + b"s",
    }
    names = ("img_resolution", "z_dim", "w_dim", "c_dim", "num_layers", "img_channels")
    for what, value in values.items():
        for name in names:
            settings = {**dict.fromkeys(names, integer(8)), name: value}
            mapping = _record("MappingNetwork", **settings)
            yield f"{name}-{what}", lambda holder, s=settings, m=mapping: _pair(s, s, mapping=m)
        block = _record("SynthesisBlock", architecture=value, conv_clamp=value, bias_gain=value)
        layers = named({"conv1": block, "conv0": block})
        half = _record("SynthesisBlock", modules=layers, architecture=value)
        first = {"synthesis": _record("SynthesisNetwork", modules=named({"b8": half, "b4": half}))}
        first |= {"mapping": _record("MappingNetwork", modules=named({"fc0": block}), num_layers=integer(1))}
        sizes = dict.fromkeys(names, integer(8))
        first_of = {**sizes, "modules": named(first)}
        yield f"block-{what}", lambda holder, f=first_of, s=sizes, h=half: _pair(f, s, b8=h)
        yield f"modules-{what}", lambda holder, v=value: _pair({"modules": v}, {"parameters": v, "buffers": v})


def _shared():
    """Modules within themselves, and many that have the same tensors."""

    def own(holder):
        inner = b"}" + put(0) + text("_modules") + b"}" + text("a")
        record = call(
            "torch_utils.persistence._reconstruct_persistent_obj",
            named({"type": text("class"), "class_name": text("Generator"), "state": inner + get(0) + b"ss"}),
        )
        return named({"G_ema": record, "D": record})

    yield "module-of-its-state", own
    for count in (100, 999):

        def many(holder, count=count):
            tensors = holder.tensor((2**20,), (0,)) + put(1) + b"0"
            tensors += named({str(n): get(1) for n in range(10)}) + put(2) + b"0"
            modules = named({f"b{n}": _record("SynthesisBlock", parameters=get(2)) for n in range(count)})
            return tensors + _pair({"modules": modules}, {"modules": modules})

        yield f"shared-tensors-{count}", many

    def filters(holder):
        tap = holder.tensor((1000, 1000), (0, 0)) + put(1) + b"0"
        block = _record("SynthesisBlock", buffers=named({"resample_filter": get(1)}), architecture=text("skip"))
        block_of = named({"b8": block, "b4": block})
        sizes = dict.fromkeys(("img_resolution", "z_dim", "w_dim", "c_dim"), integer(8))
        mapping = _record(
            "MappingNetwork", num_layers=integer(1), modules=named({"fc0": _record("x", bias_gain=integer(1))})
        )
        first = named({"synthesis": _record("SynthesisNetwork", modules=block_of), "mapping": mapping})
        return tap + _pair({**sizes, "modules": first}, sizes, b8=block)

    yield "filters", filters
    yield "classes", lambda holder: named({"G_ema": _record("x" * 10**5), "D": _record("\x1b[2J")})
