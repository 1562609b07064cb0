"""The PyTorch reference that benchmarks measure against does the same work: losses and gradients agree."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import reference_weights
from helpers.tiny import images_of, tiny_config

from gan2shape_jax.geometry import render
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method import models, perceptual, step1, step2, step3
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.prior import prior_loss
from gan2shape_jax.method.reconstruction import input_scene
from gan2shape_jax.method.sampling import pseudo_images
from gan2shape_jax.method.schedule import STEPS
from gan2shape_jax.method.state import Context, ProjectedSamples, PseudoImages

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.heavy

from benchmarks.speed.torch_reference import scene  # noqa: E402
from benchmarks.speed.torch_reference import steps as torch_steps  # noqa: E402

_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class _Case:
    """The tiny setting, its parameters, and a batch as step 2 and 3 see it."""

    settings: object
    frozen: object
    example: object
    params: object
    images: jax.Array
    masks: jax.Array

    def model(self):
        return torch_steps.model_of(self.params, self.example, self.frozen, self.settings)

    def batch(self):
        return torch_steps.nchw(self.images), torch.from_numpy(np.array(self.masks))


@pytest.fixture(name="case", scope="module")
def _case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    config = tiny_config(folder, image_size=32, data__depth_root="", schedule__use_mask=True)
    (prepared,), frozen = images_of(config)
    params = models.init_params(jax.random.key(3), prepared.settings)
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (2, 8, 8, 3)).repeat(4, 1).repeat(4, 2)
    masks = np.ones((2, 32, 32))
    masks[:, :, :5] = 0
    batch = (jnp.asarray(array, jnp.float32) for array in (images, masks))
    return _Case(prepared.settings, frozen, prepared.example, params, *batch)


def _ours(case, step, loss):
    """Loss and gradient's norm of the networks that a step optimises."""

    @jax.jit
    def run(active, params, example, frozen):
        def of_active(chosen):
            return loss({**params, **chosen}, example, frozen)

        return jax.value_and_grad(of_active)(active)

    active = {name: case.params[name] for name in STEPS[step].networks}
    value, gradient = run(active, case.params, case.example, case.frozen)
    return float(value), _norm(np.asarray(leaf) for leaf in jax.tree.leaves(gradient))


def _theirs(model, step, loss):
    parameters = model.focus(step)
    value = loss()
    gradient = torch.autograd.grad(value, parameters)
    return value.item(), _norm(leaf.numpy() for leaf in gradient)


def _norm(leaves):
    return float(np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in leaves)))


def _loss_of(case, step, flip):
    def loss(p, example, frozen):
        context = Context(example, frozen, case.settings)
        if step == "prior":
            return prior_loss(p, None, context)[0]
        if step == "step1":
            scene = step1.Step1Cache(jax.lax.stop_gradient(input_scene(p, example, frozen, case.settings, flip=flip)))
            return step1.step1_loss(p, scene, context, flip=flip)[0]
        if step == "step2":
            return step2.step2_loss(p, PseudoImages(case.images, case.masks), context)[0]
        return step3.step3_loss(p, ProjectedSamples(case.images, case.masks), context, flip=flip)[0]

    return loss


def _torch_loss_of(case, model, step, flip):
    return {
        "prior": lambda: torch_steps.prior_loss(model),
        "step1": lambda: torch_steps.input_loss(model, flip=flip, moving=False)[0],
        "step2": lambda: torch_steps.step2_loss(model, *case.batch())[0],
        "step3": lambda: torch_steps.step3_loss(model, *case.batch(), flip=flip),
    }[step]


@pytest.mark.parametrize(("step", "flip"), [("prior", False), ("step1", True), ("step2", False), ("step3", True)])
def test_losses_and_gradients_are_ours(case, step, flip, parity):
    our_terms = _ours(case, step, _loss_of(case, step, flip))
    model = case.model()
    their_terms = _theirs(model, step, _torch_loss_of(case, model, step, flip))
    for what, theirs, ours in zip(("loss", "gradient's norm"), their_terms, our_terms, strict=True):
        parity(f"PyTorch reference, {step}, {what}", abs(theirs / ours - 1), _TOLERANCE)


def test_pseudo_images_are_ours(case):
    settings, camera = case.settings, case.settings.camera
    side = camera.image_size
    rng = np.random.default_rng(1)
    views, direction = rng.normal(0, 0.3, (4, 6)), rng.uniform(-0.9, 0.9, (4, 2))
    drawn = [np.float32(x) for x in (views, direction, rng.uniform(0, 0.7, 4))]
    model = case.model()
    with torch.no_grad():
        factors = torch_steps.input_loss(model, flip=False, moving=False)[1]
        theirs = torch_steps.pseudo_images(model, factors, *(torch.from_numpy(x) for x in drawn))
    ours = Factors(
        depth=jnp.asarray(factors.depth[0]),
        albedo=jnp.asarray(factors.albedo[0].permute(1, 2, 0).numpy()),
        view=jnp.zeros(6),
        light=jnp.asarray(factors.light[0]),
        mask=jnp.asarray(factors.mask),
    )
    images, masks = jax.jit(functools.partial(pseudo_images, settings=settings))(ours, *drawn)
    assert images.shape == (4, side, side, 3)
    np.testing.assert_allclose(theirs[0].numpy(), torch_steps.nchw(images).numpy(), atol=2e-3)
    # The nearest pixel may be another one where two are equally near.
    assert np.mean(np.asarray(masks) != theirs[1].numpy()) < 0.01
    assert 0.3 < float(masks.mean()) < 1


@pytest.mark.parametrize("sampling", ["centred", "half"])
def test_warped_depth_and_its_gradient_are_ours_whatever_the_triangles_size(sampling):
    camera = Camera(32)
    rng = np.random.default_rng(2)
    depth = (1 + 0.1 * rng.uniform(-1, 1, (3, 32, 32))).astype(np.float32)
    depth[0] = 1.0 + 0.02 * np.cos(np.linspace(0, 9, 32))
    view = np.float32([[0.1, -0.4, 0.05, 0.01, 0, 0], [0.3, 0.9, 0, 0, 0.02, 0], [0, -1.2, 0.1, 0, 0, 0]])
    weight = rng.normal(size=(3, 32, 32)).astype(np.float32)

    @jax.jit
    def run(depth, view):
        def total(depth, view):
            warped = render.warp_depth(depth, view, camera, sampling=sampling)
            return jnp.sum(warped * weight), warped

        return jax.grad(total, (0, 1), has_aux=True)(depth, view)

    gradients, warped = run(depth, view)
    arguments = [torch.from_numpy(x).requires_grad_() for x in (depth, view)]
    their_depth = scene.warp_depth(*arguments, camera, sampling=sampling)
    (their_depth * torch.from_numpy(weight)).sum().backward()
    different = np.abs(their_depth.detach().numpy() - np.asarray(warped)) > 1e-4
    assert different.mean() < 2e-3  # samples on an edge
    for theirs, ours in zip(arguments, gradients, strict=True):
        ours = np.asarray(ours)
        assert np.linalg.norm(theirs.grad.numpy() - ours) < 0.02 * np.linalg.norm(ours)


def test_lpips_is_ours():
    params, rng = reference_weights.lpips_params(), np.random.default_rng(4)
    a, b = (rng.uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32) for _ in range(2))
    observed = functools.partial(perceptual.lpips_features, params)
    ours = jax.jit(lambda *pair: perceptual.lpips_distance(params, *map(observed, pair)))(a, b)
    theirs = torch_steps.Lpips(params)(torch_steps.nchw(a), torch_steps.nchw(b))
    np.testing.assert_allclose(theirs.detach().numpy(), np.asarray(ours), rtol=1e-4)


# A lift's own steps have no counterpart.
@pytest.mark.parametrize("step", ["prior", "step1", "step2", "step3"])
def test_a_step_trains_its_own_networks(case, step):
    record = STEPS[step]
    model = case.model()
    before = {name: [p.detach().clone() for p in net.parameters()] for name, net in model.networks.items()}
    training = torch_steps.Training(model, step, flip=False)
    assert np.isfinite(training.update().item())
    for name, net in model.networks.items():
        same = all(map(torch.equal, before[name], net.parameters()))
        assert same == (name not in record.networks)


def test_pseudo_images_are_collected(case):
    images, masks = torch_steps.Training(case.model(), "step3", flip=False).collect()
    assert images.shape == (2, 3, 32, 32) and masks.shape == (2, 32, 32)
