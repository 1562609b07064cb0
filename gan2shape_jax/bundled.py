"""Files that come with the package."""

import pathlib

__all__ = ["asset"]

_ASSETS = pathlib.Path(__file__).resolve().parent / "assets"


def asset(name: str) -> str:
    """Returns the absolute path of a file or folder that comes with the package; `name` is relative to `assets/`."""
    return str(_ASSETS / name)
