"""The process that computes: it loads the GAN once, keeps its compiled programs, and runs one job after another.

    python -m gan2shape_jax.apps.serve.worker MODEL

Tasks arrive on standard input, answers go to what was standard output (`messages`); anything that libraries print goes
to standard error. The process ends as soon as its input does: no worker outlives its server.
"""

from __future__ import annotations

import _thread
import contextlib
import io
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO, TextIO

from gan2shape_jax.apps.serve import messages
from gan2shape_jax.errors import UserError

__all__ = ["Worker", "main"]

_FAULT = "the program has a fault here; the server's log has the details"

# Performs a task: takes the task and a function that reports a stage.
Perform = Callable[[dict[str, Any], Callable[[str, dict[str, Any]], None]], None]


class Worker:
    """Takes tasks from one pipe, one at a time, and reports on them to another."""

    def __init__(self, tasks: BinaryIO, answers: BinaryIO, perform: Perform):
        """Serves until `tasks` ends.

        Args:
          tasks: messages from the server.
          answers: messages to the server.
          perform: performs a task.
        """
        self._tasks, self._answers, self._perform = tasks, answers, perform
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue()
        self._lock = threading.RLock()
        self._job: int | None = None

    def serve(self) -> None:
        """Performs tasks in this thread, which must be the main one; never returns."""
        # A server run in the background by a script starts with SIGINT ignored, but jobs are cancelled by SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=self._listen, daemon=True).start()
        self._send({"ready": True})
        while True:
            with contextlib.suppress(KeyboardInterrupt):  # for a job that was over before it arrived
                self._do(self._waiting.get())

    def _do(self, task: dict[str, Any]) -> None:
        number = int(task.pop("job"))
        with self._lock:
            self._job = number
        end: dict[str, Any] = {"end": "cancelled"}
        try:
            with contextlib.redirect_stderr(_Told(sys.stderr, lambda line: self._send({"job": number, "say": line}))):
                self._perform(task, lambda stage, facts: self._send({"job": number, "stage": stage} | facts))
            end = {"end": "done"}
        except KeyboardInterrupt:
            pass
        except UserError as error:
            end = {"end": "failed", "error": str(error)}
        except Exception:
            traceback.print_exc()
            end = {"end": "failed", "error": _FAULT}
        finally:
            with self._lock:
                self._job = None
            self._send({"job": number} | end)

    def _listen(self) -> None:
        """Receives messages in a separate thread, so that a job can be cancelled."""
        while (message := messages.receive(self._tasks)) is not None:
            if "cancel" not in message:
                self._waiting.put(message)
                continue
            with self._lock:
                if self._job == message["cancel"]:
                    _thread.interrupt_main()  # like Ctrl-C: runs respond to it between iterations
        os._exit(0)

    def _send(self, message: dict[str, Any]) -> None:
        with self._lock:
            try:
                messages.send(self._answers, message)
            except OSError:
                os._exit(0)


class _Told(io.TextIOBase):
    """A text stream that writes to another, and reports each line."""

    def __init__(self, stream: TextIO, tell: Callable[[str], None]):
        self._stream, self._tell, self._begun = stream, tell, ""

    def write(self, text: str) -> int:
        """Writes text; reports the lines that it completes."""
        self._stream.write(text)
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                self._tell(line[-500:])
        return len(text)

    def flush(self) -> None:
        """Flushes the underlying stream."""
        self._stream.flush()


def own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Returns standard input and output, reserved for messages; prints go to standard error from now on."""
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return tasks, answers


def main(model: str) -> None:
    """Loads what a model needs and performs tasks until the server ends."""
    tasks, answers = own_pipes()
    import pathlib

    from gan2shape_jax.apps.photo import kinds, photo_run
    from gan2shape_jax.apps.serve.tasks import Request, perform

    try:
        kind = kinds.load_kind(model)
        config = photo_run.config_of(kind, pathlib.Path("unused"), refine=False)
        framer = photo_run.start(config, say=lambda line: print(line, file=sys.stderr))
    except UserError as error:
        messages.send(answers, {"broken": str(error)})
        raise SystemExit(1) from None

    def work(task: dict[str, Any], tell: Callable[[str, dict[str, Any]], None]) -> None:
        box = task.pop("box")
        perform(Request(**task, box=None if box is None else tuple(box)), kind, framer, tell)

    Worker(tasks, answers, work).serve()


if __name__ == "__main__":
    main(sys.argv[1])
