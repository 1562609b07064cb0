"""Runs of the training loop that end in the middle, as if their process had been killed."""

from gan2shape_jax.training.loop import Watcher


class Killed(Exception):
    """Stands for whatever ends a process."""


def die_at(phase_number: int, iteration: int, error: type[BaseException] = Killed) -> Watcher:
    """Returns a watcher that ends the run there."""

    def die(phase, done, loss):
        if (phase.number, done) == (phase_number, iteration):
            raise error

    return Watcher(on_progress=die)
