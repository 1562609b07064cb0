"""What visitors may request, their files, and when these are removed.

A visit is a page in a browser. Its folder has an unguessable name, which is part of the addresses of its results. A
visitor is an address, from which several pages may come: of all that is scarce, one may take a share.

CACHE/gan2shape_jax/serving/
  NAME.lock               held by the server that owns the folder
  NAME/uploads/TOKEN/     a photo as it came in
  NAME/uploads/HASH/      a picture of the page, by Gradio
  NAME/visits/TOKEN/      a visit's: photo, frame-N/, result-N/
"""

import contextlib
import dataclasses
import ipaddress
import os
import pathlib
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epy

from gan2shape_jax.apps.photo.naming import names_for
from gan2shape_jax.errors import UserError, io_error, one_line
from gan2shape_jax.photos.together import MOST

_PICTURES = 500  # of Gradio's, the newest, that are kept: a browser fetches one when it is made
_LONGEST_NAME = 60  # characters of a file's name, its end
_SHARE = 4  # one visitor takes at most one part in so many

with epy.lazy_imports():  # it comes with an extra, which --help does without
    import filelock


@dataclasses.dataclass(frozen=True)
class Limits:
    """What visitors of a server may request."""

    file_bytes: int = 50_000_000  # of a photo's file
    pixels: int = 50_000_000  # of a photo
    waiting: int = 8  # jobs, not counting the one that runs
    job_s: float = 1800.0  # seconds of a job
    memory_bytes: int = 8 * 10**9  # of the process that computes, where the system has such a limit
    keep_s: float = 1800.0  # seconds for which a visitor's files are kept after their last action
    uploads: int = 16  # that come in at the same time
    photos: int = 1000  # kept at the same time
    together: int = MOST  # photos of one visit

    @property
    def upload_bytes(self) -> int:
        """Of all photos that are sent at once."""
        return 4 * self.file_bytes

    @property
    def stored_bytes(self) -> int:
        """Of all files that are kept."""
        return 40 * self.file_bytes

    @staticmethod
    def share(most: int) -> int:
        """Returns how much one visitor may take of what there is."""
        return max(most // _SHARE, 1)


def visitor_of(client: Any) -> str:
    """Returns by what a visitor is known: a connection's address; of IPv6 its network, of which one owner has all."""
    host = str(client[0]) if client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return host if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


@dataclasses.dataclass
class Upload:
    """A photo as it came in."""

    visitor: str  # see `visitor_of`
    size: int  # bytes
    used: float  # when it was last used, `time.monotonic()`


@dataclasses.dataclass
class Visit:
    """One page's photo, or several, and what came of it."""

    folder: pathlib.Path  # of its files; its name is used in the addresses of results
    visitor: str  # see `visitor_of`
    shown: tuple[str, ...]  # the photos' names, for messages: one line each, but possibly with markup in it
    names: tuple[str, ...]  # under which their results are filed
    used: float  # when it was last used, `time.monotonic()`; infinite while a job of it waits or runs
    size: int = 0  # bytes of its files, as last measured
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)  # from the photo's framing
    frame: pathlib.Path | None = None  # folder of the framing
    result: pathlib.Path | None = None  # folder of the latest reconstruction

    @property
    def name(self) -> str:
        """Under which the result is filed that visitors see."""
        return self.names[0]

    @property
    def photos(self) -> list[pathlib.Path]:
        """The photos' files."""
        return [self.folder / f"photo-{number}" for number in range(len(self.shown))]

    def shown_of(self, place: str) -> str:
        """Returns what messages call a file: whatever is kept of a single photo goes by its name."""
        number = next((k for k, photo in enumerate(self.photos) if str(photo) == place), None)
        return self.shown[0] if len(self.shown) == 1 else "the photos" if number is None else self.shown[number]

    def new_folder(self, kind: str) -> pathlib.Path:
        """Makes a folder for a job, and removes those of earlier jobs of its kind; `kind` is `frame` or `result`."""
        for former in self.folder.glob(f"{kind}-*"):
            shutil.rmtree(former, ignore_errors=True)
        folder = self.folder / f"{kind}-{secrets.token_hex(4)}"
        try:
            folder.mkdir()
        except OSError as error:
            raise no_room(error, self.shown_of("")) from error
        setattr(self, kind, folder)
        return folder

    def measure(self) -> None:
        """Finds out how large its files are."""
        self.size = 0
        for place, _, files in os.walk(self.folder):
            for name in files:
                with contextlib.suppress(OSError):  # it has gone meanwhile
                    self.size += os.lstat(os.path.join(place, name)).st_size


class Visits:
    """All visits of a server, by browser page, and all uploads; used by the server's event loop alone."""

    def __init__(self, folder: pathlib.Path, limits: Limits):
        """Starts without visits; files will be in `folder`/uploads and `folder`/visits."""
        self._uploads_in, self._visits_in, self._limits = folder / "uploads", folder / "visits", limits
        self._uploads: dict[str, Upload] = {}
        self._visits: dict[str, Visit] = {}

    def has_room(self, visitor: str, size: int) -> bool:
        """Returns whether another photo of so many bytes can be kept; counted without a look at the disk."""
        return self._room(None, size, part=1) and self._room(visitor, size, part=_SHARE)

    def _room(self, visitor: str | None, size: int, *, part: int) -> bool:
        uploads = [upload.size for upload in list(self._uploads.values()) if visitor in (None, upload.visitor)]
        visits = [visit.size for visit in list(self._visits.values()) if visitor in (None, visit.visitor)]
        enough = len(uploads) < self._limits.photos / part
        return enough and sum(uploads) + sum(visits) + size <= self._limits.stored_bytes / part

    def expect(self, visitor: str, size: int) -> str:
        """Returns the token of an upload that begins to come in, which counts from now on."""
        token = secrets.token_urlsafe(24)
        self._uploads[token] = Upload(visitor, size, time.monotonic())
        return token

    def keep(self, token: str, name: str, content: Any) -> pathlib.Path:
        """Writes an upload, a binary file, under its name without folders; returns its file. Raises `OSError`."""
        usable = "".join(char for char in pathlib.PurePath(name.replace("\\", "/")).name if char.isprintable())
        path = self._uploads_in / token / (usable[-_LONGEST_NAME:] if usable.strip(". ") else "photo")
        path.parent.mkdir(mode=0o700)
        with path.open("xb") as file:
            shutil.copyfileobj(content, file)
        return path

    def drop(self, token: str) -> None:
        """Forgets an upload and removes what there is of it."""
        self._uploads.pop(token, None)
        shutil.rmtree(self._uploads_in / token, ignore_errors=True)

    def find(self, session: str) -> Visit | None:
        """Returns a page's visit, which counts as used, or None if there is none, or no longer."""
        visit = self._visits.get(session)
        if visit is not None:
            visit.used = max(visit.used, time.monotonic())
        return visit

    def by_token(self, token: str) -> Visit | None:
        """Returns the visit with a token, which counts as used, or None."""
        return next(
            (self.find(session) for session, visit in list(self._visits.items()) if visit.folder.name == token), None
        )

    def new(self, session: str, uploads: Sequence[pathlib.Path], visitor: str = "") -> Visit:
        """Begins a page's visit with photos that were sent; the previous one is forgotten.

        Of the visits of one visitor the oldest are forgotten that are more than a share. Raises `UserError`.
        """
        self.forget(session)
        own = sorted((visit.used, key) for key, visit in list(self._visits.items()) if visit.visitor == visitor)
        for _, oldest in own[: max(len(own) + 1 - self._limits.share(self._limits.photos), 0)]:
            self.forget(oldest)
        shown, now = tuple(one_line(upload.name) for upload in uploads), time.monotonic()
        if len(set(shown)) < len(shown):
            shown = tuple(f"{name} ({number})" for number, name in enumerate(shown, start=1))
        names = tuple(names_for([pathlib.Path(f"{k}", upload.name) for k, upload in enumerate(uploads)], {}))
        visit = Visit(self._visits_in / secrets.token_urlsafe(24), visitor, shown, names, now)
        self._visits[session] = visit
        try:
            visit.folder.mkdir(mode=0o700)
            for upload, photo in zip(uploads, visit.photos, strict=True):
                os.link(upload, photo, follow_symlinks=False)  # the same bytes on the disk
        except OSError as error:
            self.forget(session)
            raise no_room(error, visit.shown_of("")) from error
        for upload in uploads:
            if sent := self._uploads.get(upload.parent.name):
                sent.used = now
        return visit

    def forget(self, session: str) -> None:
        """Forgets a visit; `tidy` removes its files."""
        self._visits.pop(session, None)

    def tidy(self) -> None:
        """Forgets what was not used for too long, and removes all files that belong to nothing.

        Pictures of the page, which Gradio writes and nobody owns, go after the same time, or when there are newer ones.
        """
        folders, sent = list(self._visits_in.iterdir()), list(self._uploads_in.iterdir())
        before = time.monotonic() - self._limits.keep_s
        for session in [key for key, visit in list(self._visits.items()) if visit.used < before]:
            self.forget(session)
        for token in [key for key, upload in list(self._uploads.items()) if upload.used < before]:
            self.drop(token)
        # Folders are listed first: what is there by then and belongs to something is in the tables by now.
        kept = {visit.folder for visit in list(self._visits.values())}
        pictures = sorted((picture for picture in sent if picture.name not in self._uploads), key=_age)
        old = [p for number, p in enumerate(pictures) if number >= _PICTURES or _age(p) > self._limits.keep_s]
        for folder in [folder for folder in folders if folder not in kept] + old:
            _remove(folder)


def no_room(error: OSError, shown: str) -> UserError:
    """Returns the error to raise where the file system refuses to keep a photo; no path of the server is in it."""
    print(f"a photo cannot be stored: {error}", file=sys.stderr)
    return UserError(f"{shown} cannot be stored now, perhaps the disk is full: try again later")


def _age(path: pathlib.Path) -> float:
    """Returns for how many seconds a file or folder has not been changed; 0 if it has gone."""
    with contextlib.suppress(OSError):
        return time.time() - path.lstat().st_mtime
    return 0.0


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def server_folder(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new private folder in `root`, removed at the end; first removes those of servers that crashed."""
    with contextlib.ExitStack() as stack:
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in root.glob("*.lock"):  # the system releases the lock of a server that ends, however it does
                with contextlib.suppress(filelock.Timeout), filelock.FileLock(left, blocking=False):
                    shutil.rmtree(left.with_suffix(""), ignore_errors=True)
                    left.unlink(missing_ok=True)
            folder = root / secrets.token_hex(8)
            stack.callback(folder.with_suffix(".lock").unlink)
            stack.enter_context(filelock.FileLock(folder.with_suffix(".lock"), blocking=False))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            for inside in ("uploads", "visits"):
                (folder / inside).mkdir()
        except OSError as error:
            raise io_error(error, f"{root} cannot hold the server's files") from error
        yield folder
