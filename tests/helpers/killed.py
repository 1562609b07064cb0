"""Runs of the training loop that end in the middle, as if their process had been killed, and such processes."""

import pathlib
import subprocess
import time

from gan2shape_jax.training.loop import Watcher


class Killed(Exception):
    """Stands for whatever ends a process."""


def die_at(phase_number: int, iteration: int, error: type[BaseException] = Killed) -> Watcher:
    """Returns a watcher that ends the run there."""

    def die(phase, done, loss):
        if (phase.number, done) == (phase_number, iteration):
            raise error

    return Watcher(on_progress=die)


def await_checkpoint(process: subprocess.Popen, folder: pathlib.Path, least: int) -> None:
    """Returns when the run of another process has a checkpoint of so many iterations in a folder."""
    deadline = time.monotonic() + 500
    while not any(path.name.isdigit() and int(path.name) >= least for path in folder.glob("*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
