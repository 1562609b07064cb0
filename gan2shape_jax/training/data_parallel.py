"""One update from many replicas: each replica has its own image or random draws, and their gradients are averaged.

Replicas are spread evenly over the devices of a mesh. Every device differentiates the mean loss of its replicas, the
gradients are averaged over the mesh (one all-reduce), and every device takes the same Adam step: networks and
optimiser state are replicated, and only per-replica data is sharded. This is the published code's `share_weight`, in
which every process sees one image and the processes average their gradients.

Results do not depend on the number of devices, apart from the order of summation.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan2shape_jax.errors import UserError
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.optimizer import optimizer_step
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Problem, TrainState
from gan2shape_jax.method.step import LossAndMetrics
from gan2shape_jax.method.steps import STEPS
from gan2shape_jax.training.image_axis import AXIS

__all__ = ["Replicas", "advance", "devices_used", "local_replicas", "mesh_of", "on_host", "spread", "update"]

_EVERYWHERE, _EACH = PartitionSpec(), PartitionSpec(AXIS)


def devices_used(replicas: int, devices: Sequence[Any]) -> int:
    """Returns how many of the devices can share the replicas evenly.

    Raises:
      UserError: the devices belong to several hosts and not all can be used, which would leave a host out.
    """
    count = max(d for d in range(1, min(replicas, len(devices)) + 1) if replicas % d == 0)
    if count < len(devices) and len({device.process_index for device in devices}) > 1:
        raise UserError(
            f"config.schedule.batches_per_iteration is {replicas}, but the hosts have {len(devices)} devices "
            f"together: give a multiple of {len(devices)}, or 0 for one a device"
        )
    return count


def mesh_of(replicas: int, devices: Sequence[jax.Device]) -> Mesh:
    """Returns a mesh over as many devices as can share the replicas evenly; see `devices_used`."""
    return Mesh(np.asarray(devices[: devices_used(replicas, devices)]), (AXIS,))


def local_replicas(replicas: int, mesh: Mesh) -> range:
    """Returns the numbers of the replicas on this host's devices."""
    each = replicas // mesh.size
    mine = [i for i, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()]
    return range(mine[0] * each, (mine[-1] + 1) * each)


def spread(trees: Sequence[Any], replicas: int, mesh: Mesh) -> Any:
    """Stacks the trees of this host's replicas in order and puts each replica on its device."""
    sharding = NamedSharding(mesh, _EACH)

    def put(*parts):
        stacked = np.stack(parts)
        return jax.make_array_from_process_local_data(sharding, stacked, (replicas, *stacked.shape[1:]))

    return jax.tree.map(put, *trees)


def on_host(tree: Any) -> Any:
    """Returns a replicated tree as arrays that are not tied to a mesh."""
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), tree)


def _mean_loss(one: Callable[..., LossAndMetrics]) -> Callable[..., LossAndMetrics]:
    """Returns a function of the parameters that gives the mean loss and scalars over a device's replicas.

    The mean is taken inside the differentiated function, so that the replicas' convolutions share one set of weights
    and become one convolution over a larger batch, forward and backward; per-replica gradients would not.

    Args:
      one: maps the parameters and a replica's inputs to its loss; the inputs of the returned function have a leading
        axis of replicas.
    """

    def mean(params: Any, *seen: Any) -> LossAndMetrics:
        if jax.tree.leaves(seen)[0].shape[0] == 1:
            return one(params, *jax.tree.map(lambda leaf: leaf[0], seen))
        loss, (metrics, _) = jax.vmap(functools.partial(one, params))(*seen)
        return jnp.mean(loss), (jax.tree.map(jnp.mean, metrics), None)

    return mean


@functools.partial(jax.jit, static_argnames=("step", "flip", "mesh"), donate_argnames="moving")
def update(moving, kept, numbers, chosen, constants, problems, keys, frozen, settings, *, step, flip, mesh):
    """The program that `advance` runs.

    Args:
      moving: parameters and optimiser state, replicated; donated.
      kept: factors, with a leading axis of images, and mask; replicated.
      numbers: see `Replicas`; sharded over replicas.
      chosen: see `Replicas`; sharded over replicas.
      constants: see `Replicas`; sharded over their leading axis of replicas.
      problems: see `advance`.
      keys: see `advance`.
      frozen: see `advance`.
      settings: replicated.
      step: the step to run.
      flip: whether the mirrored sheet must explain the images too.
      mesh: the devices.

    Returns:
      The updated `moving`, and the scalars averaged over the replicas.
    """

    def on_device(moving, kept, numbers, chosen, constants, problems, keys, frozen, settings):
        state = TrainState(*moving, *kept)

        def one(params, number, constants, factors, problem, key):
            seen = step.draw(key, number, factors, constants, frozen, settings)
            return step.loss(params, *seen, problem, frozen, settings, flip=flip)

        trained = {name: state.params[name] for name in step.networks}
        own = jax.tree.map(lambda x: x[chosen], (state.factors, problems, keys))
        differentiated = jax.value_and_grad(_mean_loss(one), has_aux=True)
        (_, (metrics, _)), gradient = differentiated(trained, numbers, constants, *own)
        gradient, metrics = jax.lax.pmean((gradient, metrics), AXIS)
        state = optimizer_step(state, gradient, settings)
        return (state.params, state.opt_state), metrics

    # With check_vma=False a gradient is that of the device's own loss; otherwise JAX would sum over all devices.
    return jax.shard_map(
        on_device,
        mesh=mesh,
        check_vma=False,
        out_specs=(_EVERYWHERE, _EVERYWHERE),
        in_specs=(_EVERYWHERE, _EVERYWHERE, _EACH, _EACH, _EACH, *[_EVERYWHERE] * 4),
    )(moving, kept, numbers, chosen, constants, problems, keys, frozen, settings)


@dataclasses.dataclass(frozen=True)
class Replicas:
    """What the replicas of one iteration see.

    Attributes:
      numbers: (replicas,), the numbers that determine each replica's random draws.
      chosen: (replicas,), the image indices.
      constants: one for each replica on this host: a `Step1Cache` in step 1, samples in step 3, otherwise None.
    """

    numbers: np.ndarray
    chosen: np.ndarray
    constants: Sequence[Any]


def advance(
    state: TrainState,
    phase: Phase,
    replicas: Replicas,
    problems: Problem,
    keys: jax.Array,
    frozen: FrozenModels,
    settings: Settings,
    mesh: Mesh,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Runs one iteration, a single update from all replicas' losses; donates the state's networks and optimiser state.

    Args:
      state: replicated; its factors have a leading axis of images and do not change.
      phase: the current phase.
      replicas: what the iteration's replicas see.
      problems: the problems of all images, with a leading axis; replicated.
      keys: the phase's keys for all images, with a leading axis; replicated.
      frozen: the frozen networks, replicated.
      settings: of the method.
      mesh: the devices.

    Returns:
      The new state, and the scalars averaged over the replicas.
    """
    count = len(replicas.chosen)
    numbers, chosen = spread(
        [(replicas.numbers[p], replicas.chosen[p]) for p in local_replicas(count, mesh)], count, mesh
    )
    (params, opt_state), metrics = update(
        (state.params, state.opt_state),
        (state.factors, state.mask),
        numbers,
        chosen,
        spread(replicas.constants, count, mesh),
        problems,
        keys,
        frozen,
        settings,
        step=STEPS[phase.step],
        flip=phase.flip,
        mesh=mesh,
    )
    return dataclasses.replace(state, params=params, opt_state=opt_state), metrics
