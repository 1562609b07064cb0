"""Which photos are meant and under which names their results are filed, and which model explains them."""

import glob
import hashlib
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.config import names as config_names
from gan2shape_jax.errors import ConfigError, UserError, one_line
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.image_lists import fault_of, filing_key
from gan2shape_jax.lift import model_file

__all__ = ["DEFAULT", "expand", "load_kind", "names_for"]

DEFAULT = "ictface"

# What folders and patterns are searched for; a file given by name is tried whatever its ending.
_ENDINGS = frozenset(".png .jpg .jpeg .jpe .webp .tif .tiff .gif .bmp .ppm .pgm .heic .heif .avif".split())
_MOST = 10_000  # photos per command: more must be an unintended folder
_LONGEST = 60  # characters of a made-up name


def expand(arguments: Sequence[str]) -> list[pathlib.Path]:
    """Returns the files that the arguments name, each once: files as given, folders and patterns sorted.

    A pattern that the shell has not expanded (`*`, `?`, `[...]`; `**` for nested folders) is expanded here, unless
    there is a file of exactly that name.

    Raises:
      UserError: there is no such file, a folder or pattern holds no picture, or there are far too many.
    """
    files: dict[str, pathlib.Path] = {}
    for argument in arguments:
        try:
            for path in _named_by(argument):
                files.setdefault(os.path.realpath(path), path)
        except (OSError, ValueError) as error:  # a name with a null byte, a folder without read permission
            raise UserError(f"the photo {argument!r} cannot be looked up: {error}") from error
    if len(files) > _MOST:
        raise UserError(f"{len(files)} photos are named: at most {_MOST} are taken by one command, name fewer")
    return list(files.values())


def _named_by(argument: str) -> list[pathlib.Path]:
    path = pathlib.Path(argument)
    if path.is_dir():
        return _pictures(path.iterdir(), f"the folder {argument}")
    if path.exists():
        return [path]
    if not glob.has_magic(argument):
        raise UserError(f"there is no photo {argument}: check the path")
    return _pictures(map(pathlib.Path, glob.iglob(argument, recursive=True)), f"the pattern {argument}")


def _pictures(paths: Iterable[pathlib.Path], where: str) -> list[pathlib.Path]:
    found = sorted(p for p in paths if p.suffix.lower() in _ENDINGS and not p.name.startswith(".") and p.is_file())
    if not found:
        raise UserError(f"{where} holds no picture file ({', '.join(sorted(_ENDINGS))})")
    return found


def names_for(paths: Sequence[pathlib.Path], taken: Mapping[str, str]) -> list[str]:
    """Returns a name for each photo: its file name without the ending if usable, else one made from it.

    `taken` are names in use, each with its photo's real path, which keeps it; others of the same name are numbered.
    """
    names = {real: name for name, real in taken.items()}
    keys = {filing_key(name) for name in taken}
    for path in paths:
        real = os.path.realpath(path)
        if real not in names:
            base = name = _name_of(path)
            number = 1
            while filing_key(name) in keys:
                number += 1
                name = f"{base}-{number}"
            names[real] = name
            keys.add(filing_key(name))
    return [names[os.path.realpath(path)] for path in paths]


def _name_of(path: pathlib.Path) -> str:
    stem = unicodedata.normalize("NFC", path.stem)
    if stem == one_line(stem) and not fault_of(f"{stem}.png"):
        return stem
    plain = re.sub(r"[^\w-]+", "-", stem, flags=re.ASCII).strip("-_")[:_LONGEST]
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:6]
    name = f"{plain or 'photo'}-{digest}"
    return name if not fault_of(f"{name}.png") else f"photo-{digest}"


def load_kind(model: str) -> ConfigDict:
    """Returns the configuration that goes with a model and names its file; raises `UserError` if there is none.

    `model` is a configuration's name or file, as `--config` takes it, or the file of a model (.safetensors), which goes
    with the bundled configuration of its category.
    """
    path = pathlib.Path(model)
    if path.suffix == ".safetensors":
        found = model_file.read_facts(path)
        if found is None:
            fault = "is no model of a lifted GAN" if path.is_file() else "does not exist"
            raise ConfigError(f"--model: {model} {fault}: gan2shape-jax lift makes one")
        category = found.category
        if category not in config_names():
            raise ConfigError(
                f"--model: {model} is of category {category[:80]!r}, for which there is no bundled configuration: name "
                "the configuration file that it was lifted with, whose networks.pretrained names the model"
            )
        config = load_config(category).unlock()
        config.networks.pretrained = str(path)
        return config.lock()
    config = load_config(model)
    given = config.networks.pretrained
    if not given or not pathlib.Path(given).is_file():
        lacks = f"names a model that is not there ({given})" if given else "names no model (networks.pretrained)"
        raise ConfigError(
            f"--model: the configuration {model} {lacks}, and photos are explained by one: lift its GAN (gan2shape-jax "
            f"lift --config={model}) and name the model.safetensors that comes out; models of "
            f"{', '.join(filter(_comes_along, config_names()))} come with the package"
        )
    return config


def _comes_along(name: str) -> bool:
    """Whether a bundled configuration's GAN and model come with the package."""
    config = load_config(name)
    files = (config.networks.pretrained, config.gan.checkpoint)
    return all(file.startswith(asset("")) and pathlib.Path(file).is_file() for file in files)
