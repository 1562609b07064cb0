"""What a published checkpoint is: where its files are, what becomes of them, and which configuration they serve."""

import dataclasses

from gan2shape_jax.apps.get.licences import LICENCES, Licence
from gan2shape_jax.io.regular_files import MIB

__all__ = ["MOST", "Archive", "Entry", "Given", "Source"]

MOST = 4096 * MIB  # bytes of any download: the most that readers of weight files accept


@dataclasses.dataclass(frozen=True)
class Source:
    """A file published by others.

    Attributes:
      url: its address.
      file: its name here.
      size: in bytes, or None if no source gives it.
      sha256: in hexadecimal, or "" if no source gives it.
      found: where address, size and hash were found.
      by_hand: why no program can fetch it, or "".
    """

    url: str
    file: str
    size: int | None = None
    sha256: str = ""
    found: str = ""
    by_hand: str = ""

    @property
    def most(self) -> int:
        """Maximum size of the download, in bytes."""
        return MOST if self.size is None else self.size


@dataclasses.dataclass(frozen=True)
class Archive:
    """A tar archive, gzipped and split into parts, whose files serve several entries.

    Attributes:
      name: of the folder that its files are unpacked into.
      parts: in order.
      members: names of the wanted files in the archive.
    """

    name: str
    parts: tuple[Source, ...]
    members: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Given:
    """A file that an entry provides for a configuration field.

    Attributes:
      field: such as `gan.checkpoint`.
      made_of: names of sources, or members of the archive.
      file: its name; if its extension differs from that of what it is made of, it is converted.
      converter: `stylegan2` or `networks`; "" uses the single file as it is.
    """

    field: str
    made_of: tuple[str, ...]
    file: str
    converter: str = ""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A checkpoint that can be obtained by its name.

    Attributes:
      name: on the command line.
      title: for users.
      terms: key of its licence.
      gives: the files that are made from it.
      sources: that are downloaded; () if `archive` holds them.
      archive: that holds its files, or None.
      config: the bundled configuration that it serves, or "" for none.
      also: names of other entries that this configuration needs.
    """

    name: str
    title: str
    terms: str
    gives: tuple[Given, ...]
    sources: tuple[Source, ...] = ()
    archive: Archive | None = None
    config: str = ""
    also: tuple[str, ...] = ()

    @property
    def licence(self) -> Licence:
        """The terms that have to be agreed to."""
        return LICENCES[self.terms]

    @property
    def downloads(self) -> tuple[Source, ...]:
        """Everything that is fetched."""
        return self.archive.parts if self.archive is not None else self.sources

    @property
    def size(self) -> int | None:
        """Total size of all downloads in bytes, or None if that of any is not known."""
        sizes = [source.size for source in self.downloads]
        return None if None in sizes else sum(size for size in sizes if size is not None)
