"""Decodes HEIC and AVIF pictures in a separate process, with bounded memory and time.

What such a picture takes depends on the video stream inside the file, not on a header that could be checked beforehand;
so it is decoded by a process with limited resources, which passes the pixels back.

    python -m gan2shape_jax.io.isolated_decoder KIND < FILE > PIXELS

PIXELS is a line of JSON with `mode`, `width`, `height` and `reduction`, or `error`, followed by the rows.
"""

import contextlib
import io
import json
import pathlib
import subprocess
import sys
from typing import Any, BinaryIO

from PIL import Image, ImageOps

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.regular_files import MIB, open_regular

__all__ = ["KINDS", "decode_isolated"]

_FORMATS = {"AVIF": "AVIF", "HEIC": "HEIF"}  # Pillow's names
KINDS = tuple(_FORMATS)
_LARGEST_FILE = 64 * MIB
_LARGEST = 8192  # pixels per side
_REDUCED = 4096  # pixels of the longer side that are passed back, at most
_MOST_MEMORY = 2048 * MIB  # address space of the process
_MOST_SECONDS = 60
_LONGEST_LINE = 4096
_ADVICE = "save it as JPEG or PNG"
_INSTALL = "install what reads it with: pip install 'gan2shape-jax[heic]', or save it as JPEG or PNG"


def decode_isolated(path: pathlib.Path, kind: str) -> tuple[Image.Image, int]:
    """Returns an upright picture, RGB or RGBA, of at most 4096 pixels per side, and its reduction factor.

    Args:
      path: the file.
      kind: one of `KINDS`.

    Returns:
      The picture, and the file's pixels per returned pixel along a side, rounded up.

    Raises:
      UserError: the file is damaged, animated or too large, or the reader for its format is not installed.
    """
    command = [sys.executable, "-m", "gan2shape_jax.io.isolated_decoder", kind]
    with open_regular(path) as file:
        if file.seek(0, io.SEEK_END) > _LARGEST_FILE:
            raise UserError(f"image {path} has more than {_LARGEST_FILE / MIB:g} MiB: make it smaller first")
        file.seek(0)
        try:
            done = subprocess.run(
                command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_MOST_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise UserError(
                f"image {path} takes more than {_MOST_SECONDS} s to decode: save it as JPEG or PNG"
            ) from None
    line, _, pixels = done.stdout.partition(b"\n")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        told: dict[str, Any] = json.loads(line[:_LONGEST_LINE])
        if "error" in told:
            raise UserError(f"image {path}: {told['error']}")
        return Image.frombytes(told["mode"], (told["width"], told["height"]), pixels), told["reduction"]
    raise UserError(
        f"image {path} cannot be decoded within {_MOST_MEMORY / MIB:g} MiB, or is damaged: save it as JPEG or PNG"
    )


def _main(kind: str, file: BinaryIO, out: BinaryIO) -> None:
    _limit()
    try:
        picture, reduction = _decoded(kind, file)
    except Exception as error:  # decoders can raise anything; the parent gets one line
        out.write(json.dumps({"error": _fault(kind, error)}).encode() + b"\n")
        return
    told = {"mode": picture.mode, "width": picture.width, "height": picture.height, "reduction": reduction}
    out.write(json.dumps(told).encode() + b"\n" + picture.tobytes())


def _limit() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # there is no such limit on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (_MOST_SECONDS, _MOST_SECONDS))


def _decoded(kind: str, file: BinaryIO) -> tuple[Image.Image, int]:
    if kind == "HEIC":
        import pillow_heif

        pillow_heif.register_heif_opener()
    with Image.open(file, formats=[_FORMATS[kind]]) as picture:
        if max(picture.size) > _LARGEST:
            raise ValueError(f"it is {picture.width} x {picture.height} pixels: at most {_LARGEST} a side are read")
        if kind == "AVIF" and getattr(picture, "n_frames", 1) > 1:
            raise ValueError("it is animated: save the picture that is meant")
        upright = ImageOps.exif_transpose(picture)
        converted = upright.convert("RGBA" if upright.mode in ("RGBA", "LA", "PA") else "RGB")
    reduction = -(-max(converted.size) // _REDUCED)
    return (converted.reduce(reduction) if reduction > 1 else converted), reduction


def _fault(kind: str, error: Exception) -> str:
    if isinstance(error, ImportError | KeyError):
        return f"it is {kind}; {_INSTALL}"
    return " ".join(f"it is damaged, or refused: {error}".split())[:500]


if __name__ == "__main__":
    _main(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)
