"""A published file in a download folder: downloaded if missing, checked against its hash, and put in place atomically.

pooch does this; our own downloader (`transfer`) adds resuming a partial download, and bounds on what a server may
send.
"""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Sequence

import pooch
import requests

from gan2shape_jax.apps.get import parts
from gan2shape_jax.apps.get.records import MOST, Source
from gan2shape_jax.apps.get.transfer import Patience, Report, Wanted, download
from gan2shape_jax.errors import UserError, refused
from gan2shape_jax.io.regular_files import open_regular
from gan2shape_jax.io.weights.digest import sha256

__all__ = ["check_file", "fetch", "require_fetchable"]


def fetch(source: Source, folder: pathlib.Path, report: Report, *, patience: Patience | None = None) -> pathlib.Path:
    """Returns the path of a published file; downloads it if it is missing or differs from the one published.

    Args:
      source: the file.
      folder: of the file; the caller has exclusive access to it.
      report: called with the progress of the download.
      patience: with slow servers.

    Raises:
      UserError: the file cannot be downloaded, or is not the one published: then nothing of it is kept.
    """
    require_fetchable([source])
    part = parts.part_of(folder / source.file)
    wanted = Wanted(source.url, part, source.size, source.most, bool(source.sha256))

    def hand_over(url: str, output_file: str, _: object) -> None:
        download(wanted, report=report, patience=patience)
        _link(part, output_file)

    pooch.get_logger().setLevel("WARNING")  # we report progress and hashes
    known = f"sha256:{source.sha256}" if source.sha256 else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder)
        path = pooch.retrieve(source.url, known, fname=source.file, path=folder, downloader=hand_over)
        parts.discard(part)
    except requests.exceptions.RequestException as error:  # also an OSError
        raise UserError(f"{source.url}: {error}") from error
    except OSError as error:
        raise refused(error, f"cannot write below {folder}") from error
    except ValueError as error:  # pooch's error for a wrong hash
        found = sha256(part) if part.exists() else "another"
        parts.discard(part)
        raise UserError(_another(source, source.url, found, "nothing of it is kept")) from error
    return pathlib.Path(path)


def require_fetchable(sources: Sequence[Source]) -> None:
    """Raises `UserError` if a file has to be downloaded by hand."""
    for source in sources:
        if source.by_hand:
            raise UserError(
                f"{source.file} has to be downloaded by hand ({source.by_hand}): open {source.url} in a browser, and "
                "give the file with --from"
            )


def check_file(source: Source, path: pathlib.Path) -> None:
    """Raises `UserError` if a file downloaded by hand is not the one published; the file is left as it is."""
    try:
        with open_regular(path, limit=MOST) as file:
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise refused(error, f"cannot read {path}") from error
    if source.size not in (None, size):
        raise UserError(
            f"{path} has {size:,} bytes, and {source.file} as published {source.size:,}: it is another file"
        )
    if source.sha256 and (found := sha256(path)) != source.sha256:
        raise UserError(_another(source, str(path), found, "it is not used"))


def _another(source: Source, where: str, found: str, then: str) -> str:
    return (
        f"{where} is another file than the one published: its SHA-256 is {found}, expected is {source.sha256}, as "
        f"found in public repositories; {then}. If you trust it all the same, download it by hand, and convert it "
        "with gan2shape-jax convert"
    )


def _link(part: pathlib.Path, output_file: str) -> None:
    """Gives pooch the whole file, which also stays in its part until its hash has been checked."""
    os.unlink(output_file)
    try:
        os.link(part, output_file)
    except OSError:  # a file system without links
        shutil.move(part, output_file)


def _clear(folder: pathlib.Path) -> None:
    """Removes what pooch was checking when it was killed; the part has the same bytes."""
    for path in folder.glob("tmp*"):
        with contextlib.suppress(OSError):
            path.unlink()
