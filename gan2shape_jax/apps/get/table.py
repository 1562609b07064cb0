"""The published checkpoints by name: what `assets/published.toml` says of them, and where that was found."""

import dataclasses
import pathlib
import tomllib
from typing import Any

from gan2shape_jax.io.bundled import asset


@dataclasses.dataclass(frozen=True)
class Licence:
    """The terms that come with a checkpoint: the makers' title, a summary for users, and the address of all of them."""

    title: str
    says: str
    url: str


@dataclasses.dataclass(frozen=True)
class Source:
    """A file published by others."""

    url: str
    file: str  # its name here
    found: str  # where address, size and hash were found, as letters of `FOUND`
    sha256: str = ""  # in hexadecimal, if a source gives it
    size: int | None = None  # bytes, if a source gives it
    by_hand: str = ""  # why no program can fetch it


@dataclasses.dataclass(frozen=True)
class Given:
    """A file that an entry provides for a configuration field."""

    field: str  # such as `gan.checkpoint`
    made_of: tuple[str, ...]  # names of sources, or members of the archive
    file: str  # its name; a `.safetensors` is converted, anything else is the single file that it is made of


@dataclasses.dataclass(frozen=True)
class Entry:
    """A checkpoint that can be obtained by its name."""

    name: str
    title: str
    licence: Licence  # that has to be agreed to
    gives: tuple[Given, ...]
    sources: tuple[Source, ...]  # what is downloaded
    config: str = ""  # the bundled configuration that it serves
    also: tuple[str, ...] = ()  # other entries that this configuration needs
    archived: bool = False  # whether the sources are the parts of `ARCHIVE`, a gzipped tar archive for several entries


def _entry(name: str, licence: str, gives: list[dict[str, Any]], sources: list[str], **others: Any) -> Entry:
    given = tuple(Given(one["field"], tuple(one["made_of"]), one["file"]) for one in gives)
    others["also"] = tuple(others.get("also", ()))
    return Entry(
        name, licence=_LICENCES[licence], gives=given, sources=tuple(SOURCES[one] for one in sources), **others
    )


_PUBLISHED: dict[str, Any] = tomllib.loads(pathlib.Path(asset("published.toml")).read_text(encoding="utf-8"))
FOUND: dict[str, str] = _PUBLISHED["found"]
_LICENCES = {key: Licence(**one) for key, one in _PUBLISHED["licences"].items()}
SOURCES = {file: Source(file=file, **one) for file, one in _PUBLISHED["sources"].items()}
ENTRIES = {name: _entry(name, **one) for name, one in _PUBLISHED["entries"].items()}
ARCHIVE = "gan2shape"  # the folder that its files are unpacked into
# Names of the needed files in the archive.
MEMBERS = tuple(sorted({m for one in ENTRIES.values() if one.archived for given in one.gives for m in given.made_of}))
