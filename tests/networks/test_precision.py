"""bfloat16 as an option: what it computes in which dtype, and that losses stay close to float32's."""

import functools
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.method import models, reconstruction, step1, step2, step3
from gan2shape_jax.method.schedule import STEPS, Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import Context, ProjectedSamples, PseudoImages, initial_state
from gan2shape_jax.networks import precision
from gan2shape_jax.training.task import OneImage

# Primitives of camera, rasteriser, lighting and sampling that networks have no use for.
_GEOMETRY = {"gather", "scatter", "scatter-add", "scatter_min", "scatter-min", "sin", "cos", "floor", "ceil", "round"}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Example, frozen networks, parameters, and settings by precision."""
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("precision"))
    settings = {kind: changed(prepared.settings, precision=kind) for kind in get_args(precision.Precision)}
    return prepared.example, frozen, models.init_params(jax.random.key(0), prepared.settings), settings


def _losses(case, kind):
    """The three steps' losses as functions of parameters."""
    example, frozen, params, settings = case
    chosen = settings[kind]
    images = jnp.tile(example.image, (chosen.batch_size, 1, 1, 1))
    masks = jnp.ones(images.shape[:-1])
    geometry = functools.partial(reconstruction.input_scene, flip=False)
    context = Context(example, frozen, chosen)

    def first(p):
        scene = jax.lax.stop_gradient(geometry(p, example, frozen, chosen))
        return step1.step1_loss(p, step1.Step1Cache(scene), context, flip=False)[0]

    def second(p):
        return step2.step2_loss(p, PseudoImages(images, masks), context)[0]

    def third(p):
        return step3.step3_loss(p, ProjectedSamples(images, masks), context, flip=False)[0]

    return first, second, third


def _equations(jaxpr):
    """All equations of a program, inner programs included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in jax.tree.leaves(value, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def _dtypes(equations, names):
    return {
        value.aval.dtype
        for equation in equations
        if equation.primitive.name in names
        for value in (*equation.invars, *equation.outvars)
    }


# Step 3 has the networks of step 1, and all of its geometry.
@pytest.mark.parametrize("step", [pytest.param(0, marks=pytest.mark.heavy), 1, 2])
def test_networks_compute_in_bfloat16_and_geometry_in_float32(case, step):
    program = jax.make_jaxpr(jax.value_and_grad(_losses(case, "bfloat16")[step]))(case[2])
    equations = list(_equations(program.jaxpr))
    convolutions = [e.outvars[0].aval.dtype for e in equations if e.primitive.name == "conv_general_dilated"]
    # All but the networks' last layers and, in step 2, the encoder.
    assert convolutions.count(jnp.bfloat16) > (0.9, 0.6, 0.9)[step] * len(convolutions)
    assert _dtypes(equations, {"conv_general_dilated"}) <= {jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32)}
    geometry = _dtypes(equations, _GEOMETRY)
    assert jnp.dtype(jnp.float32) in geometry or step == 1
    assert jnp.dtype(jnp.bfloat16) not in geometry
    assert {value.dtype for value in jax.tree.leaves(program.out_avals)} == {jnp.dtype(jnp.float32)}


def test_state_of_a_bfloat16_run_is_float32(case):
    example, frozen, params, settings = case
    chosen = settings["bfloat16"]
    phase = Phase(number=0, stage=0, kind=STEPS["prior"], iterations=1, flip=False)

    def advanced(state):
        task = OneImage(Context(example, frozen, chosen))
        return task.advance(task.begin(state, phase), phase, 0, None, 1)[0]

    state = initial_state(params, chosen)
    after = jax.eval_shape(advanced, state)
    assert {x.dtype for x in jax.tree.leaves((after.params, after.factors))} == {jnp.dtype(jnp.float32)}
    assert jnp.dtype(jnp.bfloat16) not in {x.dtype for x in jax.tree.leaves(after.opt_state)}


@pytest.mark.heavy
@pytest.mark.parametrize("step", [0, 1, 2])
def test_losses_are_close_to_float32s(case, step):
    losses = {kind: float(jax.jit(_losses(case, kind)[step])(case[2])) for kind in get_args(precision.Precision)}
    assert losses["bfloat16"] != losses["float32"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.02)


def test_depth_is_smooth_enough_for_normals(case):
    """Between neighbouring pixels the error of depth varies by a tenth of what depth itself does, at most."""
    example, _, params, settings = case
    depth_of = jax.jit(models.depth)
    depth = {kind: depth_of(params, example.image, settings=chosen)[0] for kind, chosen in settings.items()}
    error = depth["bfloat16"] - depth["float32"]
    for axis in (0, 1):
        assert jnp.diff(error, axis=axis).std() < 0.1 * jnp.diff(depth["float32"], axis=axis).std()


@pytest.mark.parametrize(("kind", "platform"), [("float32", "tpu"), ("bfloat16", "cpu")])
def test_a_precision_that_is_asked_for_is_used(kind, platform):
    assert precision.chosen(kind, platform) == kind


def test_only_a_tpu_computes_in_bfloat16_unasked():
    chosen = [precision.chosen("auto", platform) for platform in ("cpu", "gpu", "tpu")]
    assert chosen == ["float32", "float32", "bfloat16"]
