"""The three ways in which a pickle and the bytes of its tensors lie in a file: zip, the older format, NVIDIA's."""

import io
import math
import struct
import zipfile

from helpers.hostile.opcodes import BEGIN, call, glob, integer, named, text, tuple_of

__all__ = ["FORMS", "Form", "Legacy", "Nvidia", "Zip", "legacy_file", "view"]

_MAGIC = 0x1950A86A20F9469CFC6C
_ITEM = {"Float": 4, "Byte": 1, "BFloat16": 2, "Double": 8, "Half": 2, "Long": 8, "Bool": 1}


def _pid(kind: str, key: str, count: int) -> bytes:
    return tuple_of(text("storage"), glob(f"torch.{kind}Storage"), text(key), text("cpu"), integer(count)) + b"Q"


def view(storage: bytes, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """The pickle of a tensor of a storage, which is a pickle too."""
    return call(
        "torch._utils._rebuild_tensor_v2",
        storage,
        integer(0),
        tuple_of(*map(integer, size)),
        tuple_of(*map(integer, stride)),
        b"\x89",
        call("collections.OrderedDict"),
    )


def _contiguous(size: tuple[int, ...]) -> tuple[int, ...]:
    stride, step = [], 1
    for side in size[::-1]:
        stride.append(step)
        step *= side
    return tuple(stride[::-1])


class Form:
    """Collects the storages of one file; a tensor without a stride is a plain one of its own storage."""

    name = ""

    def __init__(self) -> None:
        self.storages: dict[str, tuple[str, int, bytes]] = {}

    def storage(self, content: bytes, kind: str = "Float", count: int | None = None) -> bytes:
        """The pickle of a storage; `count` is what it claims."""
        key = str(len(self.storages))
        count = len(content) // _ITEM[kind] if count is None else count
        self.storages[key] = kind, count, content
        return _pid(kind, key, count)

    def tensor(
        self, size: tuple[int, ...], stride: tuple[int, ...] | None = None, *, kind="Float", count=None
    ) -> bytes:
        """The pickle of a tensor of its own storage, of zeros; with a stride the storage has four values."""
        length = math.prod(size) if stride is None else 4
        return view(self.storage(bytes(_ITEM[kind] * length), kind, count), size, stride or _contiguous(size))

    def file(self, body: bytes) -> bytes:
        """A file whose pickle is `body`, which has neither beginning nor end."""
        raise NotImplementedError


class Zip(Form):
    name = "torch_zip"

    def file(self, body: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", BEGIN + body + b".")
            for key, (_, _, content) in self.storages.items():
                archive.writestr(f"archive/data/{key}", content)
        return buffer.getvalue()


def legacy_file(body: bytes, storages: dict[str, tuple[str, int, bytes]]) -> bytes:
    """A file of the older format; storages are their kinds, the counts that they claim, and their bytes."""
    keys = b"]" + b"".join(text(key) + b"a" for key in storages)
    pickles = (integer(_MAGIC), integer(1001), named({"little_endian": b"\x88"}), body, keys)
    tail = b"".join(struct.pack("<q", count) + content for _, count, content in storages.values())
    return b"".join(BEGIN + each + b"." for each in pickles) + tail


class Legacy(Form):
    name = "torch_legacy"

    def file(self, body: bytes) -> bytes:
        return legacy_file(body, self.storages)


class Nvidia(Form):
    """Storages lie inside the pickle, as bytes of the older format."""

    name = "nvidia"

    def storage(self, content: bytes, kind: str = "Float", count: int | None = None) -> bytes:
        count = len(content) // _ITEM[kind] if count is None else count
        inner = legacy_file(_pid(kind, "7", count), {"7": (kind, count, content)})
        return call("torch.storage._load_from_bytes", b"B" + struct.pack("<I", len(inner)) + inner)

    def file(self, body: bytes) -> bytes:
        return BEGIN + body + b"."


FORMS: tuple[type[Form], ...] = (Zip, Legacy, Nvidia)
