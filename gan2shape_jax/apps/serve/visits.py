"""Who has requested what: each visitor's folder, photo and job, and when they are removed.

A visitor is a page in a browser. Its folder has an unguessable name, which is part of the addresses of its results.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from typing import Any

from gan2shape_jax.apps.photo.sources import names_for
from gan2shape_jax.apps.serve.jobs import Job, Jobs
from gan2shape_jax.errors import UserError, one_line, refused

__all__ = ["Photo", "Visit", "Visits"]

_BETWEEN_S = 2.0  # between checks for what has to be removed


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo that a visitor has sent.

    Attributes:
      path: of the file.
      shown: its name, for messages: one line, but possibly with markup in it.
      name: under which results are filed.
    """

    path: pathlib.Path
    shown: str
    name: str


class Visit:
    """One visitor; changed only by `Visits`.

    Attributes:
      token: used in the addresses of results.
      folder: of the visitor's files.
      photo: the latest, or None.
      facts: from the photo's framing, or {}.
      preview: folder of the job that framed it, or None.
      job: the latest, or None.
      result: folder of the latest reconstruction, or None.
    """

    def __init__(self, root: pathlib.Path, now: float):
        """Makes a folder with a new token."""
        self.token = secrets.token_urlsafe(24)
        self.folder = root / self.token
        self.folder.mkdir(mode=0o700)
        self.used = now
        self.photo: Photo | None = None
        self.facts: dict[str, Any] = {}
        self.preview: pathlib.Path | None = None
        self.job: Job | None = None
        self.result: pathlib.Path | None = None


class Visits:
    """All visitors of a server, and the thread that removes what is no longer kept."""

    def __init__(self, root: pathlib.Path, jobs: Jobs, *, keep_s: float, clock: Callable[[], float] = time.monotonic):
        """Starts the thread.

        Args:
          root: folder of all visitors' folders.
          jobs: the queue.
          keep_s: seconds for which files are kept after a visitor's last action.
          clock: returns the time in seconds.
        """
        self._root, self._jobs, self._keep_s, self._clock = root, jobs, keep_s, clock
        self._visits: dict[str, Visit] = {}
        self._doomed: list[tuple[Job | None, pathlib.Path]] = []
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._tidy, name="visits", daemon=True)
        self._thread.start()

    def find(self, session: str) -> Visit | None:
        """Returns a browser page's visit, or None if there is none, or no longer."""
        with self._lock:
            visit = self._visits.get(session)
            if visit is not None:
                visit.used = self._clock()
            return visit

    def by_token(self, token: str) -> Visit | None:
        """Returns the visit with a token, or None."""
        with self._lock:
            found = [v for v in self._visits.values() if secrets.compare_digest(v.token.encode(), token.encode())]
            for visit in found:
                visit.used = self._clock()
            return found[0] if found else None

    def take_photo(self, session: str, upload: pathlib.Path) -> Photo:
        """Takes a photo that a page has sent; the previous one and its results are removed.

        Args:
          session: of the page.
          upload: the file as it came in; it is left where it is.

        Raises:
          UserError: the file system refuses.
        """
        with self._lock:
            if session not in self._visits:
                self._visits[session] = Visit(self._root, self._clock())
            visit = self._visits[session]
            self._drop(visit)
            shown = one_line(upload.name)
            (name,) = names_for([pathlib.Path(upload.name)], {})
            path = self._new_folder(visit, "photo") / "photo"
            try:
                _link(upload, path)
            except OSError as error:
                raise refused(error, f"{shown} cannot be taken in") from error
            visit.photo, visit.used = Photo(path, shown, name), self._clock()
            return visit.photo

    def submit(self, session: str, box: tuple[float, float, float, float] | None, *, refine: bool, pixels: int) -> Job:
        """Queues the framing of a visit's photo or, given `box`, its reconstruction; cancels what the visit had queued.

        Raises:
          UserError: the queue is full, or the photo is no longer kept.
        """
        with self._lock:
            visit = self.find(session)
            if visit is None or visit.photo is None:
                raise UserError("the photo is no longer kept here: drop it again")
            self._cancel(visit)
            folder = self._new_folder(visit, "frame" if box is None else "result")
            task = {
                "photo": str(visit.photo.path),
                "folder": str(folder),
                "name": visit.photo.name,
                "pixels": pixels,
                "box": box,
                "refine": refine,
            }
            try:
                visit.job = self._jobs.submit(task)
            except UserError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            if box is None:
                visit.preview = folder
            else:
                self._doom(None, visit.result)
                visit.result = folder
            return visit.job

    def framed(self, session: str, facts: dict[str, Any]) -> None:
        """Records what the framing found."""
        with self._lock:
            visit = self.find(session)
            if visit is not None:
                visit.facts = facts

    def cancel(self, session: str) -> None:
        """Stops what a page is waiting for."""
        with self._lock:
            visit = self.find(session)
            if visit is not None:
                self._cancel(visit)

    def forget(self, session: str) -> None:
        """Removes a visit with all its files."""
        with self._lock:
            visit = self._visits.pop(session, None)
            if visit is not None:
                self._cancel(visit)
                self._doom(visit.job, visit.folder)

    def close(self) -> None:
        """Ends the thread; files are left to whoever removes the root folder."""
        self._closed.set()
        self._thread.join()

    def _cancel(self, visit: Visit) -> None:
        if visit.job is not None:
            self._jobs.cancel(visit.job)

    def _drop(self, visit: Visit) -> None:
        """Forgets a visit's photo and all its results."""
        self._cancel(visit)
        for folder in visit.folder.iterdir():
            self._doom(visit.job, folder)
        visit.photo, visit.facts, visit.preview, visit.result = None, {}, None, None

    def _new_folder(self, visit: Visit, kind: str) -> pathlib.Path:
        folder = visit.folder / f"{kind}-{secrets.token_hex(4)}"
        folder.mkdir()
        return folder

    def _doom(self, job: Job | None, folder: pathlib.Path | None) -> None:
        if folder is not None:
            self._doomed.append((job, folder))

    def _tidy(self) -> None:
        while not self._closed.wait(min(_BETWEEN_S, self._keep_s)):
            self.tidy()

    def tidy(self) -> None:
        """Removes what is no longer kept, except what a job is still using."""
        with self._lock:
            for session, visit in list(self._visits.items()):
                if visit.job is not None and not self._jobs.seen(visit.job).over:
                    visit.used = self._clock()
                elif self._clock() - visit.used > self._keep_s:
                    self.forget(session)
            ready = [entry for entry in self._doomed if entry[0] is None or entry[0].finished.is_set()]
            self._doomed = [entry for entry in self._doomed if entry not in ready]
        for _, folder in ready:
            shutil.rmtree(folder, ignore_errors=True)


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    """Links a file to a second name, or copies it if the file system does not support links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
