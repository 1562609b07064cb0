"""Pickles of TensorFlow's networks that lie: `cases()` yields names and files."""

import struct
from collections.abc import Iterator

from helpers.hostile.opcodes import BEGIN, build, call, get, glob, integer, named, put, text, tuple_of

__all__ = ["cases"]


def cases() -> Iterator[tuple[str, bytes]]:
    for make in (_settings, _arrays, _names, _shared, _states, _calls):
        for name, body in make():
            yield name, BEGIN + body + b"."


def _raw(content: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(content)) + content


def _array(shape: tuple[int, ...], content: bytes | None = None, kind: str = "f4", order: bytes = b"\x89") -> bytes:
    """An array of zeros, or of other bytes than its shape needs."""
    length = int(kind[1:])
    for side in shape:
        length *= side
    dtype = call("numpy.dtype", text(kind), b"\x89", b"\x88")
    whole = _raw(bytes(length) if content is None else content)
    state = tuple_of(integer(1), tuple_of(*map(integer, shape)), dtype, order, whole)
    empty = call("numpy.core.multiarray._reconstruct", glob("numpy.ndarray"), tuple_of(integer(0)), _raw(b"b"))
    return empty + build(state)


def _network(builder: str, *, variables: bytes = b"]", settings: bytes = b"}", **state: bytes) -> bytes:
    entries = {
        "version": integer(4),
        "name": text("G"),
        "static_kwargs": settings,
        "components": b"}",
        "build_module_src": text("raise SystemExit"),
        "build_func_name": text(builder),
        "variables": variables,
    }
    return call("dnnlib.tflib.network.Network") + build(named(entries | state))


def _listed(variables: dict[str, bytes]) -> bytes:
    return b"](" + b"".join(tuple_of(text(name), value) for name, value in variables.items()) + b"e"


def _three(settings: bytes = b"}", judged: bytes | None = None, **parts: bytes) -> bytes:
    """A generator, a discriminator and a running mean that are recognised, and are far from whole."""
    components = {
        "synthesis": _network("G_synthesis_stylegan2", variables=parts.pop("synthesis", b"]")),
        "mapping": _network("G_mapping", variables=parts.pop("mapping", b"]")),
    }
    generator = _network("G_main", settings=settings, **({"components": named(components)} | parts))
    discriminator = _network("D_stylegan2", settings=settings if judged is None else judged, **parts)
    return tuple_of(generator, discriminator, generator)


_BOTH = ("resolution", "label_size", "architecture", "dtype", "conv_clamp", "resample_kernel")
_GENERATOR = (*_BOTH, "latent_size", "dlatent_size", "mapping_layers", "mapping_lrmul", "use_noise")
_DISCRIMINATOR = (*_BOTH, "mbstd_group_size", "mbstd_num_features")


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
        "network": _network("G_main"),
        "array": _array((2,)),
    }
    for what, value in values.items():
        side = {"resolution": integer(8)}
        for name in _GENERATOR:
            yield f"{name}-{what}", _three(named(side | {name: value}), named(side))
        for name in _DISCRIMINATOR:
            yield f"D-{name}-{what}", _three(named(side), named(side | {name: value}))
        yield f"settings-{what}", _three(value)
        yield f"components-{what}", _three(components=named({"synthesis": value, "mapping": value}))
        yield f"version-{what}", _three(version=value)
        yield f"builder-{what}", _three(build_func_name=value)
        yield f"variables-{what}", _three(variables=value)
    taps = b"](" + integer(1) * 100_000 + b"e"
    yield "resample_kernel-long", _three(named({"resample_kernel": taps}))
    many = b"}(" + b"".join(text(f"setting{n}") + b"N" for n in range(50_000)) + b"u"
    yield "settings-50000", _three(many)


def _arrays():
    """Arrays that claim more than they have."""
    for shape in ((2**30,), (2**40,), (2**62, 2**62), (0, 2**62), (2**62, 0), (-1,), (1,) * 40, (3, 3, 2**20, 2**20)):
        for kind in ("f4", "u1", "f8"):
            array = _array(shape, b"abc", kind) if 0 not in shape else _array(shape, b"", kind)
            name = f"{kind}-{'x'.join(map(str, shape))[:30]}"
            yield f"array-{name}", _three(synthesis=_listed({"4x4/Const/const": array}))
    yield "array-columns", _three(synthesis=_listed({"4x4/Const/const": _array((2, 3), None, order=b"\x88")}))
    for kind in ("O8", "V8", "S8", "U8", "M8", "c8"):
        yield f"kind-{kind}", _three(synthesis=_listed({"noise0": _array((1,), bytes(8), kind)}))
    state = tuple_of(integer(1), tuple_of(integer(1)), glob("os.system"), b"\x89", _raw(bytes(4)))
    empty = call("numpy.core.multiarray._reconstruct", glob("numpy.ndarray"), tuple_of(integer(0)), _raw(b"b"))
    yield "kind-function", _three(mapping=_listed({"Dense0/weight": empty + build(state)}))
    yield "without-state", _three(mapping=_listed({"Dense0/weight": empty}))
    for count in (8, 16384, 2**20):  # widths that the shapes claim, at no cost
        none = _array((3, 3, 0, count), b"")
        yield f"empty-{count}", _three(synthesis=_listed({f"{s}x{s}/Conv1/weight": none for s in (4, 8, 16)}))
        bias = _listed({f"{s}x{s}/Conv{'1' * (s > 4)}/bias": _array((count,), None, "u1") for s in (4, 8)})
        yield f"wide-{count}", _three(named({"resolution": integer(8)}), synthesis=bias, variables=bias)


def _names():
    """Names of variables."""
    one = _array((1,))
    yield "names-long", _three(variables=_listed({"x" * 10**6: one}))
    yield "names-control", _three(variables=_listed({"\x1b[2J": one}))
    yield "names-twice", _three(variables=b"](" + tuple_of(text("a"), one) * 2 + b"e")
    yield "names-of-lods", _three(variables=_listed({"lod": integer(3), **{f"ToRGB_lod{n}": one for n in range(999)}}))
    numbered = {f"mapping/Dense{n}/weight": one for n in range(3000)}
    yield "names-3000", _three(named({"mapping_layers": integer(3000)}), variables=_listed(numbered))
    yield "names-noise", _three(synthesis=_listed({f"noise{10**n}": one for n in range(200)}))


def _shared():
    """The same large array under many names, and networks within themselves."""
    large = _array((2**20,)) + put(0) + b"0"
    for count in (300, 3000, 50_000):
        named_often = b"](" + b"".join(tuple_of(text(f"v{n}"), get(0)) for n in range(count)) + b"e"
        yield f"shared-{count}", large + _three(variables=named_often)
    listed = b"](" + b"".join(tuple_of(text(f"v{n}"), get(0)) for n in range(100)) + b"e" + put(1) + b"0"
    often = b"](" + _network("G_main", variables=get(1)) * 300 + b"e"
    yield "shared-list", large + listed + often
    small = b"](" + b"".join(tuple_of(text(f"v{n}"), integer(0)) for n in range(20_000)) + b"e" + put(1) + b"0"
    yield "shared-list-of-numbers", small + b"](" + _network("G_main", variables=get(1)) * 2000 + b"e"
    own = b"}" + put(0) + b"0" + _network("G_main", components=get(0)) + put(1) + b"0"
    own += get(0) + text("synthesis") + get(1) + b"s" + text("mapping") + get(1) + b"s0"
    yield "component-of-itself", own + tuple_of(get(1), _network("D_stylegan2"), get(1))
    deeper = put(0) + b"0" + _network("G_main", components=named({"synthesis": get(0)}))
    yield "components-deep", b"N" + deeper * 8000
    yield "networks-5000", b"](" + _network("G_main") * 5000 + b"e"


def _states():
    """States that are none, or come twice."""
    empty = call("dnnlib.tflib.network.Network")
    for what, state in {"none": b"N", "list": b"]", "text": text("x"), "network": empty, "tuple": b")"}.items():
        yield f"state-{what}", tuple_of(empty + build(state), empty, empty)
    once = empty + build(named({"version": integer(4), "build_func_name": text("G_main")}))
    yield "state-twice", once + build(named({"version": integer(4)}))
    yield "state-never", tuple_of(empty, empty, empty)
    yield "arguments", tuple_of(call("dnnlib.tflib.network.Network", integer(1)), once, once)
    yield "alone", once
    yield "version-2", _three(version=integer(2))
    yield "two", tuple_of(_network("G_main"), _network("D_stylegan2"))
    yield "named-twice", named({"D": _network("D_stylegan2"), "G": _network("G_main")})
    yield "items", empty + text("a") + b"Ns"
    yield "appended", empty + b"Na"


def _calls():
    """What would run something, in the places where a network has its data."""
    for name in ("os.system", "builtins.exec", "dnnlib.tflib.network.import_handler", "tensorflow.Session"):
        bad = call(name, text("echo harm"))
        yield f"call-{name}-setting", _three(named({"resolution": bad}))
        yield f"call-{name}-variable", _three(variables=_listed({"lod": bad}))
        yield f"call-{name}-source", _three(build_module_src=bad)
        yield f"call-{name}-component", _three(components=named({"synthesis": bad}))
