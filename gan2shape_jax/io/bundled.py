"""Where files are: those that come with the package, in an installed wheel or a checkout, and the user's cache."""

import difflib
import json
import os
import pathlib
import sys
from collections.abc import Iterable

from gan2shape_jax.errors import ConfigError

GAN, MODEL = "gan.checkpoint", "networks.pretrained"  # the fields of a configuration that name weights
RECORD = "record.json"  # of weights in the cache
DEFAULT = "people"  # the model where none is named
_BUNDLED = {GAN: "gan.safetensors", MODEL: "model.safetensors"}
# What people call what a model knows, where that is not nearly its name.
_CALLED = dict.fromkeys(("face", "faces", "person", "human", "portrait", "ffhq"), DEFAULT)
_IN_CHECKOUT = "people/head"  # of the assets: what setup.cfg and MANIFEST.in leave out (indexes take 100 MB)
_PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def asset(name: str) -> str:
    """Returns the absolute path of a file or folder that comes with the package; `name` is relative to `assets/`."""
    return str(_PACKAGE / "assets" / name)


def advice(path: str) -> str:
    """Returns what to do where a file or folder of `asset` is missing; '' for another path."""
    if path.startswith(asset(_IN_CHECKOUT)):
        return "comes with a checkout of the repository, not with an installed package"
    return "comes with the package: install it again" if path.startswith(asset("")) else ""


def configs() -> pathlib.Path:
    """Returns the folder of configuration files, which is inside an installed package and next to it in a checkout."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


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


def names_of(field: str) -> dict[str, pathlib.Path]:
    """Returns the names of GANs (`field` GAN) or models (MODEL), of the package and in the cache, with their files."""
    cached = {at.name: files[field] for at in cache("weights").glob("*") if field in (files := cached_weights(at))}
    bundled = {path.parent.name: path for path in pathlib.Path(asset("")).glob(f"*/{_BUNDLED[field]}")}
    if field == MODEL and (variant := pathlib.Path(asset(f"{_IN_CHECKOUT}/{_BUNDLED[field]}"))).is_file():
        bundled[_IN_CHECKOUT.replace("/", ":")] = variant
    return dict(sorted((cached | bundled).items()))


def weights_file(name_or_path: str | os.PathLike[str], field: str) -> pathlib.Path:
    """Returns the file of a GAN (`field` GAN) or a model (MODEL), given its path or its name, see `names_of`.

    A path with a folder or an ending is returned as it is. Raises `ConfigError` if there is no such name.
    """
    path, named = pathlib.Path(name_or_path), names_of(field)
    if path.suffix or path.name != os.fspath(name_or_path) or os.path.isfile(path):
        return path
    if path.name in named:
        return named[path.name]
    what, names, meant = "GAN" if field == GAN else "model", ", ".join(named), suggestion(named, path.name)
    raise ConfigError(f"there is no {what} {path.name[:80]!r}{meant}: name a file (.safetensors), or one of {names}")


def suggestion(named: Iterable[str], *words: str) -> str:
    """Returns ' (did you mean NAME?)' with the name of `named` that one of `words` is close to; '' if none is."""
    names = dict.fromkeys(named)
    for word in map(str.lower, words):
        close = [_CALLED[word]] if word in _CALLED else difflib.get_close_matches(word, names, n=1, cutoff=0.5)
        if close and close[0] in names:
            return f" (did you mean {close[0]}?)"
    return ""
