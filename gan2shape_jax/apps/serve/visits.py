"""What visitors may request, their files, and when these are removed.

A visitor is a page in a browser. Its folder has an unguessable name, which is part of the addresses of its results.

CACHE/gan2shape_jax/serving/
  NAME.lock               held by the server that owns the folder
  NAME/uploads/           photos as they come in
  NAME/visits/TOKEN/      a visitor's: photo, frame-N/, result-N/
"""

import contextlib
import dataclasses
import pathlib
import secrets
import shutil
import time
from collections.abc import Iterator
from typing import Any

from etils import epy

from gan2shape_jax.apps.photo.photo_run import names_for
from gan2shape_jax.errors import one_line, refused

with epy.lazy_imports():  # it comes with an extra, which --help does without
    import filelock


@dataclasses.dataclass(frozen=True)
class Limits:
    """What visitors of a server may request."""

    file_bytes: int = 50_000_000  # of a photo's file
    pixels: int = 50_000_000  # of a photo
    waiting: int = 8  # jobs, not counting the one that runs
    job_s: float = 1800.0  # seconds of a job
    keep_s: float = 1800.0  # seconds for which a visitor's files are kept after their last action
    uploads: int = 4  # at the same time


@dataclasses.dataclass
class Visit:
    """One visitor's photo and what came of it."""

    folder: pathlib.Path  # of its files; its name is used in the addresses of results
    shown: str  # the photo's name, for messages: one line, but possibly with markup in it
    name: str  # under which results are filed
    used: float  # when it was last used, `time.monotonic()`
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)  # from the photo's framing
    frame: pathlib.Path | None = None  # folder of the framing
    result: pathlib.Path | None = None  # folder of the latest reconstruction

    @property
    def photo(self) -> pathlib.Path:
        """The photo's file."""
        return self.folder / "photo"

    def new_folder(self, kind: str) -> pathlib.Path:
        """Makes a folder for a job, and removes those of earlier jobs of its kind; `kind` is `frame` or `result`."""
        for former in self.folder.glob(f"{kind}-*"):
            shutil.rmtree(former, ignore_errors=True)
        folder = self.folder / f"{kind}-{secrets.token_hex(4)}"
        folder.mkdir()
        setattr(self, kind, folder)
        return folder


class Visits:
    """All visitors of a server, by browser page; used by the server's event loop alone."""

    def __init__(self, root: pathlib.Path, *, keep_s: float):
        """Starts without visitors; their folders will be in `root`, and are kept `keep_s` seconds after a last use."""
        self._root, self._keep_s = root, keep_s
        self._visits: dict[str, Visit] = {}

    def find(self, session: str) -> Visit | None:
        """Returns a browser page's visit, which counts as used, or None if there is none, or no longer."""
        visit = self._visits.get(session)
        if visit is not None:
            visit.used = time.monotonic()
        return visit

    def by_token(self, token: str) -> Visit | None:
        """Returns the visit with a token, which counts as used, or None."""
        return next((self.find(session) for session, one in self._visits.items() if one.folder.name == token), None)

    def new(self, session: str, upload: pathlib.Path) -> Visit:
        """Begins a page's visit with a copy of a photo that it has sent; the previous one is forgotten."""
        self.forget(session)
        folder, shown = self._root / secrets.token_urlsafe(24), one_line(upload.name)
        visit = Visit(folder, shown, names_for([pathlib.Path(upload.name)], {})[0], time.monotonic())
        try:
            folder.mkdir(mode=0o700)
            shutil.copyfile(upload, visit.photo)
        except OSError as error:
            raise refused(error, f"{shown} cannot be taken in") from error
        self._visits[session] = visit
        return visit

    def forget(self, session: str) -> None:
        """Forgets a visit; `tidy` removes its files."""
        self._visits.pop(session, None)

    def tidy(self) -> None:
        """Forgets visits that were not used for too long, and removes all files that belong to none."""
        for session, visit in list(self._visits.items()):
            if time.monotonic() - visit.used > self._keep_s:
                self.forget(session)
        kept = {visit.folder for visit in list(self._visits.values())}
        for folder in self._root.iterdir():
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)


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
            raise refused(error, f"{root} cannot hold the server's files") from error
        yield folder
