"""Which photos are meant, and the names that everything made of them is filed under."""

import collections
import glob
import hashlib
import itertools
import os
import pathlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io.image_files import ENDINGS, pictures_in
from gan2shape_jax.io.image_lists import fault_of, filing_key, natural_key
from gan2shape_jax.io.weights import listed

_LONGEST = 60  # characters of a made-up name
NUMBER = re.compile(r"-[0-9]+$")  # which tells a photo's objects apart


def expand(arguments: Sequence[str], *, say: Callable[[str], None]) -> list[pathlib.Path]:
    """Returns the files that the arguments name, each once: files as given, folders and patterns in natural order.

    A pattern that the shell has not expanded (`*`, `?`, `[...]`; `**` for nested folders) is expanded here, unless
    there is a file of exactly that name. `say` is told what else a folder or pattern holds. Raises `UserError`: there
    is no such file, or a folder or pattern holds no picture.
    """
    files: dict[str, pathlib.Path] = {}
    for argument in arguments:
        path = pathlib.Path(argument)
        named, others = [path], list[str]()
        if os.path.isdir(path):
            named, others = pictures_in(path, below=False)
        elif not os.path.exists(path) and glob.has_magic(argument):
            every = [pathlib.Path(path) for path in glob.glob(argument, recursive=True) if os.path.isfile(path)]
            named = [path for path in every if path.suffix.lower() in ENDINGS]
            others = sorted(str(path) for path in every if path not in named)
        elif not os.path.exists(path):
            raise UserError(f"there is no photo {argument}: check the path")
        if others:
            say(f"{argument}: {len(others)} that are not pictures were skipped: {listed(others, 10)}")
        if not named:
            raise UserError(f"{argument} holds no picture file ({', '.join(ENDINGS)})")
        for candidate in sorted(named, key=natural_key):
            files.setdefault(place_of(candidate), candidate)
    return list(files.values())


def place_of(path: str | os.PathLike[str]) -> str:
    """Returns by what a photo is known: its absolute path, with links among its folders followed, but not its own.

    Where a file is a link, as in folders of DVC and of hubs, the name that its user sees is the link's.
    """
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


def names_for(paths: Sequence[pathlib.Path], taken: Mapping[str, str]) -> list[str]:
    """Returns a name for each photo: its file name without the ending if usable, else one made from it.

    `taken` are names in use, each with its photo's place, see `place_of`, which keeps it. Others of the same name get
    their folders in front of it, or, if they are in the same folder, their endings behind it, or else a number. So do
    photos whose name another one's objects might have: those of `a` are filed under `a-1`, `a-2`, ...
    """
    names, places = {place: name for name, place in taken.items()}, [place_of(path) for path in paths]
    homes = {filing_key(name): os.path.dirname(place) for place, name in names.items()}
    beside = collections.Counter(filing_key(os.path.splitext(place)[0]) for place in {*places, *names})
    numbered = {NUMBER.sub("", key) for key in homes if NUMBER.search(key)}

    def is_free(name: str) -> bool:
        key = filing_key(name)
        return key not in homes and key not in numbered and NUMBER.sub("", key) not in homes

    for path, place in zip(paths, places, strict=True):
        if place not in names:
            base, home = _name_of(path.stem), os.path.dirname(place)
            parts = [path.stem, *(folder.name for folder in pathlib.Path(os.path.abspath(path)).parents if folder.name)]
            if beside[filing_key(os.path.splitext(place)[0])] > 1:
                parts = [f"{path.stem}_{path.suffix[1:]}"]
            elif homes.get(filing_key(base)) == home:
                parts = [path.stem]
            inside = map(_name_of, itertools.accumulate(parts, lambda stem, folder: f"{folder}-{stem}"))
            counted = (f"{base}_{number}" for number in itertools.count(2))
            names[place] = next(name for name in itertools.chain(inside, counted) if is_free(name))
            key = filing_key(names[place])
            homes[key] = home
            numbered |= {NUMBER.sub("", key)} if NUMBER.search(key) else set()
    return [names[place] for place in places]


def _name_of(stem: str) -> str:
    stem = unicodedata.normalize("NFC", stem)
    if stem == one_line(stem) and not fault_of(f"{stem}.png"):
        return stem
    plain = re.sub(r"[^\w-]+", "-", stem, flags=re.ASCII).strip("-_")[:_LONGEST]
    return f"{plain or 'photo'}-{hashlib.sha256(os.fsencode(stem)).hexdigest()[:6]}"
