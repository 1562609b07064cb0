"""Steps 1, 2 and 3 against the published code's own losses and gradients, with its faults switched on.

`pipeline.npz` holds two settings; every shape and option is read from it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.parity_record import share_off

from gan2shape_jax.apps.convert.stylegan2 import convert
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method import frozen as frozen_lib
from gan2shape_jax.method import metrics, models, projection, sampling, step1, step2, step3
from gan2shape_jax.method.factors import Factors, ViewRange
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import canonical_mask, input_scene
from gan2shape_jax.method.settings import NetworkSizes, Settings
from gan2shape_jax.method.state import Context, Example, ProjectedSamples, PseudoImages
from gan2shape_jax.training.network_files import TORCH_NAMES, params_from_torch

_LOSSES = {
    "loss": "loss",
    "l1": "photometric loss",
    "smooth": "smoothness",
    "features": "distance of features",
    "latent": "latents' norm",
}


class Case(NamedTuple):
    """One setting of the golden file."""

    gold: dict
    settings: Settings
    params: dict
    frozen: FrozenModels
    example: Example
    flip1: bool
    flip3: bool


def _nhwc(array):
    return jnp.asarray(np.moveaxis(array, 1, -1))


def _settings(config, architecture):
    def of(record, **names):
        return record(**{ours: config[theirs].item() for ours, theirs in names.items()})

    depths = {name: name for name in ("rot_center_depth", "min_depth", "max_depth")}
    camera = of(Camera, image_size="image_size", fov_deg="fov", **depths)
    reach = of(ViewRange, rotation_deg="xyz_rotation_range", xy="xy_translation_range", z="z_translation_range")
    sizes = of(NetworkSizes, width="nf", group_base="gn_base", zdim="zdim", encoder_width="enc_nf")
    own = ("F1_d", "relative_enc", "use_mask", "add_mean_V", "add_mean_L", "view_scale", "lam_smooth", "lam_regular")
    arguments = {name: config[name].item() for name in own} | {"rand_light": tuple(config["rand_light"].tolist())}
    arguments |= {"batch_size": int(config["batchsize"]), "original_size": int(config["image_size"])}
    # The file was made with the perceptual term zero.
    arguments |= {"perceptual": "discriminator", "lam_perc": 0.0, "collect_iters": 1, "crop": None, "sampling": "half"}
    arguments |= {"learning_rate": 1e-4, "weight_decay": 5e-4, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    arguments |= {"unit_normals": False, "skip_first_batch": True}
    return Settings(camera=camera, view_range=reach, networks=sizes, architecture=architecture, **arguments)


@pytest.fixture(scope="module", params=["symmetric", pytest.param("masked", marks=pytest.mark.heavy)])
def case(request, golden, golden_path):
    archive, name = golden("pipeline.npz"), request.param
    architecture, weights, *_ = convert(golden_path("stylegan2.pt"))
    gold = {k.removeprefix(name + "/"): v for k, v in archive.items() if k.startswith(name + "/")}
    config = {k.removeprefix("config/"): v for k, v in gold.items() if k.startswith("config/")}
    settings = _settings(config, architecture)
    params = {}
    for ours, theirs in TORCH_NAMES.items():
        prefix = f"params/{theirs}/"
        state = {k.removeprefix(prefix): v.astype(np.float32) for k, v in gold.items() if k.startswith(prefix)}
        params[ours] = params_from_torch(models.modules(settings)[ours], state)
    frozen = frozen_lib.build(
        weights,
        architecture,
        view_mvn=(gold["view_mean"], np.eye(6)),
        light_mvn=(gold["light_mean"], np.eye(4)),
        F1_d=settings.F1_d,
    )
    latent = jnp.asarray(gold["latent_w"])
    example = Example(
        image=_nhwc(gold["image"]),
        mask=jnp.asarray(gold["mask"][0, 0]),
        latent=latent,
        gan_image=jax.jit(projection.synthesize)(latent, frozen, settings),
        prior=jnp.asarray(gold["ellipsoid"][0]),
        true_depth=jnp.asarray(gold["depth_gt"][0]),
        key=jax.random.key(0),
    )
    return Case(gold, settings, params, frozen, example, bool(config["flip1_cfg"][0]), bool(config["flip3_cfg"][0]))


@pytest.fixture(name="close")
def _close(parity):
    def check(component, ours, golden, tolerance):
        golden = np.asarray(golden, np.float64)
        error = np.linalg.norm(np.asarray(ours, np.float64) - golden) / np.linalg.norm(golden)
        parity(component, error, tolerance, "pipeline.npz")

    return check


def _norm(gradient):
    return np.sqrt(sum(float(np.sum(np.square(g))) for g in jax.tree.leaves(jax.device_get(gradient))))


def _context(case):
    return Context(case.example, case.frozen, case.settings)


@pytest.fixture(scope="module")
def first_step(case):
    """Step 1's loss as a function of all networks, though only A is optimised in it."""

    def loss(params):
        geometry = input_scene(params, case.example, case.frozen, case.settings, flip=case.flip1)
        total, (scalars, albedo) = step1.step1_loss(params, step1.Step1Cache(geometry), _context(case), flip=case.flip1)
        return total, (scalars, albedo, geometry)

    (_, extra), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(case.params)
    return *extra, gradient


def test_golden_step1_losses_and_factors(case, first_step, close, parity):
    scalars, albedo, geometry, _ = first_step
    gold = case.gold
    for name in ("loss", "l1", "smooth"):
        close(f"step 1, {_LOSSES[name]}", scalars[name], gold[f"step1/{name}"], 1e-3)
    close("step 1, depth", geometry.depth, gold["step1/depth"], 1e-4)
    close("step 1, view", geometry.view, gold["step1/view"], 1e-4)
    close("step 1, albedo", albedo, _nhwc(gold["step1/albedo"])[0], 1e-4)
    close("step 1, light's direction", geometry.light[0, 2:], gold["step1/light"][0, 2:], 1e-4)
    close("step 1, light's strengths", geometry.light[0, :2], gold["step1/light"][0, :2] / 2 + 0.5, 1e-4)
    warped = np.asarray(geometry.warped[:, 0])
    near = np.abs(warped - gold["step1/recon_depth"]) <= 1e-5 * np.abs(gold["step1/recon_depth"])
    parity("step 1, warped depth", share_off(near), 5e-3, "pipeline.npz", "share of pixels off by > 1e-5")
    errors = metrics.depth_metrics(warped[0], case.example.true_depth, geometry.valid[0], case.settings.camera)
    close("step 1, SIDE", errors["side"], gold["step1/SIDE"], 1e-3)
    close("step 1, MAD", errors["mad"], gold["step1/MAD"], 1e-3)
    assert case.settings.use_mask == ("step1/canon_mask" in gold)
    if case.settings.use_mask:
        mask = canonical_mask(case.example.mask, geometry.depth[0], geometry.view[0], case.settings)
        close("step 1, canonical mask", mask, gold["step1/canon_mask"][0, 0], 1e-4)


def test_golden_step1_gradient_norms(case, first_step, close):
    for name in ("depth", "albedo", "view", "light"):
        golden = case.gold[f"step1/gradnorm/{TORCH_NAMES[name]}"]
        close(f"step 1, gradient norm of the {name} network", _norm(first_step[3][name]), golden, 1e-2)


@pytest.fixture(scope="module")
def second_step(case, first_step):
    _, albedo, geometry, _ = first_step
    depth, view, light = geometry.depth[0], geometry.view[0], geometry.light[0]
    masked = case.settings.use_mask
    mask = canonical_mask(case.example.mask, depth, view, case.settings) if masked else jnp.ones_like(depth)
    factors = Factors(depth=depth, albedo=albedo, view=view, light=light, mask=mask)
    gold = case.gold
    direction = jnp.stack([gold["step2/draw_light_x"], gold["step2/draw_light_y"]], axis=-1)
    strength = jnp.asarray(gold["step2/draw_strength"].reshape(-1))

    @jax.jit
    def run(params):
        pseudo, mask = sampling.pseudo_images(
            factors, jnp.asarray(gold["step2/draw_view"]), direction, strength, case.settings
        )
        value = jax.value_and_grad(
            lambda p: step2.step2_loss(p, PseudoImages(pseudo, mask), _context(case)), has_aux=True
        )
        (_, (scalars, projected)), gradient = value(params)
        return pseudo, mask, scalars, projected, gradient

    return run(case.params)


def test_golden_step2_pseudo_images(case, second_step, close, parity):
    pseudo, mask, _, projected, _ = second_step
    gold = case.gold
    # The rough random depth leaves a few sub-pixels to rounding, so a share of the pixels is compared.
    for name, ours, golden in (
        ("pseudo-images", pseudo, _nhwc(gold["step2/pseudo"])),
        ("their masks", mask, gold["step2/mask"][:, 0]),
    ):
        off = share_off(np.abs(np.asarray(ours) - golden) < 1e-3)
        parity(f"step 2, {name}", off, 5e-3, "pipeline.npz", "share of values off by > 1e-3")
    close("step 2, projected images", projected, _nhwc(gold["step2/projected"]), 1e-2)


def test_golden_step2_losses_and_gradient_norm(case, second_step, close):
    for name in ("loss", "l1", "features", "latent"):
        close(f"step 2, {_LOSSES[name]}", second_step[2][name], case.gold[f"step2/{name}"], 1e-3)
    norm = _norm(second_step[4]["encoder"])
    close("step 2, gradient norm of the encoder", norm, case.gold["step2/gradnorm/netEnc"], 1e-2)


@pytest.fixture(scope="module")
def third_step(case):
    images = _nhwc(case.gold["step2/projected"])
    masks = jnp.asarray(case.gold["step2/mask"][:, 0])
    value = jax.value_and_grad(
        lambda p: step3.step3_loss(p, ProjectedSamples(images, masks), _context(case), flip=case.flip3),
        has_aux=True,
    )
    (_, (scalars, _)), gradient = jax.jit(value)(case.params)
    return scalars, gradient


def test_golden_step3_losses_and_gradient_norms(case, third_step, close):
    scalars, gradient = third_step
    close("step 3, loss", scalars["loss"], case.gold["step3/loss"], 1e-3)
    close("step 3, photometric loss of the samples", scalars["l1_samples"], case.gold["step3/l1"], 1e-3)
    for name in ("depth", "albedo", "view", "light"):
        golden = case.gold[f"step3/gradnorm/{TORCH_NAMES[name]}"]
        close(f"step 3, gradient norm of the {name} network", _norm(gradient[name]), golden, 1e-2)
