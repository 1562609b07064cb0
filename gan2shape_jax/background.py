"""Work that may happen while the next image trains: one thread, jobs in order, errors where they are asked for.

Writing an image's pictures takes seconds in which the device could train. A `Background` takes such
jobs and runs them one after another in a thread of its own, so results appear in the order of the list. What a
job raises is kept with the job and told where the owner asks for it (`Job.result`, `Background.finished`), in the
owner's thread: an image that cannot be written fails as that image, and stops no other.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Background", "Job"]


class Job:
    """One piece of work and what came of it.

    Attributes:
      name: what its owner calls it, such as the image's name.
    """

    def __init__(self, name: str, action: Callable[[], Any]):
        """`action` is called once, in the background's thread."""
        self.name = name
        self._action: Callable[[], Any] | None = action
        self._done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        """Whether the job has run, well or not."""
        return self._done.is_set()

    def result(self) -> Any:
        """What the action returned, once it has; raises what the action raised."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value

    def run(self) -> None:
        """Runs the action and keeps its outcome; never raises."""
        action, self._action = self._action, None  # frees what the action holds once it is done
        assert action is not None
        try:
            self._value = action()
        except BaseException as error:  # whatever it is, it belongs to whoever asks for the result
            self._error = error
        finally:
            self._done.set()


class Background:
    """Runs jobs in order in one thread; a context manager that leaves no job undone.

    At most `waiting` jobs wait beside the one that runs, since each holds its image's arrays in
    memory: `submit` blocks until there is room. Leaving the context, also by an exception or Ctrl-C, waits for all
    jobs. Errors of jobs that nobody has asked about are then raised together, unless another is on its way already.
    """

    def __init__(self, *, waiting: int = 1):
        """`waiting` is at least 1."""
        if waiting < 1:
            raise ValueError(f"waiting is {waiting}; at least one job has to be able to wait")
        self._queue: queue.Queue[Job | None] = queue.Queue(maxsize=waiting)
        self._unheeded: list[Job] = []
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="background", daemon=True)

    def __enter__(self) -> Background:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is not None:
            return
        errors = [error for _, error in self.finished() if error is not None]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise BaseExceptionGroup("several jobs in the background failed", errors)

    def submit(self, name: str, action: Callable[[], Any]) -> Job:
        """Hands a job over; blocks while too many wait.

        Raises:
          RuntimeError: the background is not open.
        """
        if self._closed or not self._thread.is_alive():
            raise RuntimeError(f"{name} cannot be done in the background: it is not open")
        job = Job(name, action)
        self._unheeded.append(job)
        self._queue.put(job)
        return job

    def finished(self, *, wait: bool = False) -> Iterator[tuple[str, BaseException | None]]:
        """Yields name and error (None where all went well) of jobs done since the last call, in order.

        Args:
          wait: also wait for the jobs that are not done yet.
        """
        while self._unheeded and (wait or self._unheeded[0].is_done):
            job = self._unheeded.pop(0)
            try:
                job.result()
            except BaseException as error:
                yield job.name, error
            else:
                yield job.name, None

    def close(self) -> None:
        """Waits until all jobs are done and takes no more; their errors stay for `finished`."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            job.run()
