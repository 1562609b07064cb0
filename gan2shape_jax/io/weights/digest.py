"""The SHA-256 of a weight file, which files derived from it use to identify their source."""

import hashlib
import io
import os
from typing import cast

from gan2shape_jax.io.regular_files import open_regular

__all__ = ["sha256"]


def sha256(path: str | os.PathLike[str]) -> str:
    """Returns a regular file's SHA-256 in hexadecimal; raises the same errors as `open_regular`."""
    with open_regular(path) as file:
        return hashlib.file_digest(cast(io.BufferedReader, file), "sha256").hexdigest()
