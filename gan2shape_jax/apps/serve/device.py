"""The worker, a process that computes, and the server's side of it.

It loads the GAN once, keeps its compiled programs, and runs one job after another. A crash fails only one job: the next
job starts a new process. The worker sends JSON: {"ready": true} or {"broken": TEXT} once; then, of each job,
{"stage": NAME, ...facts} when a stage is done, {"say": TEXT} for each line of its log, and {"end": ERROR}, "" after
success.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import AsyncGenerator, Callable
from multiprocessing.connection import Connection
from typing import Any

from gan2shape_jax.errors import UserError

__all__ = ["Device", "Perform"]

# Performs a task: takes its fields, and a function that reports a stage with facts about it.
Perform = Callable[[dict[str, Any], Callable[[str, dict[str, Any]], None]], None]

_POLL_S = 0.05
_START_S = 900.0  # a GAN that does not come with the package is learned from first
# Compiled programs use memory maps, of which a process may have 65,530; starting a new worker takes seconds.
_MOST_JOBS = 200
_LONGEST = 1 << 20  # bytes of a message
_FAULT = "the program has a fault here; the server's log has the details"


class Device:
    """Runs jobs one at a time; used by one event loop."""

    def __init__(
        self, load: Callable[[], Perform], *, seconds: float, grace_s: float = 5.0, most_jobs: int = _MOST_JOBS
    ) -> None:
        """Starts nothing yet.

        Args:
          load: called by the worker, to which it is sent by name, to load what jobs need.
          seconds: time limit of a job.
          grace_s: seconds in which a cancelled job must stop by itself, before its process is killed.
          most_jobs: number of jobs after which the process is replaced.
        """
        self._load, self._seconds, self._grace_s, self._most_jobs = load, seconds, grace_s, most_jobs
        self._process: Any = None
        self._pipe: Connection | None = None
        self._jobs = 0
        self._closed = False
        self._stopping: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Makes sure that the worker is running and has loaded the GAN.

        Raises:
          UserError: the worker cannot be started.
        """
        if self._process is not None and self._process.is_alive() and self._jobs < self._most_jobs:
            return
        self._end()
        if self._closed:
            raise UserError("the server is shutting down")
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(self._load, theirs), name="worker", daemon=True)
        await asyncio.to_thread(self._process.start)
        theirs.close()
        self._jobs = 0
        message = await self._next(_START_S) or {}
        if "ready" not in message:
            self._end()
            why = message.get("broken", "it has ended, or takes too long; the server's log says more")
            raise UserError(f"what computes cannot be started: {why}")

    async def run(self, task: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Runs a job; yields the messages about its stages and its log, and {} at least once a second.

        Closing the iterator, or cancelling the task that waits for it, stops the job.

        Args:
          task: see `tasks.performer`.

        Raises:
          UserError: it failed, took too long, or the worker ended.
        """
        over, until = False, 0.0
        await self._turn.acquire()
        try:
            await self.start()
            assert self._pipe is not None
            self._jobs += 1
            until = time.monotonic() + self._seconds
            self._pipe.send(task)
            while not over:
                message = await self._next(min(1.0, until - time.monotonic()))
                if message is not None and "end" in message:
                    over = True
                    if message["end"]:
                        raise UserError(str(message["end"]))
                elif message is None and time.monotonic() >= until:
                    self._end()
                    raise UserError(f"this took more than {self._seconds / 60:.0f} minutes, and was stopped")
                else:
                    yield message or {}
        finally:
            # Not waited for: Gradio forgets what a page asks for while it waits for a cancelled event to end.
            self._stopping = asyncio.create_task(self._stop(over))

    def close(self) -> None:
        """Ends the worker, whatever it is doing."""
        self._closed = True
        self._end()

    async def _next(self, seconds: float) -> dict[str, Any] | None:
        """Returns the next message, or None if there is none in time; raises `UserError` if the worker has ended."""
        until = time.monotonic() + seconds
        try:
            while self._pipe is not None and not self._pipe.poll():
                if time.monotonic() >= until:
                    return None
                await asyncio.sleep(_POLL_S)
            if self._pipe is None:
                raise UserError("the server is shutting down")
            return dict(json.loads(self._pipe.recv_bytes(_LONGEST)))
        except (EOFError, OSError):
            self._process.join(self._grace_s)
            code = self._process.exitcode or 0
            self._end()
        cause = f"signal {-code}; 9 is most often a lack of memory" if code < 0 else f"exit code {code}"
        raise UserError(
            f"what computes has ended unexpectedly ({cause}); it is started anew for the next photo: try again, with "
            "a smaller photo perhaps"
        )

    async def _stop(self, over: bool) -> None:
        """Asks the current job to stop unless it is over, kills the process if it does not, and ends the turn."""
        try:
            if self._process is not None and not over:
                if sys.platform == "win32" or not await self._interrupted():
                    self._end()
        finally:
            self._turn.release()

    async def _interrupted(self) -> bool:
        with contextlib.suppress(UserError, OSError):
            os.kill(self._process.pid, signal.SIGINT)  # like Ctrl-C: runs respond to it between iterations
            until = time.monotonic() + self._grace_s
            while (message := await self._next(until - time.monotonic())) is not None:
                if "end" in message:
                    return True
        return False

    def _end(self) -> None:
        process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if process is not None:
            process.kill()
            process.join()
        if pipe is not None:
            pipe.close()


def _work(load: Callable[[], Perform], pipe: Connection) -> None:
    """Runs jobs until the server ends; in the worker."""

    def send(message: dict[str, Any]) -> None:
        pipe.send_bytes(json.dumps(message).encode())

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError), contextlib.redirect_stdout(sys.stderr):
        try:
            perform = load()
        except UserError as error:
            send({"broken": str(error)})
            return
        send({"ready": True})
        while True:
            send({"end": _outcome(perform, pipe.recv(), send)})


def _outcome(perform: Perform, task: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> str:
    """Performs a task, which SIGINT ends; returns the error, or ""."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with contextlib.redirect_stderr(_Reported(lambda line: send({"say": line}))):
            perform(task, lambda stage, facts: send({"stage": stage} | facts))
        return ""
    except KeyboardInterrupt:
        return "cancelled"
    except UserError as error:
        return str(error)
    except Exception:
        traceback.print_exc()
        return _FAULT
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Reported(io.TextIOBase):
    """Standard error, of which each line is reported."""

    def __init__(self, report: Callable[[str], None]):
        self._stream, self._report, self._rest = sys.stderr, report, ""

    def write(self, text: str) -> int:
        """Writes text; reports the lines that it completes."""
        self._stream.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(str.strip, lines):
            self._report(line[-500:])
        return len(text)

    def flush(self) -> None:
        """Flushes the underlying stream."""
        self._stream.flush()
