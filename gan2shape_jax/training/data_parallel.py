"""One update from many replicas: each replica has an image or draws of its own, and their gradients are averaged.

Replicas are spread evenly over the devices of a mesh. Every device differentiates the mean loss of its replicas, the
gradients are averaged over the mesh (one all-reduce), and every device makes the same Adam step: networks and
optimiser state are replicated, only what belongs to a replica is sharded. This is the published code's
`share_weight`, in which every process sees an image and processes average their gradients.

Nothing depends on how many devices there are, beyond the order of sums.
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
      UserError: the devices belong to several hosts and not all can be used: a host would be left out.
    """
    count = max(d for d in range(1, min(replicas, len(devices)) + 1) if replicas % d == 0)
    if count < len(devices) and len({device.process_index for device in devices}) > 1:
        raise UserError(
            f"config.schedule.batches_per_iteration is {replicas}, but the hosts have {len(devices)} devices "
            f"together: give a multiple of {len(devices)}, or 0 for one a device"
        )
    return count


def mesh_of(replicas: int, devices: Sequence[jax.Device]) -> Mesh:
    """Returns a mesh over as many of the devices as share the replicas evenly; see `devices_used`."""
    return Mesh(np.asarray(devices[: devices_used(replicas, devices)]), (AXIS,))


def local_replicas(replicas: int, mesh: Mesh) -> range:
    """Returns the numbers of the replicas on this host's devices."""
    each = replicas // mesh.size
    mine = [i for i, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()]
    return range(mine[0] * each, (mine[-1] + 1) * each)


def spread(trees: Sequence[Any], replicas: int, mesh: Mesh) -> Any:
    """Stacks the trees of this host's replicas, in their order, and puts each replica on its device."""
    sharding = NamedSharding(mesh, _EACH)

    def put(*parts):
        stacked = np.stack(parts)
        return jax.make_array_from_process_local_data(sharding, stacked, (replicas, *stacked.shape[1:]))

    return jax.tree.map(put, *trees)


def on_host(tree: Any) -> Any:
    """Returns a replicated tree as arrays that belong to no mesh."""
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), tree)


def _mean_loss(one: Callable[..., LossAndMetrics]) -> Callable[..., LossAndMetrics]:
    """Returns the mean of the losses and of the scalars of a device's replicas, as a function of parameters.

    The mean is inside of what is differentiated, so that the replicas' convolutions have one set of weights and become
    one convolution over a larger batch, forwards and backwards; gradients replica by replica would not.

    Args:
      one: from the parameters and what a replica sees to its loss; what the mean sees has a leading axis of replicas.
    """

    def mean(params: Any, *seen: Any) -> LossAndMetrics:
        if jax.tree.leaves(seen)[0].shape[0] == 1:
            return one(params, *jax.tree.map(lambda leaf: leaf[0], seen))
        loss, (metrics, _) = jax.vmap(functools.partial(one, params))(*seen)
        return jnp.mean(loss), (jax.tree.map(jnp.mean, metrics), None)

    return mean


@functools.partial(jax.jit, static_argnames=("step", "settings", "flip", "mesh"), donate_argnames="moving")
def update(moving, kept, numbers, chosen, constants, problems, keys, frozen, *, step, settings, flip, mesh):
    """The program that `advance` runs.

    Args:
      moving: parameters and the optimiser's state, replicated; donated.
      kept: factors, with a leading axis of images, and mask, replicated.
      numbers: see `Replicas`; sharded over replicas.
      chosen: likewise.
      constants: see `Replicas`; with a leading axis of replicas, sharded over it.
      problems: see `advance`, as what follows.
      keys: of the phase.
      frozen: the frozen networks.
      step: which step.
      settings: static settings.
      flip: whether the mirrored sheet has to explain the images too.
      mesh: the devices.

    Returns:
      What `moving` becomes, and the scalars' means over the replicas.
    """

    def on_device(moving, kept, numbers, chosen, constants, problems, keys, frozen):
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

    # Unchecked, a gradient is that of the device's own loss; checked, JAX itself would add those of all devices.
    return jax.shard_map(
        on_device,
        mesh=mesh,
        check_vma=False,
        out_specs=(_EVERYWHERE, _EVERYWHERE),
        in_specs=(_EVERYWHERE, _EVERYWHERE, _EACH, _EACH, _EACH, _EVERYWHERE, _EVERYWHERE, _EVERYWHERE),
    )(moving, kept, numbers, chosen, constants, problems, keys, frozen)


@dataclasses.dataclass(frozen=True)
class Replicas:
    """What the replicas of one iteration see.

    Attributes:
      numbers: (replicas,), of which each replica's draws are a function.
      chosen: (replicas,), the numbers of the images.
      constants: one for each replica of this host: a `Step1Cache` in step 1, samples in step 3, else None.
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
    """Runs one iteration: every replica's loss, one update; the state's networks and optimiser state are donated.

    Args:
      state: replicated; its factors have a leading axis of images, and stay as they are.
      phase: the current one.
      replicas: what the iteration's replicas see.
      problems: of all images, with a leading axis, replicated.
      keys: of the phase, for all images, with a leading axis, replicated.
      frozen: the frozen networks, replicated.
      settings: static settings.
      mesh: the devices.

    Returns:
      The new state, and the scalars' means over the replicas.
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
        step=STEPS[phase.step],
        settings=settings,
        flip=phase.flip,
        mesh=mesh,
    )
    return dataclasses.replace(state, params=params, opt_state=opt_state), metrics
