"""Run by test_data_parallel.py in a process of eight simulated devices; prints differences as JSON.

Every phase makes two iterations of eight places, in ways that have to agree: on eight devices, and one place after
another by the single-place loss, gradients averaged and the optimiser called in Python; in the prior and step 2
also on one device with all places in one program.
"""

import dataclasses
import json
import pathlib
import sys

import jax

jax.config.update("jax_num_cpu_devices", 8)

import numpy as np  # noqa: E402
import optax  # noqa: E402

from gan2shape_jax.method import models  # noqa: E402
from gan2shape_jax.method.optimizer import optimizer  # noqa: E402
from gan2shape_jax.method.state import TrainState  # noqa: E402
from gan2shape_jax.method.steps import STEPS  # noqa: E402
from gan2shape_jax.run import prepare, runtime  # noqa: E402
from gan2shape_jax.run.folder import RunFolder  # noqa: E402
from gan2shape_jax.training import data_parallel, image_axis, joint, joint_parallel  # noqa: E402
from helpers.tiny import asset, tiny_config  # noqa: E402

PLACES = 8


def _parts(folder: pathlib.Path):
    names = sorted(path.name for path in pathlib.Path(asset("ictface/image")).glob("*.png"))
    config = tiny_config(
        folder,
        names=names,
        mode="joint",
        schedule__joint=True,
        schedule__use_mask=True,
        schedule__stages=((2, 2, 2),),
        prior__iterations=2,
        schedule__flip3=(True,),
        sampling__collect_iters=6,
        optimizer__eps=1e-3,
    )  # with a small one Adam makes a whole step of the rounding of a gradient that is zero
    architecture, frozen = prepare.load_frozen(config)
    group = [prepare.load_image(config, name, architecture, frozen, RunFolder(folder).latents) for name in names]
    task = joint.gather(group, frozen, seed=0, collect_iters=6, reference=False)
    return task, runtime.schedule_of(config)


def _keys(plan) -> jax.Array:
    return jax.random.wrap_key_data(np.asarray(jax.random.key_data(plan.keys)))


def _one_by_one(task, state: TrainState, phase, plan) -> TrainState:
    """Two iterations, place after place, on one device."""
    problems = joint_parallel.stacked(task.names, task.problems)

    step = STEPS[phase.step]

    @jax.jit
    def gradient(active, factors, number, constants, problem, key):
        seen = step.draw(key, number, factors, constants, task.frozen, task.settings)
        loss = jax.grad(step.loss, has_aux=True)
        return loss(active, *seen, problem, task.frozen, task.settings, flip=phase.flip)[0]

    for number in range(0, len(plan.order), PLACES):
        active = {name: state.params[name] for name in step.networks}
        gradients = []
        for entry in range(number, number + PLACES):
            index = plan.order[entry]
            factors, problem, key = jax.tree.map(lambda x, i=index: x[i], (state.factors, problems, _keys(plan)))
            gradients.append(gradient(active, factors, entry, plan.constants(entry), problem, key))
        mean = jax.tree.map(lambda *each: sum(each) / PLACES, *gradients)
        updates, opt_state = optimizer(task.settings).update(mean, state.opt_state, active)
        state = dataclasses.replace(
            state, params={**state.params, **optax.apply_updates(active, updates)}, opt_state=opt_state
        )
    return state


def _together(task, state, phase, plan):
    for iteration in range(phase.iterations):
        state, scalars = task.advance(state, phase, iteration, plan, 1)
    return data_parallel.on_host(state), float(scalars["loss"])


def _difference(first, second) -> float:
    """The largest difference, relative to the largest value of each array."""
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return max(float(np.abs(a - b).max() / max(np.abs(np.asarray(a)).max(), 1e-12)) for a, b in pairs)


def main(folder: pathlib.Path, wanted_steps: tuple[str, ...]) -> None:
    """Prints a record for each of the steps."""
    single, schedule = _parts(folder)
    eight = joint_parallel.spread_out(single, PLACES, independent=True)
    alone = joint_parallel.spread_out(single, PLACES, independent=True, devices=jax.devices()[:1])
    programs: list[str] = []
    compiled = data_parallel.update

    def noting(*args, **options):
        if not programs:
            programs.append(compiled.lower(*args, **options).as_text())
        return compiled(*args, **options)

    state = eight.initial(models.init_params(jax.random.key(0), single.settings))
    for phase in [phase for phase in schedule if phase.step in wanted_steps]:
        state = eight.begin(state, phase)
        before, plan = data_parallel.on_host(state), eight.phase_constants(state, phase)
        data_parallel.update = noting
        state, loss = _together(eight, state, phase, plan)
        data_parallel.update = compiled
        one_by_one = _one_by_one(single, before, phase, plan)
        record = {
            "step": phase.step,
            "loss": loss,
            "devices": eight.mesh.size,
            "all_reduce": programs[-1].count("stablehlo.all_reduce"),
            "moved": max(
                float(np.abs(a - b).max())
                for a, b in zip(jax.tree.leaves(before.params), jax.tree.leaves(state.params), strict=True)
            ),
            "params": _difference(one_by_one.params, state.params),
            "moments": _difference(one_by_one.opt_state, state.opt_state),
        }
        if phase.step in ("prior", "step2"):
            there = jax.tree.map(jax.numpy.array, before)
            same, _ = _together(
                alone, there, phase, dataclasses.replace(plan, keys=image_axis.replicate(_keys(plan), alone.mesh))
            )
            record |= {
                "one_program": _difference(one_by_one.params, same.params),
                "one_program_moments": _difference(one_by_one.opt_state, same.opt_state),
            }
        print("record " + json.dumps(record), flush=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), tuple(sys.argv[2:]))
