"""The worker as seen by the server: a process that is started when needed, and killed if it does not respond.

A crash of the worker fails only one job: the next job starts a new process.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from gan2shape_jax.apps.serve import messages
from gan2shape_jax.errors import UserError

__all__ = ["Cancelled", "Device", "worker_command"]

_POLL_S = 0.1
_GRACE_S = 5.0  # for a job to stop when told to, before its process is killed
_START_S = 900.0  # a GAN that does not come with the package is learned from first
# Compiled programs use memory maps, of which a process may have 65,530; starting a new worker takes seconds.
_MOST_JOBS = 200
_ENDED = {"gone": True}


class Cancelled(Exception):
    """A job was told to stop, and has stopped."""


def worker_command(model: str) -> list[str]:
    """Returns the command line of a model's worker."""
    return [sys.executable, "-m", "gan2shape_jax.apps.serve.worker", model]


class Device:
    """Runs jobs one at a time; only `close` may be called from another thread."""

    def __init__(self, command: Sequence[str], *, grace_s: float = _GRACE_S, most_jobs: int = _MOST_JOBS):
        """Starts nothing yet.

        Args:
          command: of the worker.
          grace_s: seconds in which a job must stop by itself.
          most_jobs: number of jobs after which the process is replaced.
        """
        self._command, self._grace_s, self._most_jobs = list(command), grace_s, most_jobs
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._number = self._done = 0
        self._closed = False

    def start(self) -> None:
        """Makes sure that the worker is running and has loaded the GAN.

        Raises:
          UserError: the worker cannot be started.
        """
        if self._process is not None and self._process.poll() is None and self._done < self._most_jobs:
            return
        self._end()
        if self._closed:
            raise UserError("the server is shutting down")
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._answers, self._done = queue.Queue(), 0
        threading.Thread(target=_pump, args=(self._process, self._answers), daemon=True).start()
        message = self._next(time.monotonic() + _START_S)
        if message is None or "ready" not in message:
            self._end()
            told = (message or {}).get("broken", "it has ended, or takes too long; the server's log says more")
            raise UserError(f"what computes cannot be started: {told}")

    def run(
        self,
        task: dict[str, Any],
        tell: Callable[[dict[str, Any]], None],
        cancelled: threading.Event,
        *,
        seconds: float,
    ) -> None:
        """Runs a job.

        Args:
          task: fields of a `tasks.Request`.
          tell: called with the messages about its stages and its log.
          cancelled: tells it to stop when set.
          seconds: time limit.

        Raises:
          Cancelled: it was told to stop.
          UserError: it failed, took too long, or the worker ended.
        """
        self.start()
        process = self._process
        assert process is not None and process.stdin is not None
        self._number += 1
        self._done += 1
        until = time.monotonic() + seconds
        try:
            messages.send(process.stdin, {"job": self._number} | task)
            while not cancelled.is_set():
                message = self._next(min(until, time.monotonic() + _POLL_S))
                if message is None:
                    if time.monotonic() < until:
                        continue
                    self._end()
                    raise UserError(f"this took more than {seconds / 60:.0f} minutes, and was stopped")
                if message.get("job") != self._number and "gone" not in message:
                    continue
                if self._is_end(message):
                    return
                tell(message)
            self._stop(process)
        except OSError:
            self._gone()
        raise Cancelled

    def close(self) -> None:
        """Ends the worker, whatever it is doing."""
        self._closed = True
        self._end()

    def _is_end(self, message: dict[str, Any]) -> bool:
        if "gone" in message:
            self._gone()
        end = message.get("end")
        if end == "failed":
            raise UserError(str(message.get("error")))
        if end == "cancelled":
            raise Cancelled
        return end == "done"

    def _gone(self) -> None:
        code = self._process.wait() if self._process is not None else 0
        self._end()
        raise UserError(
            f"what computes has ended unexpectedly ({_cause(code)}); it is started anew for the next photo: try again, "
            "with a smaller photo perhaps"
        )

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        """Asks the current job to stop, and kills the process if it does not."""
        assert process.stdin is not None
        until = time.monotonic() + self._grace_s
        with contextlib.suppress(OSError):
            messages.send(process.stdin, {"cancel": self._number})
            while (message := self._next(until)) is not None:
                if message.get("job") == self._number and "end" in message:
                    return
        self._end()

    def _next(self, until: float) -> dict[str, Any] | None:
        try:
            return self._answers.get(timeout=max(until - time.monotonic(), 0))
        except queue.Empty:
            return None

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _pump(process: subprocess.Popen[bytes], answers: queue.Queue[dict[str, Any]]) -> None:
    """Moves messages from the pipe to a queue, which supports waiting with a timeout on every system."""
    assert process.stdout is not None
    with contextlib.suppress(OSError, ValueError):
        while (message := messages.receive(process.stdout)) is not None:
            answers.put(message)
    answers.put(_ENDED)


def _cause(code: int) -> str:
    return f"signal {-code}; 9 is most often a lack of memory" if code < 0 else f"exit code {code}"
