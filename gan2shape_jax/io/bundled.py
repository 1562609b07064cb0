"""Where files are: those that come with the package, in an installed wheel or a checkout, and the user's cache."""

import importlib
import json
import os
import pathlib
import sys
import types

from gan2shape_jax.errors import ConfigError, UserError

GAN, MODEL = "gan.checkpoint", "networks.pretrained"  # the fields of a configuration that name weights
RECORD = "record.json"  # of weights in the cache
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


def cached_weights(place: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the files that `gan2shape-jax get` put into a folder, by configuration field; {} if one is missing."""
    try:
        files = json.loads((place / RECORD).read_bytes())["files"]
        whole = all((place / name).stat().st_size == size for name, size in files.values())
        return {field: place / name for field, (name, _) in files.items()} if whole else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def named_weights() -> dict[str, dict[str, pathlib.Path]]:
    """Returns the files of every name that stands for weights, bundled or in the cache, by configuration field."""
    bundled = {path.parent.name: path.parent for path in sorted(pathlib.Path(asset("")).glob("*/model.safetensors"))}
    files = {name: {GAN: at / "gan.safetensors", MODEL: at / "model.safetensors"} for name, at in bundled.items()}
    return {at.name: cached_weights(at) for at in sorted(cache("weights").glob("*"))} | files


def names_of(field: str) -> list[str]:
    """Returns the names that stand for a GAN (`field` GAN) or a model (MODEL)."""
    return sorted(name for name, files in named_weights().items() if field in files)


def weights_file(given: str | os.PathLike[str], field: str) -> pathlib.Path:
    """Returns the file of a GAN (`field` GAN) or a model (MODEL), given its path or its name, see `named_weights`.

    A path with a folder or an ending is returned as it is, whether there is such a file or not.

    Raises:
      ConfigError: there is no such name.
    """
    path, name = pathlib.Path(given), os.fspath(given)
    if path.suffix or path.name != name or os.path.isfile(path):
        return path
    if file := named_weights().get(name, {}).get(field):
        return file
    what = "GAN" if field == GAN else "model"
    names = ", ".join(names_of(field))
    raise ConfigError(f"there is no {what} {name[:80]!r}: name a file (.safetensors), or one of {names}")


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
