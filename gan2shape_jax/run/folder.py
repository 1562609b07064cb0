"""The folder of a run: its paths, what exists in it, and what a start does with that.

WORKDIR/config.json     the resolved configuration and the run's identity; results and checkpoints carry its fingerprint
WORKDIR/versions.json   what the run was made with
WORKDIR/results/NAME/   an image's results, apart from the run's own files
WORKDIR/                .gan2shape_jax.json (see `io.output_folders`), .lock (see `run.lock`)
WORKDIR/                failures.json  results.csv  results.md  index.html  latents/NAME.npy
WORKDIR/                checkpoints/NAME/  tensorboard/NAME/

A start locks the folder (`opened`), reads it once and decides once. Hosts that train together wait until all are there;
the first one writes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

import gan2shape_jax
from gan2shape_jax.config import to_json
from gan2shape_jax.config.load import read_config
from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.data import inputs_of
from gan2shape_jax.io.files import atomic_text, clear_leftovers, read_object, set_aside, spare_unreadable
from gan2shape_jax.io.image_lists import stem_of
from gan2shape_jax.io.output_folders import CHECKPOINTS, RUN, require_output_folder
from gan2shape_jax.plan.identity import Identity, digest, identity_of, read_identity, resolve_auto
from gan2shape_jax.plan.recipe import Plan
from gan2shape_jax.results import AWAITS, examine, load_metrics
from gan2shape_jax.run import lock
from gan2shape_jax.training import devices
from gan2shape_jax.training.checkpoint import made_with
from gan2shape_jax.training.resume import INPUTS, Decision, Existing, Requested, State, decide

TRAINED = ("networks.safetensors", "history.json", "history.csv")
DETAIL = "detail"  # the folder, in a lift's, of the training with which it ends
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml_collections")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths of a run, and what has failed."""

    root: pathlib.Path  # the run's folder
    checkpoint_folder: pathlib.Path | None = None  # where checkpoints are kept; None is in the run's folder
    # Functions that raise `FatalRunError` if a folder is this run's no longer.
    requires: Sequence[Callable[[], None]] = ()

    @classmethod
    def at(cls, config: ConfigDict) -> RunFolder:
        """Returns the folder that the configuration names; nothing is written."""
        kept = config.checkpoint.folder
        return cls(pathlib.Path(config.workdir), pathlib.Path(kept) if kept else None)

    def describe(self, config: ConfigDict, identity: Identity, plan: Mapping[str, Any] | None = None) -> None:
        """Writes the configuration and the versions of this start; `UserError` if that fails.

        `plan` is what the file says of what the run does, see `Plan.record`; it is not read again.
        """
        device = jax.local_devices()[0]
        versions = {
            "gan2shape_jax": gan2shape_jax.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "device": f"{device.platform} {device.device_kind}",
            "seed": config.seed,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        }
        tree = json.loads(to_json(config)) | {"identity": identity.record()} | ({"plan": dict(plan)} if plan else {})
        spare_unreadable(self.root / "config.json", read_config)
        atomic_text(self.root / "config.json", json.dumps(tree, indent=2, sort_keys=True) + "\n")
        atomic_text(self.root / "versions.json", json.dumps(versions, indent=2) + "\n")

    def require(self) -> None:
        """Raises `FatalRunError` if one of the folders that the run has locked was taken away from it."""
        for require in self.requires:
            require()

    def result(self, name: str) -> pathlib.Path:
        """Returns the folder of an image's results."""
        return results_root(self.root) / name

    @property
    def leads(self) -> bool:
        """Whether this process writes: the only one, or the first of hosts that train together."""
        return jax.process_index() == 0

    @property
    def checkpoint_root(self) -> pathlib.Path:
        """Folder of the checkpoints."""
        return self.checkpoint_folder or self.root / "checkpoints"

    def checkpoints(self, name: str) -> pathlib.Path:
        """Returns the folder of an image's checkpoints: its name, or a hash of one that Orbax takes for a pattern."""
        pattern = glob.has_magic(name)
        return self.checkpoint_root / (f".image-{digest(name)}" if pattern else name)

    @property
    def shared_checkpoints(self) -> pathlib.Path:
        """Folder of the checkpoints of networks that all images share."""
        return self.checkpoint_root / ".all"

    @property
    def networks(self) -> pathlib.Path:
        """File of the trained networks shared by all images of a joint run."""
        return self.root / "networks.safetensors"

    @property
    def latents(self) -> pathlib.Path:
        """Folder of the latents that the run itself finds."""
        return self.root / "latents"

    def existing(self, name: str) -> Existing:
        """Returns what exists of an image's result."""
        if not is_result(folder := self.result(name)):
            return Existing()
        try:
            made_with = examine(folder)
            state: State = "complete" if self.is_finished(name) else "provisional"
        except UserError as error:
            return Existing(fault=str(error))
        facts = {key: made_with[key] for key in ("configuration", *INPUTS) if made_with.get(key) is not None}
        return Existing(state, facts, str(made_with.get("drawing", "")))

    @property
    def joint(self) -> dict[str, Any]:
        """What a run that trains one set of networks has noted in `joint.json`; {} if none can be read."""
        try:
            return read_object(self.root / "joint.json", "the record of a joint run")
        except (OSError, UserError):
            return {}

    def note_joint(self, **facts: Any) -> None:
        """Adds facts, such as the images that networks are trained on, to `joint.json`."""
        spare_unreadable(self.root / "joint.json", lambda path: read_object(path, "the record of a joint run"))
        atomic_text(self.root / "joint.json", json.dumps(self.joint | facts, indent=2) + "\n")

    @property
    def existing_networks(self) -> Existing:
        """What exists of networks that are trained together; each of their files appears whole."""
        facts: dict[str, Any] = {key: self.joint[key] for key in ("configuration", "images") if key in self.joint}
        trained = all((self.root / name).is_file() for name in TRAINED)
        return Existing("complete" if trained else "begun" if facts else "nothing", facts)

    def is_finished(self, name: str) -> bool:
        """Returns whether the image's results exist, and are no prediction that a refinement is to replace.

        Results folders appear complete or not at all; one that cannot be read is finished.
        """
        folder = self.result(name)
        if not is_result(folder):
            return False
        with contextlib.suppress(OSError, UserError):
            return not load_metrics(folder).get(AWAITS)
        return True

    def write_failures(self, failures: dict[str, str]) -> None:
        """Writes `failures.json`, or removes it if there are none."""
        path = self.root / "failures.json"
        if failures:
            atomic_text(path, json.dumps(failures, indent=2) + "\n")
        else:
            path.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run in its folder, and what is left to do."""

    plan: Plan  # with nothing left to the program
    identity: Identity
    folder: RunFolder
    images: Mapping[str, Decision]  # what happens to the images, by name
    networks: Decision  # what happens to networks that all images share
    faults: Mapping[str, str]  # why results cannot be read, by their images' stems

    @property
    def config(self) -> ConfigDict:
        """The run's configuration."""
        return self.plan.config

    @property
    def unmade(self) -> list[str]:
        """The images that are left to compute, by name."""
        return [name for name, decision in self.images.items() if not decision.exists]

    def requested(self, name: str) -> Requested:
        """Returns what is asked for of an image's result."""
        facts = {"configuration": self.identity.fingerprint, **inputs_of(self.config, name)}
        place = f"{self.folder.result(stem_of(name))} holds a result"
        return Requested(facts, self.identity.drawing, place=place)

    def requested_networks(self, names: Sequence[str] = ()) -> Requested:
        """Returns what is asked for of networks that all images share; `names` are these if they are a user's."""
        images: dict[str, Any] = {"images": list(names)} if names else {}
        advice = (
            "choose another --config.workdir; for new images and these networks use --config.recipe=predict "
            f"--config.networks.pretrained={self.folder.networks}"
        )
        facts, place = {"configuration": self.identity.fingerprint, **images}, f"{self.folder.root} holds networks"
        return Requested(facts, place=place, advice=advice)


@contextlib.contextmanager
def opened(plan: Plan, names: Sequence[str]) -> Iterator[Run]:
    """Locks the run's folder until the block is left; must precede the first computation.

    `names` are those in the image list. Hosts that train networks together wait for each other and are connected.
    Raises `UserError`: another run has the folder, it holds another one, or a host is missing.
    """
    with contextlib.ExitStack() as stack:
        folder = _locked(stack, plan, names)
        run = _decided(plan, folder, names)
        if folder.leads:  # once the folder is known to be this run's
            of_images = (place / stem_of(name) for name in names for place in (folder.result(""), folder.latents))
            for place in dict.fromkeys([folder.root, *(path.parent for path in of_images)]):
                clear_leftovers(place)
        for name, why in run.faults.items() if folder.leads else ():
            set_aside(folder.result(name), f"it is incomplete: {why}; the image is reconstructed again")
        try:
            yield run
        except Exception:
            folder.require()  # if the folder was taken away, that is the reason
            raise


def require_usable(plan: Plan, names: Sequence[str]) -> None:
    """Raises `UserError` if what the run's folder holds, or its name, does not go with this run; nothing is written."""
    folder = RunFolder.at(plan.config)
    for place, kind, option in _places(plan, folder):
        if kind:
            require_output_folder(place, kind, option)
    _decided(plan, folder, names)


def _places(plan: Plan, folder: RunFolder) -> list[tuple[pathlib.Path, str, str]]:
    """Returns the folders that a run holds: its own and that of its checkpoints, which another run might also use.

    With the kind of each, '' for one inside the run's, and the field that names it.
    """
    own, kept, field = (folder.root, RUN, "config.workdir"), folder.checkpoint_root, "config.checkpoint.folder"
    if not plan.recipe.trains:
        return [own]
    require_no_pattern(kept)
    if os.path.realpath(kept) == os.path.realpath(folder.root):
        return [own]
    return [own, (kept, CHECKPOINTS if folder.checkpoint_folder else "", field)]


def _locked(stack: contextlib.ExitStack, plan: Plan, names: Sequence[str]) -> RunFolder:
    """Locks the folders of a run and connects its hosts; returns its folder."""
    folder, command = RunFolder.at(plan.config), plan.config.to_dict()
    del command["workdir"], command["runtime"]["compilation_cache"]  # paths on the machine itself
    run, timeout_s = digest([command, list(names)]), plan.config.runtime.hosts_timeout_s
    index, count = devices.host_of(os.environ) if plan.recipe.shares_networks else (0, 1)
    requires = [
        stack.enter_context(lock.hold(place, kind, option=option, run=run))
        for place, kind, option in (_places(plan, folder) if index == 0 else ())
    ]
    if count > 1:
        requires = [lock.meet(folder.root, run, index, count, timeout_s)]
        devices.connect(index, count, timeout_s)
    return dataclasses.replace(folder, requires=requires)


def _decided(plan: Plan, folder: RunFolder, names: Sequence[str]) -> Run:
    """Reads the folder, and returns the run in it; devices start.

    Raises `UserError`: the folder holds another run, or cannot hold this one; a result, or networks, are another's.
    """
    if plan.ends_with_detail:  # hours before it is needed
        require_output_folder(folder.root / DETAIL, RUN, "a part of config.workdir")
    require_apart(folder.root, map(stem_of, names))
    before, began = None, Existing()
    with contextlib.suppress(FileNotFoundError, UserError):  # results say themselves what they were made with
        before, identity = read_identity(folder.root / "config.json")
        began = Existing("begun", identity.computed)
    plan = dataclasses.replace(plan, config=resolve_auto(plan.config, plan.recipe, before))
    run = Run(plan, identity_of(plan.config), folder, {}, Decision.MAKE, {})
    decide(began, Requested(run.identity.computed, place=f"{plan.config.workdir} holds a run"))
    if began.state == "nothing" and plan.recipe.trains:  # or its `config.json` is lost
        own = {"configuration": run.identity.fingerprint}
        shared = [folder.shared_checkpoints] if plan.recipe.shares_networks else []
        for place in shared or [folder.checkpoints(stem_of(name)) for name in names]:
            decide(Existing("begun", made_with(place)), Requested(own, place=f"{place} has a checkpoint"))
    existing = {name: folder.existing(stem_of(name)) for name in names}
    # Of what does not exist, the inputs are read when it is made.
    images = {
        name: Decision.MAKE if result.state == "nothing" else decide(result, run.requested(name))
        for name, result in existing.items()
    }
    networks = Decision.MAKE
    if plan.recipe.shares_networks:
        networks = decide(folder.existing_networks, run.requested_networks(names))
    faults = {stem_of(name): result.fault for name, result in existing.items() if result.fault}
    return dataclasses.replace(run, images=images, networks=networks, faults=faults)


def require_no_pattern(checkpoints: pathlib.Path) -> None:
    """Raises `UserError` if the path of a run's checkpoints has characters that Orbax reads as a glob pattern."""
    if glob.has_magic(path := os.path.abspath(checkpoints)):
        raise UserError(
            f"checkpoints cannot be stored in {path}: their library treats *, ? and [ as a pattern; name a "
            "folder without these (config.checkpoint.folder, or config.workdir)"
        )


def results_root(run: pathlib.Path) -> pathlib.Path:
    """Returns the folder of all images' results."""
    return run / "results"


def is_result(folder: pathlib.Path) -> bool:
    """Returns whether a folder contains the results of an image."""
    return os.path.isfile(folder / "result.json")


def require_apart(run: pathlib.Path, stems: Iterable[str]) -> None:
    """Raises `UserError` if images' results would replace, or be inside, those of images in an earlier list."""
    for stem in stems:
        folder = results_root(run) / stem
        places = list(folder.parents[: stem.count("/")])
        if folder.is_dir() and not is_result(folder):
            places += [path.parent for path in folder.rglob("result.json")]
        if other := next(filter(is_result, places), None):
            raise UserError(
                f"the results of {one_line(stem)} would go to {folder}, but an earlier list wrote them to "
                f"{other}: rename the image, or choose another --config.workdir"
            )


def run_above(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the run that contains a folder, directly or among its results; None if there is none."""
    runs = (above for above in folder.parents if (above / "config.json").is_file())
    return next((run for run in runs if run == folder.parent or folder.is_relative_to(results_root(run))), None)


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """A run's folder at its current location, which may not be where it was made, and its resolved configuration."""

    root: pathlib.Path
    config: ConfigDict

    def locate(self, path: str) -> pathlib.Path:
        """Returns where a file or folder named in the configuration is now; the path as given if it is not found.

        Relative paths are resolved against the folder that the run was started in, if it can still be told from the
        run's folder, or else the current one. Files that come with the package are also looked up in this installation.
        """
        stored_path, workdir, root = pathlib.Path(path), pathlib.Path(self.config.workdir), self.root.resolve()
        places = [stored_path]
        if not stored_path.is_absolute() and root.parts[-len(workdir.parts) :] == workdir.parts:
            places.insert(0, root.parents[len(workdir.parts) - 1] / stored_path)
        _, inside, name = stored_path.as_posix().rpartition("/gan2shape_jax/assets/")
        if inside:
            places.append(pathlib.Path(asset(name)))
        return next((place for place in places if path and place.exists()), stored_path)


def find_run(result: pathlib.Path, run: str | pathlib.Path | None = None) -> SavedRun:
    """Returns the run that a results folder belongs to: `run`, or where none is named the one that contains it.

    A result that says itself what it was made with, such as one of `gan2shape-jax photo`, need not be like the others.
    Raises `UserError`: there is no run, or its configuration cannot be read.
    """
    root = pathlib.Path(run) if run is not None else run_above(result.resolve()) or result.resolve().parents[1]
    config = next((place / "config.json" for place in (result, root) if (place / "config.json").is_file()), None)
    if config is None:
        raise UserError(
            f"{root} is not the folder of a run: {root / 'config.json'} is missing. The GAN's pictures need the "
            "configuration of the result: leave the result in its run's folder, or name that folder "
            "with --run FOLDER (--version 3d needs none)"
        )
    return SavedRun(root, read_config(config))
