"""A joint run: one set of networks trained on all images of the list, then the results of every image.

WORKDIR/networks.safetensors   D, A, V, L and E, shared by all images
WORKDIR/history.csv            losses (means over the last n iterations) and mean errors over the images
WORKDIR/history.json           the same, with every image's errors
WORKDIR/images.txt             the names of the images trained on
WORKDIR/joint.json             the same names, and how many images share an iteration
WORKDIR/results/NAME/          an image's results, with its own errors over iterations in `history.csv`
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import atomic_bytes, atomic_text
from gan2shape_jax.method import models
from gan2shape_jax.method.reconstruction import Prediction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.streams import run_key
from gan2shape_jax.run import explain, hosts, prepare, start, trust
from gan2shape_jax.run.folder import config_hash, is_trained, joint_record, note_joint
from gan2shape_jax.run.plan import Plan
from gan2shape_jax.run.runner import FAILURES, RunContext, WorkItems, failures_of, run_context, write_predictions
from gan2shape_jax.run.runtime import cadence_of
from gan2shape_jax.training import checkpoint, loop, network_files
from gan2shape_jax.training.devices import padding_note
from gan2shape_jax.training.shared import require_enough, shared
from gan2shape_jax.training.task import Task


def require_startable(config: ConfigDict, names: list[str]) -> int:
    """Returns how many batches share an iteration: the number that the run in the folder started with, if there is one.

    A run that is resumed on a different number of devices continues as it began. Nothing is written. Raises
    `UserError`: there are too few images, or the folder's run has others or another configuration.
    """
    require_enough(len(names), config.sampling.collect_iters)
    root = pathlib.Path(config.workdir)
    record = joint_record(root)
    if record.get("images", names) != names:
        raise UserError(
            f"{root} holds a joint run on the images of {root / 'images.txt'}, but the list now has other images or "
            "another order: choose another --config.workdir; for new images and these networks use "
            "--config.mode=predict "
            f"--config.networks.pretrained={root / 'networks.safetensors'}"
        )
    if record.get("configuration") not in (None, config_hash(config)):
        raise UserError(f"{root} holds a joint run of another configuration: choose another --config.workdir")
    count, images = record.get("batches_per_iteration") or replicas_of(config), len(names)
    if config.schedule.independent and count > images:
        raise UserError(
            f"{count} batches an iteration need as many images, but the list has {images}: add images, "
            f"or set config.schedule.batches_per_iteration to {images} or less"
        )
    return int(count)


def replicas_of(config: ConfigDict) -> int:
    """Returns how many images share an iteration of a new run."""
    batches = config.schedule.batches_per_iteration or len(jax.devices())
    return batches if config.schedule.share_weight else 1


def train_jointly(plan: Plan, names: list[str]) -> int:
    """Trains on all images of the list, or goes on with that, and writes the results; returns 1 if one failed, or 0.

    Raises `UserError`: a file of the run or of any image is unusable.
    """
    with start.begin(plan.config, names, stay=True) as started:
        replicas = require_startable(plan.config, names)
        with run_context(plan, started.folder) as context:
            return _run(context, names, started, replicas)


def _run(context: RunContext, names: list[str], started: start.Start, replicas: int) -> int:
    """Does the work of `train_jointly`, in a folder that has been tidied."""
    config, folder, frozen = context.config, context.folder, context.frozen
    if folder.team.leads:
        atomic_text(folder.root / "images.txt", "\n".join(names) + "\n")
        note_joint(folder.root, images=names, configuration=config_hash(config), batches_per_iteration=replicas)
    images, failures = [], dict[str, str]()
    for name in names:
        try:
            images.append(prepare.load_image(context.plan, name, context.architecture, frozen, folder.latents))
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
        replicas=replicas,
        different=config.schedule.independent,
    )
    if note := padding_note(task.replicas, task.mesh, "batches"):
        context.monitor.say(note)
    by_name = dict(zip(names, images, strict=True))
    grader = trust.load_grader(context.plan, (context.architecture, frozen.discriminator))
    if not started.trained:
        initial = prepare.initial_params(context.plan, task.settings)
        if context.plan.model is None:
            context.monitor.say("results come when training is done: there is no model that could predict them")
        else:
            own = [name for work_item in started.work_items for name in work_item]
            with WorkItems(folder, names, context.monitor.say) as work_items:
                write_predictions(context, own, work_items, by_name.__getitem__, lambda settings: initial, grader)
        made_with = {"images": list(task.names), "batches_per_iteration": task.replicas}
        train(context, task, initial, title="all-images", made_with=made_with)
    jax.distributed.shutdown()  # from here on each host writes results on its own, from the files of host 0
    if not started.trained:
        hosts.wait_for(lambda: is_trained(folder.root))
    if folder.team.leads:
        checkpoint.discard(folder.group_checkpoints("all"))  # the networks and the history have been written
    like = models.shapes(task.settings)
    params = network_files.load_networks(folder.networks, like, task.settings)
    history = json.loads((folder.root / "history.json").read_text())

    def write(name: str) -> None:
        """Writes one image's results from the shared networks."""
        folder.require()
        prepared = dataclasses.replace(by_name[name], settings=task.settings)  # so that programs are shared
        own = loop.own_history(history, prepared.name)
        explain.write(
            explain.explain(params, prepared, frozen, grader, history=own),
            folder.result(prepared.name),
            config,
            project=explain.projector(params, prepared, frozen),
            extra={"history.csv": explain.history_csv(own).encode()},
        )

    with WorkItems(folder, names, context.monitor.say) as work_items:
        for (name,) in work_items.unfinished(started.work_items):
            work_items.write({name: functools.partial(write, name)})
        return work_items.status


def train(
    context: RunContext,
    task: Task,
    initial: models.Params,
    *,
    title: str,
    made_with: Mapping[str, Any],
    drawn: Callable[[Phase, Prediction], Prediction] | None = None,
) -> None:
    """Trains the networks from `initial`, or resumes from a checkpoint, and writes them with their history.

    `title` is for the console and the curves; `made_with` is what checkpoints must match besides the configuration.
    `drawn` receives the reconstruction at the end of a phase and returns what is shown in TensorBoard; None shows it
    unchanged.
    """
    config, folder = context.config, context.folder
    cadence = dataclasses.replace(cadence_of(config), per_call=1)  # every iteration uses another image
    # Only where the history has a row: each checkpoint has passed the task's checks.
    if config.mode == "lift" and not config.lift.pictures:
        cadence = dataclasses.replace(cadence, checkpoint=-(-cadence.checkpoint // cadence.log) * cadence.log)
    with context.monitor.watch([title]) as watcher:
        if drawn:
            show = watcher.on_phase_end
            watcher = dataclasses.replace(watcher, on_phase_end=lambda phase, view: show(phase, drawn(phase, view)))
        state, history = loop.run_schedule(
            *(task, context.plan.schedule, initial, folder.group_checkpoints("all"), cadence, watcher),
            {"configuration": config_hash(config), **made_with},
        )
    if not folder.team.leads:
        return
    folder.require()
    atomic_text(folder.root / "history.json", json.dumps(history) + "\n")
    atomic_text(folder.root / "history.csv", explain.history_csv(history))
    atomic_bytes(folder.networks, network_files.networks_bytes(state.params))
