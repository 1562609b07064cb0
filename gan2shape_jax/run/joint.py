"""A joint run: one set of networks trained on all images of the list, then the results of every image.

WORKDIR/networks.safetensors   D, A, V, L and E, shared by all images
WORKDIR/history.csv            losses (means over the last n iterations) and mean errors over the images
WORKDIR/history.json           the same, with every image's errors
WORKDIR/images.txt             the names of the images trained on
WORKDIR/joint.json             the same names, and the configuration's fingerprint
WORKDIR/results/NAME/          an image's results, with its own errors over iterations in `history.csv`
"""

import dataclasses
import functools
import json
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import atomic_bytes, atomic_text, remove_folder
from gan2shape_jax.method import models
from gan2shape_jax.method.reconstruction import Prediction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.streams import run_key
from gan2shape_jax.photos import explain, judge
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.runtime import cadence_of
from gan2shape_jax.results import Projection
from gan2shape_jax.run.folder import Run
from gan2shape_jax.run.images import FAILURES, RunContext, WorkItems, failures_of, run_context
from gan2shape_jax.training import loop, network_files
from gan2shape_jax.training.devices import padding_note
from gan2shape_jax.training.resume import Requested
from gan2shape_jax.training.shared import shared
from gan2shape_jax.training.task import Task


def require_enough_for(config: ConfigDict, names: list[str]) -> None:
    """Raises `UserError` if there are too few images for the batches of an iteration, or batches for the images."""
    batches, count, images = config.sampling.collect_iters, config.schedule.batches_per_iteration, len(names)
    if images < 2:
        raise UserError(
            f"joint training needs at least two images, but the list has {images}: "
            "reconstruct one image with config.recipe='train'"
        )
    if batches < images:
        raise UserError(
            f"config.sampling.collect_iters is {batches}, but each of the {images} images needs "
            f"a batch of samples: set at least {images}"
        )
    if config.schedule.distinct_images and count > images:
        raise UserError(
            f"{count} batches an iteration need as many images, but the list has {images}: add images, "
            f"or set config.schedule.batches_per_iteration to {images} or less"
        )


def train_jointly(run: Run, names: list[str]) -> int:
    """Trains on all images of the list, or goes on with that, and writes the results; returns 1 if one failed, or 0.

    Raises `UserError`: a file of the run or of any image is unusable.
    """
    require_enough_for(run.config, names)
    with run_context(run) as context:
        return _run(context, names)


def _run(context: RunContext, names: list[str]) -> int:
    config, folder, frozen = context.config, context.folder, context.frozen
    requested, trained = context.requested_networks(names), context.networks.exists
    if folder.leads:
        atomic_text(folder.root / "images.txt", "\n".join(names) + "\n")
        folder.note_joint(**requested.made_with)
    images, failures = [], dict[str, str]()
    for name in names:
        try:
            images.append(inputs.load_image(context.plan, name, context.architecture, frozen, folder.latents))
        except FAILURES as error:
            failures |= failures_of([name], error)
    if failures:  # the problems of all, since they are trained together
        lines = [f"{stem}: {message}" for stem, message in failures.items()]
        raise UserError(
            "\n".join(["joint training needs all images of the list; repair these or remove them:", *lines])
        )
    task = shared(
        images,
        frozen,
        key=run_key(config.seed),
        collect_iters=config.sampling.collect_iters,
        reference=config.reference,
        replicas=config.schedule.batches_per_iteration,
        different=config.schedule.distinct_images,
    )
    if note := padding_note(task.replicas, task.mesh, "batches"):
        context.monitor.log(note)
    by_name = dict(zip(names, images, strict=True))
    grader = judge.load_grader(context.plan, (context.architecture, frozen.discriminator))
    if not trained:
        initial = inputs.initial_params(context.plan, task.settings)
        context.monitor.log("results come when training is done")
        train(context, task, initial, title="all-images", requested=requested)
    leads = folder.leads
    jax.distributed.shutdown()
    if not leads:
        return 0
    remove_folder(folder.shared_checkpoints)  # the networks and the history have been written
    like = models.shapes(task.settings)
    params = network_files.load_networks(folder.networks, like, task.settings)
    history = json.loads((folder.root / "history.json").read_text())

    def write(name: str) -> None:
        """Writes one image's results from the shared networks."""
        folder.require()
        prepared = dataclasses.replace(by_name[name], settings=task.settings)  # so that programs are shared
        own = [{k: row[k] for k in loop.POSITION} | row["images"][prepared.name] for row in history if "images" in row]
        explain.write(
            explain.reconstruct(params, prepared, frozen, grader, history=own),
            folder.result(prepared.name),
            config,
            project=explain.projector(params, prepared, frozen),
            extra={"history.csv": explain.history_csv(own).encode()},
            made_with=context.requested(name).record,
        )

    def projector(name: str) -> Projection:
        return explain.projector(params, dataclasses.replace(by_name[name], settings=task.settings), frozen)

    with WorkItems(folder, names, context.monitor.log) as work_items:
        work_items.redraw(context, projector)
        for (name,) in work_items.unfinished(context.images):
            work_items.write({name: functools.partial(write, name)})
        return work_items.status


def train(
    context: RunContext,
    task: Task,
    initial: models.Params,
    *,
    title: str,
    requested: Requested,
    drawn: Callable[[Phase, Prediction], Prediction] | None = None,
) -> None:
    """Trains the networks from `initial`, or resumes from a checkpoint, and writes them with their history.

    `title` is for the console and the curves; `requested` is what checkpoints must be of.
    `drawn` receives the reconstruction at the end of a phase and returns what is shown in TensorBoard; None shows it
    unchanged.
    """
    config, folder = context.config, context.folder
    cadence = dataclasses.replace(cadence_of(config), per_call=1)  # every iteration uses another image
    # Only where the history has a row: each checkpoint has passed the task's checks.
    if config.recipe in ("lift", "finetune"):
        cadence = dataclasses.replace(cadence, checkpoint=-(-cadence.checkpoint // cadence.log) * cadence.log)
    with context.monitor.watch(title) as watcher:
        if drawn:
            show = watcher.on_phase_end
            watcher = dataclasses.replace(watcher, on_phase_end=lambda phase, view: show(phase, drawn(phase, view)))
        state, history = loop.run_schedule(
            *(task, context.plan.schedule, initial, folder.shared_checkpoints, cadence, watcher),
            requested,
        )
    if not folder.leads:
        return
    folder.require()
    atomic_text(folder.root / "history.json", json.dumps(history) + "\n")
    atomic_text(folder.root / "history.csv", explain.history_csv(history))
    atomic_bytes(folder.networks, network_files.networks_bytes(state.params, depth=context.config.networks.depth))
