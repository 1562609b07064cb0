"""The worker, a process that computes, and the server's side of it.

It loads the GAN once, keeps its compiled programs, and runs one job after another. A crash fails only one job: the next
job starts a new process. Tasks and messages are lines of JSON on its standard input and output: {"ready": true} or
{"broken": TEXT} once; then, of each job, {"stage": NAME, ...facts} when a stage is done, {"say": TEXT} for each line of
its log, and {"end": ERROR}, "" after success.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import AsyncGenerator, Callable
from typing import Any

from gan2shape_jax.errors import UserError

# Performs a task: takes its fields, and a function that reports a stage with facts about it.
Report = Callable[[str, dict[str, Any]], None]
Perform = Callable[[dict[str, Any], Report], None]

_START_S = 900.0  # a GAN that does not come with the package is learned from first
# Compiled programs use memory maps, of which a process may have 65,530; starting a new worker takes seconds.
_MOST_JOBS = 200
_LONGEST = 1 << 20  # bytes of a message
_FAULT = "the program has a fault here; the server's log has the details"
_START = "from gan2shape_jax.apps.serve import worker; worker.main()"


class Worker:
    """Runs jobs one at a time; used by one event loop."""

    def __init__(
        self,
        load: Callable[..., Perform],
        *args: str,
        seconds: float,
        grace_s: float = 5.0,
        most_jobs: int = _MOST_JOBS,
    ) -> None:
        """Starts nothing yet.

        Args:
          load: a module's function, called in the worker with `args`, that loads what jobs need.
          args: its arguments.
          seconds: time limit of a job.
          grace_s: seconds in which a cancelled job must stop by itself, before its process is killed.
          most_jobs: number of jobs after which the process is replaced.
        """
        self._command = [sys.executable, "-P", "-c", _START, load.__module__, load.__qualname__, *args]
        self._seconds, self._grace_s, self._most_jobs = seconds, grace_s, most_jobs
        self._process: asyncio.subprocess.Process | None = None
        self._jobs, self._closed = 0, False
        self._turn = asyncio.Lock()
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Makes sure that the process is running and has loaded the GAN; raises `UserError` if it cannot."""
        if self._process is not None and self._process.returncode is None and self._jobs < self._most_jobs:
            return
        await self._end()
        if self._closed:
            raise UserError("the server is shutting down")
        pipe = asyncio.subprocess.PIPE
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, limit=_LONGEST, env=environment
        )
        self._jobs = 0
        message = await self._next(_START_S) or {}
        if "ready" not in message:
            await self._end()
            why = message.get("broken", "it takes too long; the server's log says more")
            raise UserError(f"what computes cannot be started: {why}")

    async def run(self, task: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Runs a job, see `jobs.performer`; yields messages about its stages and log, and {} at least once a second.

        Closing the iterator, or cancelling the task that waits for it, stops the job.

        Raises:
          UserError: it failed, took too long, or the process ended.
        """
        over = False
        await self._turn.acquire()
        try:
            await self.start()
            assert self._process is not None and self._process.stdin is not None
            self._jobs += 1
            until = time.monotonic() + self._seconds
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            while not over:
                message = await self._next(min(1.0, until - time.monotonic()))
                if message is None and time.monotonic() >= until:
                    await self._end()
                    raise UserError(f"this took more than {self._seconds / 60:.0f} minutes, and was stopped")
                over = message is not None and "end" in message
                if message and message.get("end"):
                    raise UserError(str(message["end"]))
                if not over:
                    yield message or {}
        finally:
            # Not waited for: Gradio forgets what a page asks for while it waits for a cancelled event to end.
            self._stopping = asyncio.create_task(self._stop(over))

    async def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._closed = True
        await self._end()

    async def _next(self, seconds: float) -> dict[str, Any] | None:
        """Returns the next message, or None if there is none in time; raises `UserError` if the process has ended."""
        process = self._process
        if process is None or process.stdout is None:
            raise UserError("the server is shutting down")
        try:
            line = await asyncio.wait_for(process.stdout.readline(), seconds)
        except TimeoutError:
            return None
        if line.endswith(b"\n"):
            return dict(json.loads(line))
        code = await process.wait()
        cause = f"signal {-code}; 9 is most often a lack of memory" if code < 0 else f"exit code {code}"
        raise UserError(
            f"what computes has ended unexpectedly ({cause}); it is started anew for the next photo: try again, with "
            "a smaller photo perhaps"
        )

    async def _stop(self, over: bool) -> None:
        """Asks the current job to stop unless it is over, kills the process if it does not, and ends the turn."""
        try:
            if not over and self._process is not None and self._process.returncode is None:
                with contextlib.suppress(UserError, OSError, ValueError):  # ValueError: Windows has no such signal
                    self._process.send_signal(signal.SIGINT)  # like Ctrl-C: runs respond to it between iterations
                    until = time.monotonic() + self._grace_s
                    while not over and (message := await self._next(until - time.monotonic())) is not None:
                        over = "end" in message
            if not over:
                await self._end()
        finally:
            self._turn.release()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def main() -> None:
    """Runs in the worker: loads what the arguments name, and performs tasks until the server ends."""
    module, name, *args = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log

    def send(**message: Any) -> None:
        print(json.dumps(message), file=answers, flush=True)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        try:
            perform = getattr(importlib.import_module(module), name)(*args)
        except UserError as error:
            send(broken=str(error))
            return
        send(ready=True)
        for line in iter(sys.stdin.readline, ""):
            send(end=_outcome(perform, json.loads(line), send))


def _outcome(perform: Perform, task: dict[str, Any], send: Callable[..., None]) -> str:
    """Performs a task, which SIGINT ends; returns the error, or ""."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with contextlib.redirect_stderr(_Reported(lambda line: send(say=line))):
            perform(task, lambda stage, facts: send(stage=stage, **facts))
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
