"""The queue in front of the device: jobs wait in order, one runs, any may be cancelled."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from typing import Any, Literal, Protocol

from gan2shape_jax.apps.serve.device import Cancelled
from gan2shape_jax.errors import UserError

__all__ = ["Job", "Jobs", "QueueFullError", "Seen"]

State = Literal["waiting", "running", "done", "failed", "cancelled"]


class QueueFullError(UserError):
    """The queue has reached its maximum length."""


class _Device(Protocol):
    def run(self, task: dict[str, Any], tell: Any, cancelled: threading.Event, *, seconds: float) -> None: ...


@dataclasses.dataclass(frozen=True)
class Seen:
    """A job at one moment.

    Attributes:
      state: of the job.
      ahead: number of jobs that must end before it starts.
      stages: facts about the completed stages, by name, in order.
      said: the latest line of its log.
      error: why it failed.
      started: when it started to run, in seconds of `time.monotonic`, or None.
    """

    state: State
    ahead: int
    stages: dict[str, dict[str, Any]]
    said: str
    error: str
    started: float | None

    @property
    def over(self) -> bool:
        """Whether the job will not change any more."""
        return self.state in ("done", "failed", "cancelled")


class Job:
    """What a visitor has requested; changed only by `Jobs`."""

    def __init__(self, task: dict[str, Any]):
        """Makes a waiting job.

        Args:
          task: passed to the device.
        """
        self.task = task
        self.cancelled = threading.Event()
        self.finished = threading.Event()  # the device no longer uses its files
        self.state: State = "waiting"
        self.stages: dict[str, dict[str, Any]] = {}
        self.said = self.error = ""
        self.started: float | None = None


class Jobs:
    """Runs jobs on a device in a separate thread."""

    def __init__(self, device: _Device, *, waiting: int, seconds: float):
        """Starts the thread.

        Args:
          device: runs the jobs.
          waiting: maximum number of waiting jobs.
          seconds: time limit of a job.
        """
        self._device, self._most, self._seconds = device, waiting, seconds
        self._waiting: collections.deque[Job] = collections.deque()
        self._running: Job | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="jobs", daemon=True)
        self._thread.start()

    def submit(self, task: dict[str, Any]) -> Job:
        """Queues a task and returns its job.

        Raises:
          QueueFullError: too many jobs are already waiting.
        """
        with self._changed:
            if len(self._waiting) + (self._running is not None) > self._most:
                raise QueueFullError(
                    f"{len(self._waiting)} photos wait already, and no more are taken: try again in some minutes"
                )
            job = Job(task)
            self._waiting.append(job)
            self._changed.notify_all()
            return job

    def seen(self, job: Job) -> Seen:
        """Returns the state of a job."""
        with self._changed:
            ahead = 0
            if job in self._waiting:
                ahead = self._waiting.index(job) + (self._running is not None)
            return Seen(job.state, ahead, dict(job.stages), job.said, job.error, job.started)

    def cancel(self, job: Job) -> None:
        """Takes a job out of the queue, or stops it; one that is over stays as it is."""
        with self._changed:
            if job.state not in ("waiting", "running"):
                return
            job.state = "cancelled"
            job.cancelled.set()
            if job in self._waiting:
                self._waiting.remove(job)
                job.finished.set()
            self._changed.notify_all()

    def close(self) -> None:
        """Cancels everything and waits until the device is released."""
        with self._changed:
            self._closed = True
            for job in [*self._waiting, *([self._running] if self._running else [])]:
                self.cancel(job)
            self._changed.notify_all()
        self._thread.join()

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            state: State = "done"
            error = ""
            try:
                self._device.run(
                    job.task, lambda message, job=job: self._note(job, message), job.cancelled, seconds=self._seconds
                )
            except Cancelled:
                state = "cancelled"
            except UserError as failure:
                state, error = "failed", str(failure)
            except Exception as failure:  # a bug in this program must not end the queue
                state, error = "failed", f"the program has a fault here: {type(failure).__name__}"
            with self._changed:
                self._running = None
                if job.state == "running":
                    job.state, job.error = state, error
                job.finished.set()

    def _next(self) -> Job | None:
        """Waits for the next job and returns it; returns None once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            self._running = job = self._waiting.popleft()
            job.state, job.started = "running", time.monotonic()
            return job

    def _note(self, job: Job, message: dict[str, Any]) -> None:
        with self._changed:
            if "stage" in message:
                job.stages[message["stage"]] = {k: v for k, v in message.items() if k not in ("job", "stage")}
                job.said = ""
            elif "say" in message:
                job.said = str(message["say"])
