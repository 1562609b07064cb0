"""`--config=NAME --cluster ray`: the images of a list, predicted or each refined, by the workers of a cluster.

List, images and WORKDIR lie in folders that all machines share. A worker makes images in a folder of its own, as a run
like any other, and puts each result into WORKDIR as a whole.
"""

import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from gan2shape_jax.apps.cluster import engine
from gan2shape_jax.config import to_json
from gan2shape_jax.config.load import read_config
from gan2shape_jax.errors import ConfigError, UserError, one_line
from gan2shape_jax.io.files import atomic_bytes, atomic_folder, atomic_text, read_object, remove_folder
from gan2shape_jax.io.image_lists import stem_of

_MAKER = f"{__name__}:image_maker"


def run_images(config: ConfigDict) -> int:
    """Has a cluster make every image of the list that is not finished; returns 0, or 1 if an image failed.

    Raises `UserError`: the configuration, a file or the folder is unusable, or no worker can do anything with it.
    """
    if config.recipe not in ("predict", "train", "refine") or not config.schedule.reset_weight:
        alone = "images that are predicted or trained independently of each other"
        raise ConfigError(f"--cluster ray is for {alone} (config.recipe, config.schedule.reset_weight)")
    engine.require_ray()
    from gan2shape_jax.plan import recipe
    from gan2shape_jax.run import folder  # which import JAX
    from gan2shape_jax.run.images import WorkItems

    plan, names = recipe.ready(config)
    at_once = engine.AT_ONCE if config.recipe == "predict" else 1

    def log(line: Any) -> None:
        print(one_line(str(line)), flush=True)

    with folder.opened(plan, names) as run, WorkItems(run.folder, names, log) as work_items:
        # What is left to the program is the same for every worker.
        task = {"config": to_json(run.config), "workdir": os.path.abspath(config.workdir), "folder": os.getcwd()}
        work_items.redraw(run)
        items = [{"name": stem_of(name), "file": name} for name in run.unmade]
        for answer in engine.answers(_MAKER, task, items, at_once=at_once, log=log) if items else ():
            work_items.fail(answer["failed"])
            if not answer["failed"]:
                log(f"{answer['name']}: done")
                work_items.note(answer["name"])
        for _ in work_items.unfinished({name: each for name, each in run.images.items() if each.exists}):
            pass
        return work_items.status


def image_maker(task: Mapping[str, Any]) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """Returns the function that makes a batch of images and puts their results into the run's folder."""
    from gan2shape_jax.run.experiment import run_experiment

    try:
        os.chdir(task["folder"])
    except OSError as error:
        raise UserError(f"{task['folder']} is no folder of this worker: {error.strerror}") from error
    scratch, workdir = engine.scratch(), pathlib.Path(task["workdir"])
    (scratch / "config.json").write_text(task["config"])
    config = read_config(scratch / "config.json").unlock()
    config.runtime.hosts, config.logging.tensorboard = "one", False
    checkpoints = config.checkpoint.folder or str(workdir / "checkpoints")

    def make(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        run = pathlib.Path(tempfile.mkdtemp(dir=scratch))
        config.workdir = str(run)
        if config.recipe != "predict":  # of a batch of one, which a worker that follows takes up
            key = hashlib.sha256(items[0]["name"].encode()).hexdigest()[:16]
            config.checkpoint.folder = f"{checkpoints}/{key}"
        run_experiment(config, only=[item["file"] for item in items])
        path = run / "failures.json"
        failed = read_object(path, "a run's failures") if path.is_file() else {}
        for item in items:
            if item["name"] not in failed:
                _put(run, workdir, item["name"])
                if config.recipe != "predict":  # the marker and the lock of a worker that died
                    remove_folder(epath.Path(config.checkpoint.folder))
        told = read_object(run / "config.json", "a run's configuration") | json.loads(task["config"])
        atomic_text(workdir / "config.json", json.dumps(told, indent=2, sort_keys=True) + "\n")
        atomic_text(workdir / "versions.json", (run / "versions.json").read_text())
        shutil.rmtree(run, ignore_errors=True)
        names = [item["name"] for item in items]
        return [{"name": name, "failed": {name: failed[name]} if name in failed else {}} for name in names]

    return make


def _put(run: pathlib.Path, workdir: pathlib.Path, name: str) -> None:
    """Puts the result of an image, and the latent that the run has found, into the run's folder, each as a whole."""
    from gan2shape_jax.results.files import replaceable

    place, latent = workdir / "results" / name, run / "latents" / f"{name}.npy"
    if latent.is_file():
        (workdir / "latents" / f"{name}.npy").parent.mkdir(parents=True, exist_ok=True)
        atomic_bytes(workdir / "latents" / f"{name}.npy", latent.read_bytes())
    with atomic_folder(place, replaces=replaceable(place)) as fresh:
        shutil.copytree(run / "results" / name, fresh, dirs_exist_ok=True)
