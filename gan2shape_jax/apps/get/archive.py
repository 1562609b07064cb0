"""Unpacks the wanted files of a gzipped tar archive that is split into parts, and nothing else.

Files are named by us, never by the archive: a member is written only if its name is a wanted one and it is a regular
file.
"""

import gzip
import io
import pathlib
import shutil
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from typing import IO, Any, cast

from gan2shape_jax.errors import UserError, refused
from gan2shape_jax.io.atomic_files import atomic_file
from gan2shape_jax.io.regular_files import MIB, open_regular
from gan2shape_jax.io.weights.messages import listed
from gan2shape_jax.plain_text import one_line

__all__ = ["unpack"]

_LONGEST_NAME = MIB  # bytes of a header that gives the next member a long name
_MOST = 32 * 1024 * MIB  # bytes of all members together
_MEMBERS = 100_000
_SHORT = 200  # characters of a member's name


def unpack(archive_parts: Sequence[pathlib.Path], wanted: Mapping[str, pathlib.Path], *, most: int) -> list[str]:
    """Writes members of an archive, each atomically, to files that we name; returns the missing members.

    The archive is read to its end, where its checksum is: if that does not match, everything written is removed.

    Args:
      archive_parts: the parts of the archive, in order.
      wanted: where each member is written, by its name in the archive; the folders must exist.
      most: maximum size of a member, in bytes.

    Raises:
      UserError: the parts are no such archive, or it is damaged, has none of the members or is too large; or the file
        system refuses.
    """
    told = ", ".join(path.name for path in archive_parts)
    try:
        with _Joined(archive_parts) as joined, gzip.GzipFile(fileobj=cast(IO[bytes], joined)) as plain:
            missing, names = _unpacked(plain, wanted, most)
    except BaseException as error:
        for path in wanted.values():
            path.unlink(missing_ok=True)
        if isinstance(error, (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError)):
            raise UserError(f"{told}: damaged, truncated or no gzipped tar archive ({error})") from error
        if isinstance(error, OSError):
            raise refused(error, f"cannot read {told}") from error
        raise
    if len(missing) == len(wanted):
        raise UserError(f"{told}: the archive has none of {listed(missing)}; it has {listed(names, 20) or 'nothing'}")
    return missing


def _unpacked(plain: gzip.GzipFile, wanted: Mapping[str, pathlib.Path], most: int) -> tuple[list[str], list[str]]:
    """Returns the wanted members that an archive lacks, and the names of those that it has."""
    missing, names, total = dict(wanted), list[str](), 0
    with tarfile.open(fileobj=plain, mode="r|", tarinfo=_Member) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            names.append(one_line(name[:_SHORT]))
            total += member.size
            if total > _MOST or len(names) > _MEMBERS:
                raise UserError("the archive is refused: it unpacks to more than any archive of weights has")
            if name in missing:
                _write(archive, member, missing.pop(name), most)
    while rest := plain.read(MIB):  # to the checksum at its end
        total += len(rest)
        if total > _MOST:
            raise UserError("the archive is refused: it unpacks to more than any archive of weights has")
    return list(missing), names


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: pathlib.Path, most: int) -> None:
    content = archive.extractfile(member) if member.isreg() else None
    if content is None or member.size > most:
        raise UserError(f"{target.name}: in the archive it is no plain file of at most {most / MIB:,.0f} MiB")
    kept = content

    def copy(part: pathlib.Path) -> None:
        with open(part, "wb") as file:
            shutil.copyfileobj(kept, file, MIB)

    atomic_file(target, copy)


class _Member(tarfile.TarInfo):
    """Refuses headers that could be read into memory without limit.

    Those that give a long name are short; maps of sparse files can be of any length.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Any:
        """Returns the member that a header describes; raises `UserError` for one that is refused."""
        member = super().frombuf(buf, encoding, errors)
        plain = member.isreg() or member.isdir() or member.issym() or member.islnk()
        if member.size < 0 or member.type == tarfile.GNUTYPE_SPARSE or (not plain and member.size > _LONGEST_NAME):
            raise UserError("the archive is refused: a header of unreasonable length, or a file with holes")
        return member

    def _proc_gnusparse_10(self, *_: object) -> None:  # the other format of sparse files
        raise UserError("the archive is refused: it has a file with holes")


class _Joined(io.RawIOBase):
    """Several files in sequence, read as a single file from its beginning."""

    def __init__(self, paths: Sequence[pathlib.Path]) -> None:
        self._rest = list(paths)
        self._file: Any = None

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer with the next bytes; returns their number, 0 at the end."""
        while True:
            if self._file is None:
                if not self._rest:
                    return 0
                self._file = open_regular(self._rest.pop(0))
            if count := self._file.readinto(buffer):
                return int(count)
            self._file.close()
            self._file = None

    def close(self) -> None:
        """Closes the file that is being read."""
        if self._file is not None:
            self._file.close()
        super().close()
