"""Files: read only if regular and not too large, written completely or not at all.

A FIFO blocks forever, a device may never end, and a file may be larger than any reader could need: whatever somebody
else may have written is opened by `open_regular`.

Files and folders are written next to their final place under a hidden name and then renamed, so that an interrupted or
failed write leaves the old contents, the new contents or nothing, never a mixture, even after a power cut. Several
hosts may write the same file: the last one to finish wins. Nothing is written through a link. What a user names and
exists is replaced only with `--overwrite`.

    .NAME.XXXXXXXX.part[.EXTENSION]   a file or folder being written
    .NAME.XXXXXXXX.former             a folder moved aside for a new one

What cannot be read is never removed or written over, whatever the reason, which may pass: it is given another name.

    NAME.unreadable-N                 a file or folder that could not be read when something was to be written there
"""

import contextlib
import functools
import hashlib
import io
import itertools
import json
import math
import os
import pathlib
import re
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, BinaryIO, cast

from gan2shape_jax.errors import UserError, io_error, one_line

MIB = 2**20
MISSING = "no file"  # in place of a SHA-256
# Full pattern of the two kinds of hidden names, and by how much they are longer than the final one, bytes.
_HIDDEN = re.compile(r"\.(?P<name>.+)\.[0-9a-z_]{8}\.(?P<kind>part(\.[^.]+)?|former)", re.DOTALL)
_LONGER = 22
_ASIDE = ".unreadable-"

_Path = str | os.PathLike[str]


def open_regular(path: _Path, *, limit: int | None = None) -> BinaryIO:
    """Opens a regular file of at most `limit` bytes for reading; symbolic links to one are followed.

    Raises `UserError` for anything else or larger, `OSError` if it is missing or cannot be opened.
    """
    try:  # without waiting, as a named pipe would for somebody to write to it
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))
    except ValueError:  # a null byte, or a character that the file system cannot encode
        raise UserError(f"{os.fspath(path)!r} is not a valid file name") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not a file") from None
    status, fault = os.fstat(file.fileno()), ""
    if not stat.S_ISREG(status.st_mode):
        fault = "is a named pipe or a device, not a file"
    elif limit is not None and status.st_size > limit:
        fault = f"has {status.st_size / MIB:.1f} MiB: at most {limit / MIB:g} MiB are read"
    if fault:
        file.close()
        raise UserError(f"{path} {fault}")
    return file


def read_text(path: _Path, *, limit: int, encoding: str = "utf-8") -> str:
    """Returns the text of a regular file of at most `limit` bytes; raises like `open_regular`, or `UnicodeError`."""
    with open_regular(path, limit=limit) as file:
        return file.read(limit).decode(encoding)


def file_inside(folder: _Path, name: str) -> pathlib.Path:
    """Returns the path of a file of a folder, which need not exist; raises `UserError` if a link leads out of there."""
    path = pathlib.Path(folder, name)
    if not pathlib.Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise UserError(f"{path} is a link to a file elsewhere, and is not read")
    return path


def parsed(text: str | bytes) -> Any:
    """Returns the content of JSON; raises `ValueError` or `RecursionError` if it is none, or holds NaN or infinity."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def read_object(path: _Path, kind: str, *, limit: int = 4 * MIB) -> dict[str, Any]:
    """Returns the content of a JSON file of at most `limit` bytes that holds an object, whose numbers are finite.

    Raises `FileNotFoundError`, or a `UserError` that it cannot be read as `kind`, such as "a run's configuration".
    """
    try:
        content = parsed(read_text(path, limit=limit))
        if not isinstance(content, dict):
            raise ValueError("it does not hold a JSON object")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged and cannot be read as {kind}: {error}"[:1000]) from error
    return content


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a usable number")
    return value


def sha256(path: _Path) -> str:
    """Returns a regular file's SHA-256 in hexadecimal; raises the same errors as `open_regular`."""
    with open_regular(path) as file:
        return hashlib.file_digest(cast(io.BufferedReader, file), "sha256").hexdigest()


def content_of(path: _Path) -> str:
    """Returns a file's SHA-256, or `MISSING`; a file that has not changed is read once."""
    try:
        status = os.stat(path)
    except OSError:
        return MISSING
    return _content_of(os.fspath(path), status.st_size, status.st_mtime_ns)


@functools.lru_cache(4096)
def _content_of(path: str, size: int, changed: int) -> str:
    return sha256(path)


def atomic_file(path: _Path, write: Callable[[pathlib.Path], object], *, parents: bool = False) -> None:
    """Writes a file under a temporary name and renames it to `path`, replacing any existing file.

    `write` writes the whole file to the path it is given, which is next to `path` and has its extension. `parents`
    creates missing parent folders. Raises `UserError` if the file cannot be written.
    """
    path = pathlib.Path(path)
    _require_no_link(path)
    part = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix.lower()}")
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        _write_through(part)
        part.replace(path)
        _write_through(path.parent)
    except OSError as error:
        raise io_error(error, f"cannot write {path}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def atomic_text(path: _Path, text: str) -> None:
    """Writes a UTF-8 text file with line endings as they are, creating its parent folders; raises `UserError`."""
    atomic_file(path, lambda part: part.write_text(text, encoding="utf-8", newline=""), parents=True)


def atomic_bytes(path: _Path, content: bytes) -> None:
    """Writes a binary file into an existing folder; raises `UserError` if it cannot be written."""
    atomic_file(path, lambda part: part.write_bytes(content))


@contextlib.contextmanager
def atomic_folder(folder: _Path, *, replaces: Collection[str] | None = ()) -> Iterator[pathlib.Path]:
    """Yields an empty folder to fill; on success it replaces `folder`.

    Of what is in `folder`, only what is named in `replaces` is removed, or with None what has the name of something
    new; everything else is kept. An error inside the block, such as a full disk, removes what was written, with folders
    around it that are new, and leaves the old `folder` untouched.
    Raises `UserError` if the folder cannot be written, or something that is kept has the name of something new.
    """
    folder = pathlib.Path(folder)
    _require_no_link(folder)
    new = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise io_error(error, f"cannot write results to {folder}") from error
    try:
        yield fresh
        fresh.chmod(0o755)  # mkdtemp creates it private
        for parent, _, files in os.walk(fresh, topdown=False):
            for name in files:
                _write_through(pathlib.Path(parent, name))
            _write_through(pathlib.Path(parent))
        _keep_others(folder, fresh, replaces)
        _swap(fresh, folder)
        _write_through(folder.parent)
    except OSError as error:
        raise io_error(error, f"cannot write results to {folder} (nothing there was changed)") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: it was written
            for above in new:
                above.rmdir()


def clear_leftovers(folder: pathlib.Path) -> None:
    """Cleans up what killed writes have left in a folder; only to be called while nobody is writing there.

    Partial files and folders are removed. A folder that was moved aside for a new one is put back if the new one is
    missing, and removed otherwise. Raises `UserError` if something cannot be removed or put back.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        hidden = _HIDDEN.fullmatch(path.name)
        if hidden is None:
            continue
        real = folder / hidden["name"]
        try:
            if hidden["kind"] == "former" and not os.path.lexists(real):
                path.rename(real)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise io_error(error, f"cannot clear {path}, left by an earlier run") from error


def set_aside(path: pathlib.Path, why: object) -> None:
    """Moves a file or folder that cannot be read to NAME.unreadable-N beside it, with a warning that says `why`.

    Raises `UserError` if it cannot be moved.
    """
    reason = (str(why) or type(why).__name__).splitlines()[0]
    others = (path.with_name(f"{path.name}{_ASIDE}{number}") for number in itertools.count(1))
    try:
        aside = next(other for other in others if not other.exists())
        path.rename(aside)
    except FileNotFoundError:  # another host has moved it
        return
    except OSError as error:
        raise io_error(error, f"{path} cannot be read ({reason}), nor be moved aside") from error
    print(one_line(f"warning: {path} cannot be read ({reason}): it is kept as {aside.name}"), file=sys.stderr)


def spare_unreadable(path: pathlib.Path, read: Callable[[pathlib.Path], object]) -> None:
    """Sets aside a file that is about to be written over, unless it is missing or `read` can read it."""
    try:
        read(path)
    except FileNotFoundError:
        pass
    except (OSError, UserError) as error:
        set_aside(path, error)


def remove_folder(folder: pathlib.Path) -> bool:
    """Removes a folder of the program's own, apart from what was set aside in it.

    What cannot be removed stays, too. Returns whether all of it has gone.
    """
    try:
        inside, gone = list(folder.iterdir()), True
    except OSError:
        return not folder.exists()
    for path in inside:
        if is_aside(path.name):
            gone = False
        elif path.is_dir() and not os.path.islink(path):
            gone = remove_folder(path) and gone
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    with contextlib.suppress(OSError):
        if gone:
            folder.rmdir()
    return gone


def is_aside(name: str) -> bool:
    """Returns whether a name is that of a file or folder that could not be read."""
    return name.rpartition(_ASIDE)[2].isdecimal() and _ASIDE in name


def is_partial(name: str) -> bool:
    """Returns whether a name is that of a file or folder being written."""
    return _HIDDEN.fullmatch(name) is not None


def _require_no_link(path: pathlib.Path) -> None:
    if path.is_symlink():
        raise UserError(f"{path} is a link, and nothing is written through links: move it elsewhere")


def _keep_others(folder: pathlib.Path, fresh: pathlib.Path, replaced: Collection[str] | None) -> None:
    """Puts what is in a folder into the one that takes its place, too, apart from what that replaces."""
    for path in folder.iterdir() if folder.exists() else ():
        taken = os.path.lexists(fresh / path.name)
        if taken if replaced is None else path.name in replaced:
            continue
        if taken:
            raise UserError(f"{path} was not written by this program: move it elsewhere")
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, fresh / path.name, symlinks=True, copy_function=_linked_or_copied)
        else:
            _linked_or_copied(path, fresh / path.name)


def _linked_or_copied(source: _Path, target: _Path) -> None:
    """Gives a file a second name, or copies it where the file system has no such thing."""
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)


def _swap(fresh: pathlib.Path, folder: pathlib.Path) -> None:
    if not folder.exists():
        fresh.rename(folder)
        return
    former = fresh.with_suffix(".former")
    folder.rename(former)
    try:
        fresh.rename(folder)
    except OSError:
        former.rename(folder)
        raise
    shutil.rmtree(former, ignore_errors=True)


def _write_through(path: pathlib.Path) -> None:
    """Returns once a file's content or a folder's entries are on disk; lack of space may be reported only here."""
    folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)  # Windows syncs no file opened for reading
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        if not folder:  # whose entries some systems cannot sync
            raise


def nearest_folder(path: _Path) -> pathlib.Path:
    """Returns the absolute path, or its nearest parent that exists, of whatever type."""
    place = pathlib.Path(path).absolute()
    return next(there for there in (place, *place.parents) if os.path.lexists(there))


def folder_fault(path: _Path) -> str:
    """Returns why a folder cannot be created or written, as the end of a sentence that starts with its name, or ''."""
    there = nearest_folder(path)
    try:
        if not stat.S_ISDIR(there.stat().st_mode):
            return f"cannot be a folder: {there} is a file; name another folder"
    except OSError as error:  # a link that leads nowhere, or to itself
        return f"cannot be a folder: {there} leads nowhere ({error.strerror}); name another folder"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"cannot be written: {there} is read-only"
    if not shutil.disk_usage(there).total:  # /proc and the like say that they could be written
        return f"cannot be written: {there} is on no disk; name another folder"
    return _length_fault(pathlib.Path(path))


def require_folder_place(path: pathlib.Path) -> None:
    """Raises `UserError` if the folder of --out, with its parents, cannot be created or written."""
    if fault := folder_fault(path) or _place_fault(path):
        raise UserError(f"--out {path} {fault}")


def require_file_place(
    path: pathlib.Path, option: str = "--out", *, overwrite: bool, endings: Sequence[str] = ()
) -> None:
    """Raises `UserError` if the file cannot be written, or ends in none of `endings`; its folder must exist.

    A file that exists may only be replaced with `overwrite`, and a link never.
    """
    if endings and path.suffix.lower() not in endings:
        raise UserError(f"{option} {path}: the name must end in {' or '.join(endings)}")
    if not path.name or os.path.isdir(path):
        raise UserError(f"{option} {path} is a folder: name a file")
    if not os.path.isdir(path.parent):
        raise UserError(f"{option} {path}: there is no folder {path.parent}")
    if path.is_symlink():
        raise UserError(f"{option} {path} is a link, and nothing is written through links: name another file")
    if not overwrite and os.path.lexists(path):
        raise UserError(f"{option} {path} exists: name another file, or replace it with --overwrite")
    if fault := folder_fault(path.parent) or _place_fault(path):
        raise UserError(f"{option} {path} {fault}")


def require_targets(
    targets: dict[str, pathlib.Path | None], sources: Sequence[_Path | None], *, overwrite: bool
) -> None:
    """Raises `UserError` where writing files is impossible, or would overwrite a source or each other.

    `targets` are by their names on the command line; None stands for what is not written or not given. Those that exist
    may only be replaced with `overwrite`.
    """
    paths = [path for path in (*sources, *targets.values()) if path is not None]
    for option, path in targets.items():
        if path is not None:
            same = [other for other in paths if other is not path and os.path.realpath(other) == os.path.realpath(path)]
            if same:
                raise UserError(f"{option} {path} would overwrite {same[0]}: choose another name")
            require_file_place(path, option, overwrite=overwrite)


def _place_fault(path: pathlib.Path) -> str:
    return "is not a folder's name: name a new folder" if path.name in ("", "..") else _length_fault(path)


def _length_fault(path: pathlib.Path) -> str:
    return "has a name that is too long" if len(os.fsencode(path.name)) + _LONGER > 255 else ""
