"""Mutations of pickles, by their instructions, and of the archives that hold them."""

import io
import pickletools
import random
import warnings
import zipfile
from collections.abc import Callable

from helpers.hostile.mutated import NUMBERS, change_bytes
from helpers.hostile.opcodes import call, get, glob, integer, named, put, text, tuple_of

__all__ = ["change_archive", "change_pickles"]

_NAMES = (
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.Size",
    "torch.device",
    "torch.FloatStorage",
    "torch.BFloat16Storage",
    "argparse.Namespace",
    "torch.storage._load_from_bytes",
    "torch_utils.persistence._reconstruct_persistent_obj",
    "dnnlib.util.EasyDict",
    "dnnlib.tflib.network.Network",
    "builtins.set",
    "_codecs.encode",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.numeric._frombuffer",
    "os.system",
)
_OPCODES = [bytes([info.code.encode("latin1")[0]]) for info in pickletools.opcodes]
_WORDS = ("g_ema", "d", "G_ema", "D", "state_dict", "mean", "cov", "_modules", "_parameters", "latin1", "f8", "storage")


def _fragment(chance: random.Random) -> bytes:
    """A few instructions."""
    number = integer(chance.choice([n for n in NUMBERS if n < 2**63]) * chance.choice((1, 1, -1)))
    slot = chance.randrange(40)
    return chance.choice(
        (
            lambda: chance.choice(_OPCODES),
            lambda: number,
            lambda: text(chance.choice(_WORDS)),
            lambda: glob(chance.choice(_NAMES)),
            lambda: call(chance.choice(_NAMES), *[number, get(slot), text("x")][: chance.randrange(4)]),
            lambda: get(slot),
            lambda: put(slot),
            lambda: get(slot) + get(slot) + b"\x86" + put(slot),
            lambda: tuple_of(number, get(slot)),
            lambda: named({chance.choice(_WORDS): get(slot)}),
            lambda: get(slot) * chance.choice((2, 50)),
            lambda: b"R",
            lambda: b"b",
            lambda: b"Q",
        )
    )()


def _boundaries(content: bytes, start: int = 0) -> list[int]:
    """Where instructions begin, as far as that can be determined."""
    places = []
    stream = io.BytesIO(content)
    stream.seek(start)
    try:
        for _, _, place in pickletools.genops(stream):
            places.append(place)
    except Exception:
        pass
    return places


def change_pickles(content: bytes, chance: random.Random) -> bytes:
    """Changes the instructions of a file that begins with consecutive pickles."""
    places = _boundaries(content)
    for _ in range(chance.choice((0, 3, 4, 5))):  # the older format has five of them
        end = places[-1] + 1 if places else 0
        if content[end : end + 1] != b"\x80":
            break
        places = _boundaries(content, end)
    if len(places) < 2:
        return content + _fragment(chance)
    changed = bytearray(content)
    first, second = sorted(chance.choices(places, k=2))
    last = min(second, first + 200)
    match chance.randrange(5):
        case 0:
            changed[first:first] = _fragment(chance)
        case 1:
            del changed[first:last]
        case 2:
            changed[second:second] = content[first:last]
        case 3:
            changed[first : places[min(places.index(first) + 1, len(places) - 1)]] = _fragment(chance)
        case _:
            changed[first:first] = content[first:last] * chance.choice((2, 30))
    return bytes(changed)


def change_archive(content: bytes, chance: random.Random) -> bytes:
    """Changes an entry of a zip archive, or its list of entries; anything but an archive stays as it is."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:
        return content
    if not entries:
        return content
    at = next((n for n, (name, _) in enumerate(entries) if name.endswith("data.pkl")), 0)
    if chance.random() < 0.3:
        at = chance.randrange(len(entries))
    name, inner = entries[at]
    changes: tuple[Callable[[], bytes], ...] = (lambda: change_pickles(inner, chance), lambda: _bytes(inner, chance))
    match chance.randrange(8):
        case 0:
            entries.append((name, inner))
        case 1:
            entries[at] = (chance.choice(("archive/byteorder", "x/data.pkl", "../x", name + "0")), inner)
        case 2:
            del entries[at]
        case _:
            entries[at] = (name, changes[chance.random() < 0.3]())
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", chance.choice((0, 0, 0, 0, 8))) as archive:
        warnings.simplefilter("ignore")  # about entries with the same name
        for entry in entries:
            archive.writestr(*entry)
    return buffer.getvalue()


def _bytes(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    change_bytes(changed, chance)
    return bytes(changed)
