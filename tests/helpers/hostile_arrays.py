"""Arrays in files whose headers say whatever is asked."""

import io
import struct
import zipfile

import numpy as np

__all__ = ["announced", "npy", "npz"]


def _header(text: str | bytes, *, version=(1, 0), length: int | None = None) -> bytes:
    """Returns the beginning of a `.npy` file with any text in it."""
    raw = text.encode("latin-1") if isinstance(text, str) else text
    form = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + bytes(version) + struct.pack(form, len(raw) if length is None else length) + raw


def npy(array, **options) -> bytes:
    """Returns an array as NumPy writes it."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), **options)
    return stream.getvalue()


def npz(members: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> bytes:
    """Returns an archive as NumPy writes it, of members by name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def announced(shape: str, descr: str = "'<f4'", order: str = "False") -> bytes:
    """Returns the header of an array, of which nothing has to be true."""
    return _header(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n")
