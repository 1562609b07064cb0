"""Work divided among actors of Ray Data: one for each GPU or for two cores, in which the model stays loaded.

Any work, by `answers`, and the images of a run: `--config=NAME --cluster ray`, predicted or each refined. List, images
and WORKDIR lie in folders that all machines share. An actor makes images in a folder of its own, as a run like any
other, and puts each result into WORKDIR as a whole.

Ray starts an actor again that dies. The images of its batch are tried again when the others are done, one by one, so
that one that takes its worker down takes no other with it.
"""

import atexit
import contextlib
import hashlib
import importlib
import importlib.util
import io
import json
import logging
import math
import os
import pathlib
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from ml_collections import ConfigDict

import gan2shape_jax
from gan2shape_jax.config import to_json
from gan2shape_jax.config.load import read_config
from gan2shape_jax.errors import ConfigError, UserError, install, message_line, one_line
from gan2shape_jax.io.files import atomic_bytes, atomic_folder, atomic_text, read_object, remove_folder
from gan2shape_jax.io.image_lists import stem_of

CORES = 2  # of an actor without a GPU: more make one image hardly faster
AT_ONCE = 8  # images of a batch that take seconds, as `photo` takes them: what a batch loads, it loads once
_ATTEMPTS = 3  # at an image, the later ones by itself
_PATIENCE_S = 10  # for a cluster to answer
_MOST = 10_000  # pieces that Ray's scheduler is given
_PASSED_ON = ("JAX_", "XLA_", "TF_CPP_")  # beginnings of the names of settings that actors take from the command


def require_ray() -> None:
    """Raises `UserError` without the extra `cluster`."""
    for name in ("ray", "fsspec", "pyarrow"):
        if importlib.util.find_spec(name) is None:
            raise UserError(f"--cluster ray needs {name}, which is not installed: {install('cluster')} brings it")


def answers(
    maker: str,
    task: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    *,
    at_once: int,
    log: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """Yields one answer for each item, in any order, made by the actors of a cluster.

    The cluster is the one of RAY_ADDRESS or of this machine, or else one is started here. Everything that crosses
    machines is JSON. `maker`, `module:function`, is called with the task, which all items share, in each actor, before
    anything imports JAX, and returns a function that makes answers of a batch of `at_once` items; each answer has its
    item's `name`. Raises `UserError`: an actor cannot do anything with the task, or the cluster is lost.
    """
    with _connected():
        import ray
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        cpus, gpus, count = _workers(ray.nodes())
        kind = "a GPU" if gpus else f"{cpus} core{'s'[: cpus > 1]}"
        log(f"Ray: {count} worker{'s'[: count > 1]} with {kind} each")
        environment = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        environment |= {} if gpus else {"NPROC": str(cpus)}  # XLA's threads
        setting = json.dumps(
            {"maker": maker, "task": task, "environment": environment, "version": gan2shape_jax.__version__}
        )
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars, context.max_errored_blocks = False, -1  # what is missing is tried again
        left = {item["name"]: item for item in items}
        for attempt, most in enumerate((at_once, *[1] * (_ATTEMPTS - 1))):
            if attempt and left:
                log(f"{len(left)} lost their worker or failed: trying again, one by one")
            size = max(1, min(most, math.ceil(len(left) / (2 * count))))
            waiting = list(left.values())
            batches = [{"items": json.dumps(waiting[k : k + size])} for k in range(0, len(waiting), size)]
            if not batches:
                return
            size = min(count, len(batches))
            actors: dict[str, Any] = {
                "fn_constructor_args": (setting,),
                "compute": ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
                "num_cpus": cpus,
                "num_gpus": gpus,
                "ray_remote_args_fn": lambda: {"max_task_retries": 0},  # by default without end
            }
            data = ray.data.from_items(batches, override_num_blocks=min(len(batches), _MOST))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # of the last, which has no successor yet
                    made = data.map(cast(Any, Worker), **actors)
                for row in made.iter_rows():
                    if row["ended"]:
                        raise UserError(row["ended"])
                    for answer in json.loads(row["answers"]):
                        if left.pop(answer["name"], None) is not None:
                            yield answer
            except ray.exceptions.RayError as error:
                why = message_line(str(error))[:300]
                raise UserError(f"the Ray cluster has failed: {why}; start the same command again") from error
        for name in left:
            why = f"its worker died in each of {_ATTEMPTS} attempts; Ray's logs may say why"
            yield {"name": name, "failed": {name: why}}


@contextlib.contextmanager
def _connected() -> Iterator[None]:
    """Connects this process to the cluster while the block lasts, unless it is connected already."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        _require_answer(address)
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises just that if it cannot start in time
        what = f"there is no Ray cluster at RAY_ADDRESS={address}" if address else "Ray does not start here"
        raise UserError(f"{what}: {message_line(str(error))[:300]}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Raises `OSError` if nothing answers at the host and port of an address; Ray itself would wait without end."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_S).close()


def _workers(nodes: Sequence[Mapping[str, Any]]) -> tuple[int, int, int]:
    """Returns the cores and GPUs of a worker, and how many workers the machines that are there have room for."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if gpus := sum(int(resources.get("GPU", 0)) for resources in alive):
        return 1, 1, gpus
    cores = [int(resources.get("CPU", 0)) for resources in alive]
    cpus = CORES if max(cores, default=0) >= CORES else 1
    return cpus, 0, max(1, sum(number // cpus for number in cores))


def scratch() -> pathlib.Path:
    """Returns a folder of this actor's own, which is removed when it ends."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="gan2shape-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Worker:
    """What runs in an actor; loads what it needs with the first batch."""

    def __init__(self, setting: str):
        self._setting = json.loads(setting)
        os.environ.update(self._setting["environment"])  # JAX reads it when it is imported
        self._make: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] | None = None

    def __call__(self, row: Mapping[str, str]) -> dict[str, str]:
        """Returns the answers for a batch, or why no batch can be made; what else goes wrong is tried again."""
        items = json.loads(row["items"])
        silent = io.StringIO()
        try:
            with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
                answers = self._made(items)
        except UserError as error:
            return {"ended": str(error), "answers": "[]"}
        except Exception as error:
            if len(items) > 1:
                raise
            name = items[0]["name"]
            why = f"{type(error).__name__}: {message_line(str(error))[:300]}"
            answers = [{"name": name, "failed": {name: why}}]
        return {"ended": "", "answers": json.dumps(answers)}

    def _made(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self._make is None:
            if (version := self._setting["version"]) != gan2shape_jax.__version__:
                here = f"this machine has {gan2shape_jax.__version__}"
                raise UserError(f"the command runs version {version}, {here}: install the same everywhere")
            module, _, function = self._setting["maker"].partition(":")
            self._make = getattr(importlib.import_module(module), function)(self._setting["task"])
        return self._make(items)


def run_images(config: ConfigDict) -> int:
    """Has a cluster make every image of the list that is not finished; returns 0, or 1 if an image failed.

    Raises `UserError`: the configuration, a file or the folder is unusable, or no worker can do anything with it.
    """
    if config.recipe not in ("predict", "train", "refine") or not config.schedule.reset_weight:
        alone = "images that are predicted or trained independently of each other"
        raise ConfigError(f"--cluster ray is for {alone} (config.recipe, config.schedule.reset_weight)")
    require_ray()
    from gan2shape_jax.plan import recipe
    from gan2shape_jax.run import folder  # which import JAX
    from gan2shape_jax.run.images import WorkItems

    plan, names = recipe.ready(config)
    at_once = AT_ONCE if config.recipe == "predict" else 1

    def log(line: Any) -> None:
        print(one_line(str(line)), flush=True)

    with folder.opened(plan, names) as run, WorkItems(run.folder, names, log) as work_items:
        # What is left to the program is the same for every worker.
        task = {"config": to_json(run.config), "workdir": os.path.abspath(config.workdir), "folder": os.getcwd()}
        work_items.redraw(run)
        items = [{"name": stem_of(name), "file": name} for name in run.unmade]
        for answer in answers(f"{__name__}:image_maker", task, items, at_once=at_once, log=log) if items else ():
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
    own, workdir = scratch(), pathlib.Path(task["workdir"])
    (own / "config.json").write_text(task["config"])
    config = read_config(own / "config.json").unlock()
    config.logging.tensorboard = False
    checkpoints = config.checkpoint.folder or str(workdir / "checkpoints")

    def make(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        run = pathlib.Path(tempfile.mkdtemp(dir=own))
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
                    remove_folder(pathlib.Path(config.checkpoint.folder))
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
