"""Run by test_group_devices.py in a process of eight simulated devices; prints what it finds as JSON.

Eight images on eight devices make two iterations of a step; the same images on one device, each in a group
of its own, have to come to the same.
"""

import dataclasses
import json
import pathlib
import re
import sys

import jax

jax.config.update("jax_num_cpu_devices", 8)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from gan2shape_jax.method import models, sampling  # noqa: E402
from gan2shape_jax.run import prepare, runtime  # noqa: E402
from gan2shape_jax.run.folder import RunFolder  # noqa: E402
from gan2shape_jax.training import devices as devices_lib  # noqa: E402
from gan2shape_jax.training import task as task_lib  # noqa: E402
from helpers.tiny import asset, tiny_config  # noqa: E402

_COLLECTIVE = re.compile(r"all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|all_reduce|all_gather")


def _images(folder: pathlib.Path):
    names = sorted(path.name for path in pathlib.Path(asset("ictface/image")).glob("*.png"))
    config = tiny_config(
        folder,
        names=names,
        schedule__use_mask=True,
        schedule__stages=((2, 2, 2),),
        prior__iterations=2,
        schedule__flip3=(True,),
    )
    architecture, frozen = prepare.load_frozen(config)
    ready = [prepare.load_image(config, name, architecture, frozen, RunFolder(folder).latents) for name in names]
    for index in range(2):  # two more images: the same pictures with draws of their own
        problem = dataclasses.replace(ready[index].problem, key=jax.random.key(100 + index))
        ready.append(dataclasses.replace(ready[index], name=f"again{index}", problem=problem))
    return ready, frozen, runtime.schedule_of(config)


def _two_iterations(task, phase, initial):
    """The parameters afterwards, and the compiled program."""
    state = task.begin(task.initial(initial), phase)
    constants = task.phase_constants(state, phase)
    keys = task_lib.phase_keys(task.problem.key, phase.number, use=sampling.TRAIN)
    run = task_lib.program(phase.kind, flip=phase.flip, count=1, layout=task.layout)
    lowered = run.lower(state, constants, task.problem, keys, jnp.asarray(0, jnp.int32), task.frozen, task.settings)
    for iteration in range(2):
        state, _ = task.advance(state, phase, iteration, constants, 1)
    return jax.tree.map(np.asarray, state.params), lowered


def main() -> None:
    ready, frozen, schedule = _images(pathlib.Path(sys.argv[1]))
    initial = models.init_params(jax.random.key(0), ready[0].settings)
    devices = jax.devices()
    for phase in (one for one in schedule if one.step in sys.argv[2:]):
        task = task_lib.independent(ready, frozen, devices_lib.layout_of(len(ready), devices))
        together, lowered = _two_iterations(task, phase, initial)
        worst = moved = 0.0
        for index in (0, 7):
            alone, _ = _two_iterations(
                task_lib.independent([ready[index]], frozen, devices_lib.layout_of(1, devices[:1])), phase, initial
            )
            pairs = zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True)
            worst = max(worst, *(float(np.abs(a[index] - b[0]).max()) for a, b in pairs))
            pairs = zip(jax.tree.leaves(alone), jax.tree.leaves(initial), strict=True)
            moved = max(moved, *(float(np.abs(a[0] - np.asarray(b)).max()) for a, b in pairs))
        print(
            "record",
            json.dumps(
                {
                    "step": phase.step,
                    "devices": task.layout.devices,
                    "worst": worst,
                    "moved": moved,
                    "lowered": len(_COLLECTIVE.findall(lowered.as_text())),
                    "compiled": len(_COLLECTIVE.findall(lowered.compile().as_text())),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
