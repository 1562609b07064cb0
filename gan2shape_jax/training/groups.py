"""Which images are reconstructed at once, and how a restarted run finds its unfinished groups.

    WORKDIR/.groups/group-XXXXXXXX.json      names of the images of a group that is being trained

A group's checkpoints hold the state of all its images, so a group is resumed with the same images even if the run is
restarted with another group size or number of hosts. The file is removed together with the checkpoints, which
themselves record their images in case the file is lost earlier; one that cannot be read is set aside.
"""

import json
import pathlib
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import MIB, atomic_text, parsed, read_text, set_aside
from gan2shape_jax.method import iteration, models
from gan2shape_jax.method import state as state_lib
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.step3 import STEP3
from gan2shape_jax.method.streams import Stream
from gan2shape_jax.training import devices
from gan2shape_jax.training.task import independent, phase_keys, program

_FOLDER = ".groups"
# Share of the memory that is free when the first group starts; the rest covers estimation errors and outputs.
_SHARE = 0.8
# Beyond this, more images at once lengthen each step without shortening the whole run.
_MOST_A_DEVICE = 64


def key_of(names: Sequence[str]) -> str:
    """Returns the group's name, used for its checkpoints and for the file that lists its images."""
    return f"group-{zlib.crc32(chr(10).join(names).encode()):08x}"


def record(root: pathlib.Path, names: Sequence[str]) -> None:
    """Records that these images are being trained together."""
    atomic_text(root / _FOLDER / f"{key_of(names)}.json", json.dumps(list(names)) + "\n")


def finish(root: pathlib.Path, names: Sequence[str]) -> None:
    """Removes the record of a group whose results have been written."""
    (root / _FOLDER / f"{key_of(names)}.json").unlink(missing_ok=True)


def unfinished(root: pathlib.Path, names: Sequence[str]) -> list[list[str]]:
    """Returns the unfinished groups whose images are all in the list."""
    groups: list[list[str]] = []
    for path in sorted((root / _FOLDER).glob("group-*.json")):
        try:
            groups.append(list(map(str, parsed(read_text(path, limit=MIB)))))
        except FileNotFoundError:  # another host has just finished the group
            pass
        except (OSError, UserError, ValueError, TypeError, RecursionError) as error:
            set_aside(path, error)
    return [group for group in groups if set(group) <= set(names)]


def grouped(work_items: Sequence[Sequence[str]], size: int) -> list[list[str]]:
    """Returns the groups to train: units of several images unchanged, single images in groups of up to `size`."""
    single = [name for unit in work_items if len(unit) == 1 for name in unit]
    whole = [list(unit) for unit in work_items if len(unit) > 1]
    return whole + [single[i : i + size] for i in range(0, len(single), size)]


def choose_size(requested: int, images: int, devices: Sequence[Any], bytes_of_one: Callable[[], int]) -> int:
    """Chooses how many images are reconstructed at once.

    `requested` is the configured number, 0 to leave the choice to this function; `devices` are this host's.
    `bytes_of_one` returns the memory that one image needs; it is called only if the answer matters.

    On CPU, it is 1 unless asked otherwise, because one image keeps the cores busy, and never more than the number of
    devices, which is at most the number of cores: beyond that, images only compete for cache (docs/reports/speed.md).
    Elsewhere, it is as many as fit in the devices' free memory.
    """
    on_cpu = devices[0].platform == "cpu"
    if requested:
        return max(1, min(requested, images, len(devices) if on_cpu else requested))
    if images <= 1 or on_cpu:
        return 1
    stats = [device.memory_stats() or {} for device in devices]
    if not all("bytes_limit" in device for device in stats):
        return min(images, len(devices))
    free = min(device["bytes_limit"] - device.get("bytes_in_use", 0) for device in stats)
    return min(images, len(devices) * max(1, min(int(_SHARE * free / max(bytes_of_one(), 1)), _MOST_A_DEVICE)))


def bytes_of_one(prepared: state_lib.PreparedImage, frozen: FrozenModels) -> int:
    """Returns the memory, in bytes, that one image takes in step 3, the most demanding step.

    This covers its state twice, its samples and all intermediate values, as reported by the compiler; what all images
    share (the GAN) is not counted.
    """
    settings, task = prepared.settings, independent([prepared], frozen)
    square = (settings.sample_count, settings.image_size, settings.image_size)

    def moving(params: models.Params) -> tuple[state_lib.TrainState, state_lib.ProjectedSamples]:
        state = state_lib.initial_state(params, settings)
        samples = state_lib.ProjectedSamples(images=jnp.zeros((*square, 3)), masks=jnp.zeros(square))
        return devices.stack([(iteration.fresh_optimizer(state, STEP3.networks, settings), samples)])

    state, samples = jax.eval_shape(moving, models.shapes(settings))
    keys = phase_keys(task.example.key, 0, stream=Stream.TRAIN)
    number = jax.ShapeDtypeStruct((), jnp.int32)
    run = program(STEP3, flip=True, count=1, mesh=task.mesh)
    compiled = run.lower(state, samples, task.example, keys, number, task.frozen, task.settings).compile()
    memory = compiled.memory_analysis()
    shared = sum(leaf.nbytes for leaf in jax.tree.leaves(task.frozen))
    return memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes - shared
