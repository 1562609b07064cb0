"""Files of NumPy's that somebody made to do harm, by a description of each; small on disk, all of them."""

import io
import struct
import zipfile

import numpy as np


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


def announced(shape: str, descr: str = "'<f4'") -> bytes:
    """Returns the header of an array, of which nothing has to be true."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def npy_files() -> dict[str, bytes]:
    """Returns files that are no latents or depths."""
    whole = npy(np.zeros((1, 512), np.float32))
    files = {f"shape {shape[:20]}": announced(shape) + bytes(2048) for shape in (
        f"({2**63},)", f"({2**62}, {2**62})", "(10000000000,)", "(-512,)", "(0,)", "(512.0,)", "(None,)", "'512'",
        "(" * 90 + "512" + ")" * 90, "(1,) * 10**9", "(2**63,)", "__import__('os').system('touch RAN')",
    )}  # fmt: skip
    files |= {f"type {descr[:20]}": announced("(512,)", descr) + bytes(4096) for descr in (
        "'|O'", "'<U1000000000'", "'|V4'", "'<c8'", "'<M8[s]'", "[('a', '<f4', (10**9,))]", "('<f4', (1000000000,))",
        "'f4,f4'", "None",
    )}  # fmt: skip
    files |= {
        "objects": npy(np.full(512, None), allow_pickle=True),
        "a pickle": b"\x80\x04cposix\nsystem\n\x8c\x09touch RAN\x85R.",
        "an archive": npz({"latent.npy": whole}),
        "nothing": b"",
        "zeros": bytes(4096),
        "text": b"0.0 " * 512,
        "cut": whole[:-1],
        "its header": whole[:60],
        "another format": whole[:6] + b"\x09\x00" + whole[8:],
    }
    return files


def npz_files() -> dict[str, bytes]:
    """Returns files that are no statistics."""
    mean, cov = npy(np.zeros(6)), npy(np.eye(6))
    good = {"mean.npy": mean, "cov.npy": cov}
    return {
        **{f"mean of {name}": npz(good | {"mean.npy": content}) for name, content in npy_files().items()},
        "a bomb": npz(good | {"mean.npy": announced("(100000000,)") + bytes(10**8)}),
        "no mean": npz({"cov.npy": cov}),
        "encrypted": npz(good).replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"),
        "LZMA, cut": npz(good, zipfile.ZIP_LZMA)[:-60],
        "an array": mean,
        "nothing": b"",
        "half": npz(good)[:300],
        "of 2 MiB": npz(good | {"beside": bytes(2 * 2**20)}, zipfile.ZIP_STORED),
    }
