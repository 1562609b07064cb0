"""What a pickle can ask for, in each of the forms: `cases(form)` yields names and files, none of which is a network."""

import struct
from collections.abc import Iterator

from helpers.hostile.forms import Form, Nvidia, Zip, view
from helpers.hostile.opcodes import build, call, get, glob, integer, named, ordered, put, text

__all__ = ["cases"]

_MANY = 800_000  # instructions
_PRIME = 2**61 - 1  # every multiple of it has the hash 0


def cases(form: type[Form]) -> Iterator[tuple[str, bytes]]:
    for make in (_doubled, _shared, _selves, _lengths, _numbers, _deep, _floods, _again, _tensors, _storages, _keys):
        for name, build_body in make(form):
            holder = form()
            yield name, holder.file(build_body(holder))


def _doubled(form):
    """Text that is doubled by each call."""
    for levels in (25, 36, 500):
        for copies in (2, 3):
            step = put(0) + b"0" + call("torch.device", *[get(0)] * copies)
            yield f"device-{levels}-{copies}", lambda holder, step=step, levels=levels: text("x" * 16) + step * levels


_HOLDERS = {
    "list": lambda item: b"]" + item + b"a" + item + b"a",
    "tuple": lambda item: item + item + b"\x86",
    "dict": lambda item: named({"a": item, "b": item}),
    "ordered": lambda item: ordered() + b"(" + text("a") + item + text("b") + item + b"u",
    "record": lambda item: call("argparse.Namespace") + build(named({"a": item, "b": item})),
}


def _shared(form):
    """Containers that hold another twice, many levels deep: small in memory, endless to whoever unfolds them."""
    for kind, hold in _HOLDERS.items():
        for levels in (40, 3000):
            for place in ("args", "state_dict", "g_ema"):

                def body(holder, hold=hold, levels=levels, place=place):
                    item = b"N" + b"".join(put(n) + b"0" + hold(get(n)) for n in range(levels))
                    return b"}" + text(place) + item + b"s"

                yield f"shared-{kind}-{levels}-{place}", body


_FAMILIES = {
    "rosinality": ("g_ema", "d"),
    "networks": ("netD", "netA", "netV", "netL", "netEnc"),
    "bisenet": ("cp.resnet.conv1.weight", "conv_out.conv_out.weight"),
    "pspnet": ("layer0.0.weight", "cls.4.weight", "ppm.a"),
    "lpips": ("lin0.model.1.weight", "net.slice1.0.weight"),
    "statistics": ("mean", "cov"),
    "nvidia": ("G_ema", "D"),
}


def _selves(form):
    """Containers that hold themselves, alone and where a family has its tensors; other things there too."""
    begin = {"list": b"]" + put(0) + get(0) + b"a", "dict": b"}" + put(0) + text("a") + get(0) + b"s"}
    begin["ordered"] = ordered() + put(0) + text("a") + get(0) + b"s"
    begin["record"] = call("argparse.Namespace") + put(0) + build(named({"a": get(0), "fields": get(0)}))
    begin["tuple"] = b"]" + put(0) + get(0) + b"\x85a"
    for kind, value in begin.items():
        yield f"self-{kind}", lambda holder, value=value: value
    others = {"none": b"N", "number": b"K\x01", "text": text("x"), "function": glob("torch.device"), "bytes": b"C\x00"}
    for family, names in _FAMILIES.items():
        for kind, value in {**begin, **others}.items():
            inner = lambda holder, names=names, value=value: named(dict.fromkeys(names, value))  # noqa: E731
            yield f"{family}-of-{kind}", inner
        listed = lambda holder, names=names: b"]" + put(0) + get(0) + b"a" + named(_tensors_of(holder, names)) + b"a"  # noqa: E731
        yield f"{family}-in-a-list-of-itself", listed


def _tensors_of(holder, names):
    return {name: holder.tensor((2, 2)) for name in names}


def _lengths(form):
    """Lengths beyond what is there."""
    for opcode, width in {"X": 4, "B": 4, "T": 4, "\x8d": 8, "\x8e": 8, "\x96": 8, "\x8b": 4, "\x95": 8}.items():
        for claimed in (2**31 - 1, 2_500_000_000, 2**40, 2**62, 2**64 - 1):
            if claimed < 2 ** (8 * width):
                head = opcode.encode("latin1") + claimed.to_bytes(width, "little")
                yield f"length-{ord(opcode):02x}-{claimed}", lambda holder, head=head: head + b"abc"


def _numbers(form):
    yield "long4", lambda holder: b"\x8b" + struct.pack("<i", 10**6) + b"\x7f" * 10**6
    yield "long-decimal", lambda holder: b"L" + b"9" * 10**6 + b"L\n"
    yield "int-decimal", lambda holder: b"I" + b"9" * 10**6 + b"\n"
    yield "int-400", lambda holder: b"I" + b"9" * 400 + b"\n"
    yield "long1", lambda holder: b"\x8a\xff" + b"\x7f" * 255
    yield "float-decimal", lambda holder: b"F" + b"9" * 10**6 + b"\n"
    yield "memo", lambda holder: b"".join(b"N" + put(2**32 - 1 - n) + b"0" for n in range(1000))


def _deep(form):
    for kind, level in {"tuple": b"\x85", "list": None, "dict": None}.items():
        if level:
            yield f"deep-{kind}", lambda holder, level=level: b"N" + level * 200_000
        begin, end = {"list": (b"]", b"a"), "dict": (b"}K\x01", b"s"), "tuple": (b"(", b"t")}[kind]
        yield f"deep-{kind}-2", lambda holder, b=begin, e=end: b * 100_000 + b"N" + e * 100_000
    records = put(0) + b"0" + call("argparse.Namespace") + build(named({"a": get(0)}))
    yield "deep-record", lambda holder: b"N" + records * 40_000
    dictionaries = put(0) + b"0" + ordered() + text("a") + get(0) + b"s"
    yield "deep-ordered", lambda holder: b"N" + dictionaries * 40_000


def _floods(form):
    """More instructions than any checkpoint has."""
    kinds = {"none": b"N", "dict": b"}", "mark": b"("}
    if form is Zip:
        kinds |= {"list": b"]", "tuple": b")", "pop": b"N0", "twice": b"N2", "nested": b"]2a", "number": b"K\x01"}
    if form is Nvidia:
        kinds |= {"set": b"\x8f", "bytes": b"C\x00"}
    for name, opcode in kinds.items():
        yield f"flood-{name}", lambda holder, opcode=opcode: opcode * (_MANY // len(opcode) * 1)
    yield "flood-memo", lambda holder: b"N" + b"".join(put(n) for n in range(_MANY // 10))


def _again(form):
    """The same large thing handed over again and again, at a few bytes each."""
    members = b"(" + b"".join(integer(n) for n in range(20_000)) + b"t" + put(0) + b"0"
    yield "again-size", lambda holder: members + (glob("torch.Size") + get(0) + b"\x85R0") * 2000 + b"N"
    lists = b"](" + b"".join(text(str(n)) + b"N\x86" for n in range(20_000)) + b"e" + put(0) + b"0"
    yield "again-ordered", lambda holder: lists + (glob("collections.OrderedDict") + get(0) + b"\x85R0") * 2000 + b"N"
    entries = b"}(" + b"".join(integer(n) + b"N" for n in range(20_000)) + b"u" + put(0) + b"0"
    yield "again-build", lambda holder: entries + call("argparse.Namespace") + build(get(0)) * 5000
    yield "again-device", lambda holder: members + (glob("torch.device") + get(0) + b"R0") * 2000 + b"N"
    long = text("x" * 10**6) + put(0) + b"0"
    yield (
        "again-key",
        lambda holder: (
            long + b"}" + put(1) + b"".join(b"0" + b"}" + put(n + 2) + get(0) + get(n + 1) + b"s" for n in range(2000))
        ),
    )


def _tensors(form):
    million = 2**20
    for kind in ("Float", "Byte", "BFloat16", "Double"):

        def expanded(holder, kind=kind):
            return named({str(n): holder.tensor((million,), (0,), kind=kind) for n in range(300)})

        yield f"expanded-300-{kind}", expanded

    def one_storage(holder, size=(million,), stride=(0,), count=3000):
        storage = holder.storage(bytes(32)) + put(0) + b"0"
        return storage + named({str(n): view(get(0), size, stride) for n in range(count)})

    yield "expanded-3000", one_storage
    yield "expanded-twice", lambda holder: one_storage(holder, (2**10, 2**10), (0, 0))
    if form is Zip:
        yield "overlapping-30000", lambda holder: one_storage(holder, (2, 2, 2, 1), (1, 1, 1, 1), 30_000)
    whole = lambda holder: holder.tensor((million,))  # noqa: E731
    yield "names-of-one", lambda holder: whole(holder) + put(0) + b"0" + named({str(n): get(0) for n in range(3000)})
    yield (
        "names-in-ordered",
        lambda holder: (
            whole(holder)
            + put(0)
            + b"0"
            + glob("collections.OrderedDict")
            + (b"](" + b"".join(text(str(n)) + get(0) + b"\x86" for n in range(3000)) + b"e\x85R")
        ),
    )
    for size, stride in {
        (2**31,): (0,),
        (2**62, 4): (0, 0),
        (2**20, 2**20): (0, 0),
        (0, 2**62): (1, 1),
        (2**70,): (0,),
        (1,) * 40: (1,) * 40,
        (5,): (1,),
        (2, 2): (2**40, 1),
    }.items():
        name = f"tensor-{'x'.join(map(str, size))[:30]}"
        yield name, lambda holder, size=size, stride=stride: holder.tensor(size, stride)


def _storages(form):
    """Storages that claim more values than they have; no length of the older format is above 2 ** 62."""
    for kind in ("Float", "Byte", "Long"):
        for count in (5, 2**31, 2**40, 2**62):
            yield (
                f"storage-{kind}-{count}",
                lambda holder, kind=kind, count=count: holder.tensor((4,), kind=kind, count=count),
            )


def _keys(form):
    for size in (2000, 10**6):
        yield f"key-{size}", lambda holder, size=size: named({"x" * size: b"N"})
    yield "key-control", lambda holder: named({"\x1b[2J\x07": b"N"})
    yield "key-surrogate", lambda holder: named({"\ud800": b"N"})
    yield "key-tuple", lambda holder: b"}" + b")" + b"\x85" * 100_000 + b"Ns"
    yield "key-long", lambda holder: b"}" + integer(2**70) + b"Ns"
    if form is Zip:
        yield (
            "key-hashes",
            lambda holder: (
                b"}("
                + b"".join(b"\x8a\x0a" + (n * _PRIME).to_bytes(10, "little") + b"N" for n in range(1, 60_000))
                + b"u"
            ),
        )
        yield (
            "key-hashes-ordered",
            lambda holder: (
                glob("collections.OrderedDict")
                + b"]("
                + b"".join(b"\x8a\x0a" + (n * _PRIME).to_bytes(10, "little") + b"N\x86" for n in range(1, 60_000))
                + b"e\x85R"
            ),
        )
