"""Where files are: those that come with the package, in an installed wheel or a checkout, and the user's cache."""

import importlib
import os
import pathlib
import sys
import types

from gan2shape_jax.errors import UserError

_PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def asset(name: str) -> str:
    """Returns the absolute path of a file or folder that comes with the package; `name` is relative to `assets/`."""
    return str(_PACKAGE / "assets" / name)


def folder(name: str) -> pathlib.Path:
    """Returns `configs/` or `tools/`, which is inside an installed package and next to it in a checkout."""
    inside = _PACKAGE / name
    return inside if (inside / "__init__.py").is_file() else _PACKAGE.parent / name


def cache(name: str) -> pathlib.Path:
    """Returns the place of a folder in the user's cache folder, such as ~/.cache/gan2shape_jax/NAME."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or pathlib.Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = pathlib.Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "gan2shape_jax" / name


def import_tool(name: str) -> types.ModuleType:
    """Imports a module of `tools/` such as `sample_gan.__main__`, from a wheel or a checkout, in any working directory.

    Raises:
        UserError: this installation has no tools.
    """
    path, places = folder("tools"), sys.modules["gan2shape_jax"].__path__
    if not (path / "__init__.py").is_file():
        raise UserError(f"{path} is missing: install the package again")
    if str(path.parent) not in places:
        places.append(str(path.parent))  # in a checkout, the folder lies outside the package
    return importlib.import_module(f"gan2shape_jax.tools.{name}")
