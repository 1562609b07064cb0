"""The task of joint training: one set of networks for many images.

One or several images share an iteration; their gradients are averaged (the published code's `average_gradients`).

Source: GAN2Shape, section 4.1, and its published code.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from gan2shape_jax.errors import UserError
from gan2shape_jax.method import iteration as iteration_lib
from gan2shape_jax.method import models, reconstruction
from gan2shape_jax.method import state as state_lib
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.prior import PRIOR_STEP
from gan2shape_jax.method.reconstruction import Prediction, canonical_mask
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import (
    Context,
    Example,
    Iteration,
    LossAndMetrics,
    Metrics,
    PreparedImage,
    ProjectedSamples,
    Step,
    TrainState,
)
from gan2shape_jax.method.step1 import Step1Cache
from gan2shape_jax.method.step2 import STEP2
from gan2shape_jax.method.streams import Stream, key_of
from gan2shape_jax.training import devices
from gan2shape_jax.training.devices import AXIS
from gan2shape_jax.training.task import OneImage, compiled_with, means, per_step, phase_keys, scores


@functools.partial(jax.jit, static_argnums=(1, 2))
def image_order(key: jax.Array, iterations: int, count: int) -> Int[jax.Array, " iterations"]:
    """Returns which of `count` images each iteration of a phase sees: successive epochs, each reshuffled."""
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(-(-iterations // count)))
    return jax.vmap(lambda k: jax.random.permutation(k, count))(keys).reshape(-1)[:iterations]


@functools.partial(jax.jit, static_argnames=("count", "batch_size"))
def sample_choices(
    keys: jax.Array, iterations: jax.Array, *, count: int, batch_size: int
) -> Int[jax.Array, "iterations batch"]:
    """Returns which of an image's `count` kept samples each iteration sees: distinct ones, redrawn every iteration.

    `keys` are the keys of the images that iterations of these numbers use.
    """

    def choose(key, iteration):
        return jax.random.permutation(jax.random.fold_in(key, iteration), count)[:batch_size]

    return jax.vmap(choose)(keys, iterations)


@dataclasses.dataclass(frozen=True)
class PhaseOrder:
    """The order of a phase: the image of every entry, and per-image or per-entry data.

    With R replicas, iteration i sees the entries i R to (i + 1) R - 1. Random draws are numbered by entry.
    """

    order: np.ndarray  # (entries,), image indices
    keys: jax.Array  # (images,), for random draws in training; replicated
    # On the host by image index, for step 1 what stays constant, for step 3 all samples.
    kept: Mapping[int, Any] = dataclasses.field(default_factory=dict)
    choices: np.ndarray | None = None  # (entries, batch), which of the image's samples step 3 sees

    def constants(self, entry: int) -> Step1Cache | ProjectedSamples | None:
        """Returns what an entry sees besides its image's example and factors."""
        kept: Step1Cache | ProjectedSamples | None = self.kept.get(int(self.order[entry]))
        return kept if self.choices is None else devices.pick(kept, self.choices[entry])


@flax.struct.dataclass
class Replicas:
    """What the replicas of an iteration see, each leaf with a leading axis of replicas, which is sharded."""

    numbers: Any  # of their entries, which determine their random draws
    chosen: Any  # the indices of their images
    constants: Any  # what else they see


@flax.struct.dataclass
class Everything:
    """What no iteration of a phase changes, replicated."""

    factors: Factors  # of all images
    mask: jax.Array
    examples: Example  # of all images
    keys: jax.Array  # of all images
    frozen: FrozenModels
    settings: Settings


Trained = tuple[models.Params, Any]  # the parameters of the networks and the optimiser's state


def update(
    trained: Trained, replicas: Replicas, fixed: Everything, *, step: Step, flip: bool, mesh: Mesh, count: int
) -> tuple[Trained, Metrics]:
    """One update of shared networks from the mean loss of an iteration's replicas; to be called inside `jax.jit`.

    The replicas are sharded over the mesh, everything else is replicated; the mean over replicas is the one place
    where devices exchange anything, and in the gradient one all-reduce. Replicas beyond the first `count` are padding,
    without weight. Results do not depend on the number of devices, apart from the order of summation.

    Returns the updated networks with the optimiser's state, and the scalars averaged over the replicas.
    """
    params, opt_state = trained
    whole = TrainState(params, opt_state, fixed.factors, fixed.mask)
    slots = len(replicas.numbers)

    def loss_of(params: models.Params, iteration: Iteration, example: Example) -> LossAndMetrics:
        context = Context(example, fixed.frozen, fixed.settings)
        return step.loss(whole.params | params, step.draw(iteration, context), context, flip=flip)

    def average(values: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(jnp.arange(slots) < count, values, 0)) / count

    # The mean is taken inside the differentiated function, so that the replicas' convolutions share one set of weights
    # and become one convolution over a larger batch, forward and backward.
    def mean(params: models.Params, iterations: Iteration, examples: Example) -> LossAndMetrics:
        if slots == 1:
            return loss_of(params, devices.pick(iterations, 0), devices.pick(examples, 0))
        loss, (metrics, _) = jax.vmap(functools.partial(loss_of, params))(iterations, examples)
        return average(loss), (jax.tree.map(average, metrics), None)

    with devices.sharing(mesh):
        own = devices.pick((fixed.factors, fixed.examples, fixed.keys), replicas.chosen)
        if mesh.size > 1:
            own = jax.lax.with_sharding_constraint(own, NamedSharding(mesh, PartitionSpec(AXIS)))
        factors, examples, keys = own
        iterations = Iteration(keys, replicas.numbers, factors, replicas.constants)
        differentiated = jax.value_and_grad(mean, has_aux=True)
        active = models.trained(whole.params, step.networks)
        (_, (metrics, _)), gradient = differentiated(active, iterations, examples)
    whole = iteration_lib.optimizer_step(whole, gradient, fixed.settings)
    return (whole.params, whole.opt_state), metrics


@per_step
def updating(step: Step, *, flip: bool, mesh: Mesh, count: int) -> Any:
    """Returns the compiled `update` of a step."""
    of_step = functools.partial(update, step=step, flip=flip, mesh=mesh, count=count)
    return compiled_with(of_step, devices.platform_of(mesh))


@jax.jit
def _input_factors(params: models.Params, example: Example, frozen: FrozenModels, settings: Settings) -> Factors:
    geometry = reconstruction.input_scene(params, example, frozen, settings, flip=False)
    depth, view = geometry.depth[0], geometry.view[0]
    mask = canonical_mask(example.mask, depth, view, settings) if settings.use_mask else jnp.ones_like(example.mask)
    light = geometry.light
    albedo = models.albedo(params, example.image, geometry.depth, geometry.view, light, settings)[0]
    return Factors(depth=depth, albedo=albedo, view=view, light=light[0], mask=mask)


@dataclasses.dataclass(frozen=True)
class Shared:
    """The task of joint training, one set of networks for all images; see `task.Task`.

    What is kept between the steps differs from one image's training: at the end of step 1 the factors of all images,
    with a leading axis n in `TrainState.factors`, and in step 3 the projected samples of each image, on the host. Both
    the factors and the encoder that the samples come from are in the checkpoint, so a resumed step 3 collects the same
    samples.
    """

    names: tuple[str, ...]
    examples: tuple[Example, ...]
    frozen: FrozenModels
    # The settings, shared by all images; `collect_iters` is 1, since a step sees one batch of samples at a time.
    settings: Settings
    key: jax.Array  # the run's, for the order of images
    batches: int  # the number of batches of projected samples kept for each image
    replicas: int  # the number of losses averaged into one update
    mesh: Mesh
    # True reproduces the published code: in step 2 every image is lit with the last image's ambient and diffuse
    # strength, and the prior is fitted to the first image only.
    reference: bool = False
    different: bool = True  # True if each replica sees the next image, False if all replicas see the same one
    # Called as samples are projected, with the number of images done and the total number of images.
    on_collected: Callable[[int, int], None] = lambda done, count: None
    # Returns an image's projected samples; by default by the encoder that all images share.
    project: Callable[[TrainState, Phase, Context], ProjectedSamples] = lambda state, phase, context: OneImage(
        context
    ).phase_constants(state, phase)

    @functools.cached_property
    def _replicated(self) -> tuple[Example, FrozenModels, Settings]:
        """All examples, the frozen networks and the settings, on every device."""
        return devices.replicate((stacked(self.examples), self.frozen, self.settings), self.mesh)

    @property
    def window(self) -> int:
        """See `task.Task`."""
        return -(-len(self.examples) // self.replicas) if self.different else len(self.examples)

    def initial(self, params: models.Params) -> TrainState:
        """See `task.Task`."""
        state = state_lib.initial_state(jax.tree.map(jnp.array, params), self.settings)
        every = devices.stack([state.factors] * len(self.examples))
        return devices.replicate(dataclasses.replace(state, factors=every), self.mesh)

    def begin(self, state: TrainState, phase: Phase) -> TrainState:
        """See `task.Task`."""
        alone = devices.on_host(state, self.mesh)
        if phase.step == STEP2.name:
            alone = dataclasses.replace(alone, factors=self._factors(alone))
        return devices.replicate(self.fresh_optimizer(alone, phase), self.mesh)

    def fresh_optimizer(self, state: TrainState, phase: Phase) -> TrainState:
        """See `task.Task`."""
        return iteration_lib.fresh_optimizer(state, phase.kind.networks, self.settings)

    def _factors(self, state: TrainState) -> Factors:
        """Returns every image's factors at the end of step 1, stacked."""
        each = [_input_factors(state.params, example, self.frozen, self.settings) for example in self.examples]
        every: Factors = devices.stack(each)
        if self.reference:
            every = dataclasses.replace(every, light=every.light.at[:, :2].set(every.light[-1, :2]))
        return every

    def order(self, phase: Phase) -> np.ndarray:
        """Returns the index of the image of each entry, see `PhaseOrder`."""
        entries = phase.iterations * (self.replicas if self.different else 1)
        if phase.step == PRIOR_STEP.name and self.reference:
            order = np.zeros(entries, np.int32)
        else:
            key = key_of(self.key, Stream.IMAGE_ORDER, phase.number)
            order = np.asarray(image_order(key, entries, len(self.examples)))
        return order if self.different else np.repeat(order, self.replicas)

    def phase_constants(self, state: TrainState, phase: Phase) -> PhaseOrder:
        """See `task.Task`."""
        own = jnp.stack([example.key for example in self.examples])
        keys = phase_keys(own, phase.number, stream=Stream.TRAIN)
        of_phase = PhaseOrder(self.order(phase), devices.replicate(keys, self.mesh))
        alone, step = devices.on_host(state, self.mesh), phase.kind
        if step.cache is None:
            return of_phase
        if step.collect is None:
            kept = {i: self._cache(alone, phase, i) for i in set(of_phase.order.tolist())}
            return dataclasses.replace(of_phase, kept=kept)
        choices = sample_choices(
            phase_keys(own, phase.number, stream=Stream.CHOOSE)[of_phase.order],
            jnp.arange(len(of_phase.order)),
            count=self.batches * self.settings.batch_size,
            batch_size=self.settings.batch_size,
        )
        return dataclasses.replace(of_phase, kept=self._samples(alone, phase), choices=np.asarray(choices))

    def _cache(self, state: TrainState, phase: Phase, index: int) -> Step1Cache:
        context = Context(self.examples[index], self.frozen, self.settings)
        cache = OneImage(context).phase_constants(state, phase)
        # Moving megabytes of features in every iteration would cost more than recomputing them.
        return jax.device_get(dataclasses.replace(cache, features=None))

    def _samples(self, state: TrainState, phase: Phase) -> dict[int, ProjectedSamples]:
        collecting = dataclasses.replace(self.settings, collect_iters=self.batches)
        samples = {}
        for index, example in enumerate(self.examples):
            single = dataclasses.replace(state, factors=devices.pick(state.factors, index))
            samples[index] = jax.device_get(self.project(single, phase, Context(example, self.frozen, collecting)))
            self.on_collected(len(samples), len(self.examples))
        return samples

    def advance(
        self, state: TrainState, phase: Phase, iteration: int, constants: PhaseOrder, count: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """See `task.Task`."""
        assert count == 1  # the next iteration sees other images
        entries = [*range(iteration * self.replicas, (iteration + 1) * self.replicas)]
        entries += entries[-1:] * (devices.padded(self.replicas, self.mesh) - self.replicas)
        each = [Replicas(np.int32(e), np.int32(constants.order[e]), constants.constants(e)) for e in entries]
        state = devices.replicate(state, self.mesh)
        examples, frozen, settings = self._replicated
        (params, opt_state), scalars = updating(phase.kind, flip=phase.flip, mesh=self.mesh, count=self.replicas)(
            (state.params, state.opt_state),
            devices.shard(each, self.mesh),
            Everything(state.factors, state.mask, examples, constants.keys, frozen, settings),
        )
        return dataclasses.replace(state, params=params, opt_state=opt_state), scalars

    averages = staticmethod(means)  # see `task.Task`

    def examine(self, state: TrainState, phase: Phase | None, done: int) -> tuple[Prediction | None, dict[str, Any]]:
        """Returns the first image's reconstruction, and mean errors with each image's own under `images`."""
        ended = phase is not None and done == phase.iterations
        if phase is not None and not ended and "depth" not in phase.kind.networks:
            return None, {}  # errors have not changed
        params = devices.on_host(state.params, self.mesh)
        first = reconstruction.predict(params, self.examples[0], self.frozen, self.settings) if ended else None
        if self.examples[0].true_depth is None:
            return first, {}
        each = {
            name: scores(reconstruction.predict(params, example, self.frozen, self.settings), example, self.settings)
            for name, example in zip(self.names, self.examples, strict=True)
        }
        return first, means(list(each.values())) | {"images": each}


def stacked(examples: Sequence[Example]) -> Example:
    """Returns the examples stacked along a leading axis of images, without true depth, which training does not use.

    Where some latents are in W and others in W+, those in W are repeated for every layer, which is the same point.
    """
    layers = max((example.latent.shape[1] for example in examples if example.latent.ndim == 3), default=0)

    def with_layers(example: Example) -> Example:
        short = layers and example.latent.ndim == 2
        latent = jnp.repeat(example.latent[:, None], layers, axis=1) if short else example.latent
        return dataclasses.replace(example, latent=latent, true_depth=None)

    import chex  # here, because its import is slow

    alike = [with_layers(example) for example in examples]
    chex.assert_trees_all_equal_shapes_and_dtypes(*alike)  # they share a program
    return devices.stack(alike)


def require_one_size(sides: Mapping[str, int]) -> None:
    """Raises `UserError` where images that are cropped have sides, in pixels, of different lengths.

    `sides` are those before cropping, by the images' names; all alike where nothing is cropped (see `Settings`).
    """
    (name, side), *others = sides.items()
    odd = [other for other, its_side in others if its_side != side]
    if odd:
        raise UserError(
            f"joint training with config.data.crop needs images of one size: {name} has "
            f"{side} pixels, and {', '.join(odd[:8])} another number; resize them"
        )


def shared(
    images: list[PreparedImage],
    frozen: FrozenModels,
    *,
    key: jax.Array,
    collect_iters: int,
    replicas: int = 1,
    **more: Any,
) -> Shared:
    """Returns the task of training on these images together; see `Shared` for what is not told here.

    `collect_iters` counts the batches of samples of all images; each image gets the same whole number of them. `more`
    are `reference`, `different`, `on_collected` and `project`. Raises `UserError`: the images cannot share a program.
    """
    require_one_size({image.name: image.settings.original_size for image in images})
    return Shared(
        names=tuple(image.name for image in images),
        examples=tuple(image.example for image in images),
        frozen=frozen,
        settings=dataclasses.replace(images[0].settings, collect_iters=1),
        key=key,
        batches=collect_iters // len(images),
        replicas=replicas,
        mesh=devices.mesh_of(replicas, jax.devices()),
        **more,
    )
