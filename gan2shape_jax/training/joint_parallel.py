"""Joint training with several images per iteration, one or more per device: gradients averaged, networks shared.

An epoch is dealt out to the replicas in order: with R replicas, iteration i sees entries i R to (i + 1) R - 1 of the
order of images. Random draws are numbered by entry, not by iteration, so one replica gives the same result as
`joint.ManyImages`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.method import models, sampling
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import Reconstruction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Problem, TrainState
from gan2shape_jax.training import data_parallel, image_axis
from gan2shape_jax.training.joint import ManyImages
from gan2shape_jax.training.joint_plan import Plan

__all__ = ["ManyReplicas", "require_one_shape", "spread_out", "stacked"]


def require_one_shape(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises `UserError` if some latents are in W and others in W+; `shapes` gives each image's latent shape."""
    (name, shape), *others = shapes.items()
    odd = [other for other, its_shape in others if its_shape != shape]
    if odd:
        raise UserError(
            f"several images an iteration need latents of one shape: that of {name} is {shape}, not so "
            f"{', '.join(odd[:8])}; give all as W or all as W+, or set "
            "config.schedule.batches_per_iteration=1"
        )


def stacked(names: Sequence[str], problems: Sequence[Problem]) -> Problem:
    """Returns the problems stacked along a leading axis of images, without true depth, which training does not use.

    Raises:
      UserError: some images' latents are in W and others' in W+.
    """
    require_one_shape({name: problem.latent.shape for name, problem in zip(names, problems, strict=True)})
    return jax.tree.map(lambda *x: jnp.stack(x), *[dataclasses.replace(p, true_depth=None) for p in problems])


@dataclasses.dataclass(frozen=True)
class ManyReplicas(ManyImages):
    """The task of joint training on several replicas; see `data_parallel`.

    Attributes:
      replicas: the number of losses averaged into one update.
      independent: True if each replica sees the next image, False if all replicas see the same one.
      mesh: the devices.
    """

    replicas: int
    independent: bool
    mesh: jax.sharding.Mesh

    @functools.cached_property
    def _given(self) -> tuple[Problem, FrozenModels, Settings]:
        """Everything that iterations do not change, on every device."""
        return image_axis.replicate((stacked(self.names, self.problems), self.frozen, self.settings), self.mesh)

    @property
    def window(self) -> int:
        """See `tasks.Task`."""
        return -(-len(self.problems) // self.replicas) if self.independent else len(self.problems)

    def _everywhere(self, state: TrainState) -> TrainState:
        return image_axis.replicate(state, self.mesh)

    def initial(self, params: models.Params) -> TrainState:
        """See `tasks.Task`."""
        return self._everywhere(super().initial(params))

    def begin(self, state: TrainState, phase: Phase) -> TrainState:
        """See `tasks.Task`."""
        return self._everywhere(super().begin(data_parallel.on_host(state), phase))

    def order(self, phase: Phase) -> np.ndarray:
        """Returns the index of the image that each replica sees, iteration by iteration."""
        if not self.independent:
            return np.repeat(super().order(phase), self.replicas)
        return super().order(dataclasses.replace(phase, iterations=phase.iterations * self.replicas))

    def phase_constants(self, state: TrainState, phase: Phase) -> Plan:
        """See `tasks.Task`."""
        alone = data_parallel.on_host(state)
        keys = jnp.stack([sampling.phase_key(one.key, phase.number, sampling.TRAIN) for one in self.problems])
        return dataclasses.replace(super().phase_constants(alone, phase), keys=image_axis.replicate(keys, self.mesh))

    def advance(
        self, state: TrainState, phase: Phase, iteration: int, constants: Plan, count: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """See `tasks.Task`."""
        assert count == 1  # the next iteration sees other images
        first = iteration * self.replicas
        numbers = np.arange(first, first + self.replicas, dtype=np.int32)
        mine = data_parallel.local_replicas(self.replicas, self.mesh)
        replicas = data_parallel.Replicas(
            numbers, constants.order[numbers], [constants.constants(first + replica) for replica in mine]
        )
        problems, frozen, settings = self._given
        return data_parallel.advance(
            self._everywhere(state), phase, replicas, problems, constants.keys, frozen, settings, self.mesh
        )

    def examine(
        self, state: TrainState, phase: Phase | None, done: int
    ) -> tuple[Reconstruction | None, dict[str, Any]]:
        """See `tasks.Task`."""
        return super().examine(data_parallel.on_host(state), phase, done)


def spread_out(
    task: ManyImages, replicas: int, *, independent: bool, devices: Sequence[Any] | None = None
) -> ManyImages:
    """Returns the task with that many replicas per iteration; for one replica on one host, the task itself.

    Args:
      task: the task with a single replica.
      replicas: the number of losses averaged into one update.
      independent: True if each replica sees the next image, False if all replicas see the same one.
      devices: the devices to spread the replicas over; None means all.

    Raises:
      UserError: the hosts' devices do not divide the replicas, or the images' latents differ in shape.
    """
    if replicas == 1 and jax.process_count() == 1:
        return task
    mesh = data_parallel.mesh_of(replicas, devices or jax.devices())
    fields = {field.name: getattr(task, field.name) for field in dataclasses.fields(task)}
    return ManyReplicas(**fields, replicas=replicas, independent=independent, mesh=mesh)
