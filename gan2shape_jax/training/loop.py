"""The training loop: phases in order, checkpoints, history, progress.

The loop holds no state of its own: everything needed to resume is in the checkpoint (train state, position in the
schedule, history), so killing it at any moment and restarting it gives the same result. What is trained, one image or
many, is a `Task`.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from gan2shape_jax.errors import DivergedError, Terminated
from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import Prediction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.state import PreparedImage, TrainState
from gan2shape_jax.training import task as task_lib
from gan2shape_jax.training.checkpoint import Checkpoints
from gan2shape_jax.training.resume import Requested

# Takes the place of the step's name in the history's first row, which has the errors before any training.
START = "start"
POSITION = ("phase", "stage", "step", "iteration")


@dataclasses.dataclass(frozen=True)
class Cadence:
    """How often things happen."""

    checkpoint: int  # iterations between checkpoints
    log: int  # iterations between rows of the history
    per_call: int  # maximum iterations per compiled call
    keep: int  # number of checkpoints to keep


@dataclasses.dataclass(frozen=True)
class Watcher:
    """Optional callbacks."""

    # Called with the phase and the iterations done in it when training resumes from a checkpoint.
    on_resume: Callable[[Phase, int], None] = lambda phase, done: None
    # Called with the phase, the iterations done in it, and the loss, or None if it is not logged.
    on_progress: Callable[[Phase, int, float | None], None] = lambda phase, done, loss: None
    on_record: Callable[[dict[str, Any]], None] = lambda row: None  # called with each new row of the history
    # Called with the phase and the reconstruction at its end.
    on_phase_end: Callable[[Phase, Prediction], None] = lambda phase, view: None


def _spans(start: int, phase: Phase, cadence: Cadence) -> Iterator[tuple[int, int]]:
    """Yields (first iteration, count) of each compiled call; calls end when a log row or checkpoint is due."""
    here = start
    while here < phase.iterations:
        due = min((here // every + 1) * every for every in (cadence.log, cadence.checkpoint))
        end = min(here + cadence.per_call, due, phase.iterations)
        yield here, end - here
        here = end


def _is_due(done: int, phase: Phase, every: int) -> bool:
    return done == phase.iterations or done % every == 0


class Trained(NamedTuple):
    """The result of training: the final state and the history (errors before training, then losses and errors)."""

    state: TrainState
    history: list[dict[str, Any]]


@dataclasses.dataclass
class _Progress:
    """A run's progress, as stored in a checkpoint."""

    state: TrainState  # the state after the iterations done
    phase: int = 0  # the phase's number
    iteration: int = 0  # iterations done in the phase
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # the rows so far
    # Scalars of the phase's latest iterations, still to be averaged.
    recent: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def record(self, phase: Phase) -> dict[str, Any]:
        """Returns what a checkpoint holds besides the state, as JSON values."""
        recent = [
            {name: np.asarray(value).tolist() for name, value in row.items()} for row in jax.device_get(self.recent)
        ]
        position = {"phase": phase.number, "step": phase.step, "iteration": self.iteration}
        return position | {"history": list(self.history), "recent": recent}

    def note(self, row: dict[str, Any], watcher: Watcher) -> None:
        """Adds a row to the history."""
        watcher.on_record(row)
        self.history.append(row)


def run_schedule(
    task: task_lib.Task,
    schedule: tuple[Phase, ...],
    initial: models.Params,
    folder: pathlib.Path | None,
    cadence: Cadence,
    watcher: Watcher,
    requested: Requested | None = None,
) -> Trained:
    """Trains a task's networks through the schedule, resuming from a checkpoint if there is one.

    `initial` are the parameters to start from; `folder` is that of the task's checkpoints, None keeps none; `requested`
    is what checkpoints must be of, see `Checkpoints`. Raises `UserError`: the loss is not finite, or the checkpoint
    does not fit the configuration. After Ctrl-C `KeyboardInterrupt`, after SIGTERM `Terminated`, once all is saved.
    """
    kept = Checkpoints(folder, keep=cadence.keep, requested=requested) if folder else contextlib.nullcontext()
    with kept as checkpoints:
        progress = _restored(task, schedule, initial, checkpoints, watcher) or _begun(task, initial, watcher)
        before = sum(phase.iterations for phase in schedule[: progress.phase])
        for phase in schedule[progress.phase :]:
            _run_phase(task, phase, progress, before, checkpoints, cadence, watcher)
            before += phase.iterations
    return Trained(progress.state, progress.history)


def _restored(
    task: task_lib.Task,
    schedule: tuple[Phase, ...],
    initial: models.Params,
    checkpoints: Checkpoints | None,
    watcher: Watcher,
) -> _Progress | None:
    """Returns the progress in the newest checkpoint; None if there is none."""

    def template(record: dict[str, Any]) -> TrainState:
        return task.fresh_optimizer(task.initial(initial), schedule[record["phase"]])

    if not checkpoints or (saved := checkpoints.restore(template)) is None:
        return None
    state, record = saved
    progress = _Progress(state, record["phase"], record["iteration"], record["history"], record["recent"])
    watcher.on_resume(schedule[progress.phase], progress.iteration)
    return progress


def _begun(task: task_lib.Task, initial: models.Params, watcher: Watcher) -> _Progress:
    """Returns the progress before the first iteration, its history with the errors before any training."""
    progress = _Progress(task.initial(initial))
    _, errors = task.examine(progress.state, None, 0)
    progress.note({"phase": 0, "stage": 0, "step": START, "iteration": 0} | errors, watcher)
    return progress


def _run_phase(
    task: task_lib.Task,
    phase: Phase,
    progress: _Progress,
    before: int,
    checkpoints: Checkpoints | None,
    cadence: Cadence,
    watcher: Watcher,
) -> None:
    """Runs what is left of a phase, `before` which the schedule has that many iterations; moves `progress` on."""
    if progress.iteration == 0:
        progress.state = task.begin(progress.state, phase)
    constants = task.phase_constants(progress.state, phase) if progress.iteration < phase.iterations else None
    hosts = jax.process_count()
    for first, count in _spans(progress.iteration, phase, cadence):
        progress.state, scalars = task.advance(progress.state, phase, first, constants, count)
        if jax.default_backend() == "cpu":
            jax.block_until_ready(scalars)  # otherwise each queued call would hold a state
        done = progress.iteration = first + count
        progress.recent = [*progress.recent, scalars][-task.window :]
        loss = _log(task, phase, progress, watcher) if _is_due(done, phase, cadence.log) else None
        due = _is_due(done, phase, cadence.checkpoint)
        try:
            watcher.on_progress(phase, done, loss)
            # JAX catches SIGTERM on hosts that compute together, and has them stop at the same iteration.
            if hosts > 1 and multihost_utils.reached_preemption_sync_point(before + done):
                raise Terminated
        except KeyboardInterrupt as stop:
            due = hosts == 1 or isinstance(stop, Terminated)
            raise
        finally:
            if checkpoints and due:
                checkpoints.save(before + done, progress.state, progress.record(phase))
    progress.phase, progress.iteration, progress.recent = phase.number + 1, 0, []


def _log(task: task_lib.Task, phase: Phase, progress: _Progress, watcher: Watcher) -> float:
    """Adds a row to the history, of the phase's latest iterations; returns its loss.

    Raises `DivergedError` if the loss is not finite.
    """
    done, scalars = progress.iteration, task.averages(progress.recent)
    view, errors = task.examine(progress.state, phase, done)
    row: dict[str, Any] = {"phase": phase.number, "stage": phase.stage, "step": phase.step, "iteration": done}
    row |= scalars | errors
    if not np.isfinite(row["loss"]):
        raise DivergedError(
            f"the loss became {row['loss']} in {phase.label}, iteration {done}; check the "
            "image, its latent and the GAN's weights, or lower config.optimizer.learning_rate"
        )
    progress.note(row, watcher)
    if done == phase.iterations and view is not None:
        watcher.on_phase_end(phase, view)
    return float(row["loss"])


def train(
    prepared: PreparedImage,
    frozen: FrozenModels,
    schedule: tuple[Phase, ...],
    initial: models.Params,
    folder: pathlib.Path | None,
    cadence: Cadence,
    watcher: Watcher,
    requested: Requested | None = None,
) -> Trained:
    """Trains one image's networks; further arguments as for `run_schedule`."""
    task = task_lib.OneImage(jax.device_put(prepared.context(frozen)), axis=True)
    state, history = run_schedule(task, schedule, initial, folder, cadence, watcher, requested)
    return Trained(jax.tree.map(lambda leaf: leaf[0], state), history)
