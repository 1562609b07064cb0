"""Run by test_shared.py in a process of simulated devices; prints differences as JSON.

    replicas_program.py FOLDER DEVICES REPLICAS STEP...

Every phase makes two iterations, in ways that have to agree: on all devices, and one replica after another by the
single-replica loss, gradients averaged and the optimiser called in Python; in the prior and step 2 also on one device
with all replicas in one program.
"""

import dataclasses
import json
import pathlib
import sys

import jax

jax.config.update("jax_num_cpu_devices", int(sys.argv[2]))

import numpy as np  # noqa: E402
import optax  # noqa: E402

from gan2shape_jax.method import models  # noqa: E402
from gan2shape_jax.method.iteration import optimizer  # noqa: E402
from gan2shape_jax.method.state import Context, Iteration, TrainState  # noqa: E402
from gan2shape_jax.plan.recipe import RECIPES  # noqa: E402
from gan2shape_jax.training import devices as devices_lib  # noqa: E402
from gan2shape_jax.training import shared as shared_lib  # noqa: E402
from helpers.tiny import asset, images_of, tiny_config  # noqa: E402

REPLICAS = int(sys.argv[3])


def _parts(folder: pathlib.Path):
    names = sorted(path.name for path in pathlib.Path(asset("ictface/image")).glob("*.png"))
    fields = {"recipe": "joint", "schedule__use_mask": True, "schedule__flip3": (True,)}
    fields |= {"schedule__stages": ((2, 2, 2),), "prior__iterations": 2, "sampling__collect_iters": 6}
    fields |= {"image_size": 64, "gan__size": 64, "gan__checkpoint": asset("ictface/gan.safetensors")}
    # With a small epsilon Adam makes a whole step of the rounding of a gradient that is zero.
    config = tiny_config(folder, names=names, data__depth_root=asset("ictface/depth"), optimizer__eps=1e-3, **fields)
    group, frozen = images_of(config)
    eight = shared_lib.shared(group, frozen, key=jax.random.key(0), collect_iters=6, replicas=REPLICAS)
    alone = dataclasses.replace(eight, mesh=devices_lib.mesh_of(REPLICAS, jax.devices()[:1]))
    return eight, alone, RECIPES[config.recipe].schedule(config)


def _keys(plan) -> jax.Array:
    return jax.random.wrap_key_data(np.asarray(jax.random.key_data(plan.keys)))


def _one_by_one(task, state: TrainState, phase, plan) -> TrainState:
    """Two iterations, replica after replica, on one device."""
    examples, step = shared_lib.stacked(task.examples), phase.kind

    @jax.jit
    def gradient(active, factors, number, constants, example, key):
        context = Context(example, task.frozen, task.settings)
        batch = step.draw(Iteration(key, number, factors, constants), context)
        return jax.grad(step.loss, has_aux=True)(active, batch, context, flip=phase.flip)[0]

    for number in range(0, len(plan.order), REPLICAS):
        active = {name: state.params[name] for name in step.networks}
        gradients = []
        for entry in range(number, number + REPLICAS):
            index = plan.order[entry]
            factors, example, key = jax.tree.map(lambda x, i=index: x[i], (state.factors, examples, _keys(plan)))
            gradients.append(gradient(active, factors, entry, plan.constants(entry), example, key))
        mean = jax.tree.map(lambda *each: sum(each) / REPLICAS, *gradients)
        updates, opt_state = optimizer(task.settings).update(mean, state.opt_state, active)
        state = dataclasses.replace(
            state, params={**state.params, **optax.apply_updates(active, updates)}, opt_state=opt_state
        )
    return state


def _together(task, state, phase, plan):
    """Two iterations, and the scalars of the first."""
    rows = []
    for iteration in range(phase.iterations):
        state, scalars = task.advance(state, phase, iteration, plan, 1)
        rows.append(jax.device_get(scalars))
    return _on_host(state), rows[0]


def _on_host(state):
    return jax.tree.map(lambda leaf: jax.numpy.asarray(np.asarray(leaf)), state)


def _norm(first, second=None) -> float:
    """The norm of all numbers of a tree but counters, or of the difference of two, as one vector."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(first)]
    others = [0.0] * len(leaves) if second is None else map(np.asarray, jax.tree.leaves(second))
    pairs = [(a, b) for a, b in zip(leaves, others, strict=True) if a.dtype == np.float32]
    return float(np.sqrt(sum(np.square(np.subtract(a, b, dtype=np.float64)).sum() for a, b in pairs)))


def _apart(state, other, before) -> dict[str, float]:
    """How far apart two states are, relative to how far training has moved the parameters, and to Adam's moments.

    Single entries say little: where a ReLU turns over, rounding makes a gradient jump.
    """
    return {
        "params": _norm(state.params, other.params) / _norm(state.params, before.params),
        "moments": _norm(state.opt_state, other.opt_state) / _norm(state.opt_state),
    }


def main(folder: pathlib.Path, wanted_steps: tuple[str, ...]) -> None:
    """Prints a record for each of the steps."""
    eight, alone, schedule = _parts(folder)
    state = eight.initial(models.init_params(jax.random.key(0), eight.settings))
    for phase in [phase for phase in schedule if phase.step in wanted_steps]:
        state = eight.begin(state, phase)
        before, plan = _on_host(state), eight.phase_constants(state, phase)
        state, scalars = _together(eight, state, phase, plan)
        one_by_one = _one_by_one(alone, before, phase, plan)
        record = {"step": phase.step, "devices": eight.mesh.size, "moved": _norm(state.params, before.params)}
        record["all devices"] = _apart(one_by_one, state, before)
        if phase.step in ("prior", "step2"):
            there = jax.tree.map(jax.numpy.array, before)
            same, expected = _together(
                alone, there, phase, dataclasses.replace(plan, keys=devices_lib.replicate(_keys(plan), alone.mesh))
            )
            record["one program"] = _apart(one_by_one, same, before)
            record["scalars"] = {name: abs(float(scalars[name] / expected[name]) - 1) for name in scalars}
            record["params"] = _norm(state.params, same.params) / _norm(same.params)
        print("record " + json.dumps(record), flush=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), tuple(sys.argv[4:]))
