"""Networks D, A, V, L and E: parity, initialisation, gradients; their convolutions in both formulations."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from helpers.parity_record import relative

from gan2shape_jax import platforms
from gan2shape_jax.errors import UserError
from gan2shape_jax.networks import convolution, modules
from gan2shape_jax.networks.modules import Encoder, EncoderDecoder, ResidualEncoder, initial_params
from gan2shape_jax.training.network_files import params_from_torch, torch_tensors

_AS_OTHERS = [pytest.param(net, marks=pytest.mark.heavy) for net in ("depth128", "light128", "latent128")]
NETS = ("albedo64", "depth64", "view64", "latent64", *_AS_OTHERS)  # the last ones at another size


def _module(net: str, state: dict, size: int, group_base: int | None):
    """A network whose every width is read from the reference's tensors."""
    first = state["network.0.weight"]
    last = state[max((k for k in state if k.endswith("weight")), key=lambda k: int(k.split(".")[1]))]
    common = {"size": size, "channels_out": last.shape[0], "width": first.shape[0]}
    if net.startswith("latent"):
        return ResidualEncoder(**common)
    if net.startswith(("view", "light")):
        return Encoder(**common)
    # The convolution to zdim is the only 4x4 one that is followed by one with as many inputs
    # (transposed).
    order = sorted((k for k in state if state[k].ndim == 4), key=lambda k: int(k.split(".")[1]))
    zdim = state[order[int(math.log2(size)) - 2]].shape[0]
    final = "tanh" if net.startswith("albedo") else None
    return EncoderDecoder(**common, zdim=zdim, group_base=group_base, final=final)


def _nhwc(x):
    return jnp.asarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else jnp.asarray(x)


def _to_torch(module, params) -> dict[str, np.ndarray]:
    """Returns the original's tensors by its names: the inverse of `params_from_torch`."""
    flat = flatten_dict(params)
    return {
        name: np.asarray(flat[path]).reshape([shape[axis] for axis in axes]).transpose(np.argsort(axes))
        for path, (name, shape, axes) in torch_tensors(module).items()
    }


@pytest.mark.parametrize("net", NETS)
def test_golden_outputs_and_input_gradients_and_weights_there_and_back(golden, parity, net):
    archive = golden("nets.npz")
    prefix = f"{net}/params/"
    state = {k.removeprefix(prefix): v for k, v in archive.items() if k.startswith(prefix)}
    images = _nhwc(archive[f"{net}/in"])
    # Group counts are not visible in the weights; the ratio to the width is the same in all of them.
    module = _module(net, state, images.shape[1], state["network.0.weight"].shape[0] // 2)
    params = params_from_torch(module, state)
    chex.assert_trees_all_equal(_to_torch(module, params), state)

    @jax.jit
    def run(x, cotangent):
        out, pull = jax.vjp(lambda x: module.apply({"params": params}, x), x)
        return out, pull(cotangent)[0]

    out, gradient = run(images, _nhwc(archive[f"{net}/cot"]))
    expected, expected_gradient = _nhwc(archive[f"{net}/out"]), _nhwc(archive[f"{net}/grad_in"])
    kind, side = net.rstrip("0123456789"), images.shape[1]
    parity(f"{kind} network, output, S={side}", relative(out, expected), 1e-4, "nets.npz")
    parity(f"{kind} network, input gradient, S={side}", relative(gradient, expected_gradient), 1e-3, "nets.npz")


def test_default_sizes_are_the_originals_and_a_width_that_does_not_divide_into_groups_is_refused():
    assert [modules.default_width(s) for s in (64, 128, 256, 512)] == [64, 32, 16, 16]
    assert [modules.default_group_base(s) for s in (64, 128, 256)] == [16, 8, 8]
    with pytest.raises(UserError, match="width 12 is not a multiple of its 8 groups"):
        EncoderDecoder(16, 1, 12, group_base=8).init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))


_MODULES = {
    "albedo": EncoderDecoder(32, 3, 16, zdim=128, group_base=8),
    "view": Encoder(32, 6, 16),
    "latent": ResidualEncoder(32, 128, 16),
}


@pytest.mark.parametrize("module", [*_MODULES.values(), modules.SkipDecoder(32, 10, 6)])
def test_parameters_are_those_of_the_layers(module):
    """What Flax makes when it runs the network, and what its layers say without running it."""
    image = jnp.zeros((1, 32, 32, modules.channels_of(module)))
    made = flatten_dict(jax.eval_shape(module.init, jax.random.key(0), image)["params"])
    said = flatten_dict(modules.param_shapes(module))
    drawn = flatten_dict(jax.eval_shape(lambda: initial_params(jax.random.key(0), {"net": module}))["net"])
    facts = [{path: (leaf.shape, leaf.dtype) for path, leaf in leaves.items()} for leaves in (made, said, drawn)]
    assert facts[0] == facts[1] == facts[2]


def _bound(path: tuple[str, ...], shape: tuple[int, ...], shapes) -> float:
    """1 / sqrt(fan in); torch's fan-in of a transposed convolution counts its outputs."""
    if path[-1] == "bias":
        return 1 / math.sqrt(shapes[(*path[:-1], "kernel")].shape[-2])
    if path[0] == "expand" or path[0].startswith("up_"):
        return 1 / math.sqrt(16 * shape[-1])
    return 1 / math.sqrt(math.prod(shape[:-1]))


def test_initial_weights_are_uniform_within_torchs_bounds():
    drawn = jax.jit(lambda key: initial_params(key, _MODULES))(jax.random.key(3))  # all networks' by a single draw
    for params in map(flatten_dict, jax.device_get(drawn).values()):
        for path, value in params.items():
            if "norm" in path[0]:
                np.testing.assert_array_equal(value, 1.0 if path[-1] == "scale" else 0.0)
                continue
            bound = _bound(path, value.shape, params)
            assert np.abs(value).max() <= bound * (1 + 1e-6), path
            # Four standard errors of the standard deviation, and of the mean, of that many uniform numbers.
            assert abs(value.std() / (bound / math.sqrt(3)) - 1) < 4 * math.sqrt(0.2 / value.size), path
            assert abs(value.mean()) < 4 * bound / math.sqrt(3 * value.size), path


def test_initial_weights_are_a_function_of_the_key_and_differ_between_networks():
    modules = {name: Encoder(16, 4, 4) for name in ("a", "b")}
    draw = jax.jit(lambda key: initial_params(key, modules))
    first, again, other = (draw(jax.random.key(seed)) for seed in (0, 0, 1))
    chex.assert_trees_all_equal(first, again)
    for left, right in ((first["a"], first["b"]), (first["a"], other["a"])):
        for x, y in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
            assert not np.array_equal(x, y)


@pytest.mark.parametrize(
    "module",
    [EncoderDecoder(16, 1, 4, zdim=8, group_base=2, final=None), Encoder(16, 4, 4), ResidualEncoder(16, 8, 4)],
    ids=["sheet", "vector", "latent"],
)
def test_network_gradients_match_finite_differences(module):
    """Along one random direction of parameters and image, in float64."""
    with jax.enable_x64():
        x = np.random.default_rng(1).normal(size=(2, 16, 16, 3))
        shapes = jax.eval_shape(lambda: initial_params(jax.random.key(1), {"net": module}))["net"]
        rng = np.random.default_rng(0)
        # Kernels and biases as large as initial ones; the scales of norms are around one.
        sizes = {path: math.sqrt(v.shape[-1] / max(v.size, 16)) for path, v in flatten_dict(shapes).items()}
        nets = {k: (k[-1] == "scale") + rng.uniform(-s, s, flatten_dict(shapes)[k].shape) for k, s in sizes.items()}
        start = (unflatten_dict(nets), x)
        direction = jax.tree.map(lambda v: rng.standard_normal(v.shape), start)

        @jax.jit
        @jax.value_and_grad
        def loss(point):
            return jnp.sum(jnp.sin(3 * module.apply({"params": point[0]}, point[1])))

        def at(step):
            return jax.device_get(loss(jax.tree.map(lambda p, d: p + step * d, start, direction)))

        value, gradient = at(0)
        assert value.dtype == np.float64
        slope = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
        for flat in (0.0, 1.0):  # constant images too have finite gradients
            chex.assert_tree_all_finite(loss((start[0], np.full_like(x, flat))))
        step = 1e-8  # larger ones cross kinks of the activations
        numeric = float(at(step)[0] - at(-step)[0]) / (2 * step)
        assert float(slope) == pytest.approx(numeric, rel=1e-4)


_OPERATIONS = {
    "convolve3": (convolution.convolve, 3),
    "convolve5": (convolution.convolve, 5),
    "half3": (convolution.convolve_half, 3),
    "half4": (convolution.convolve_half, 4),
    "twice": (convolution.convolve_twice, 4),
    "upsample": (convolution.upsample_convolve, 3),
    # Those of the GAN.
    "shrink": (lambda x, kernel: convolution.convolve_half(x[:, 1:, 1:], kernel, 0), 3),
    "grow": (lambda x, kernel: convolution.convolve_twice(x, kernel, 0), 3),
}


@pytest.mark.parametrize("channels", [(3, 5), pytest.param((5, 3), marks=pytest.mark.heavy)])
def test_both_formulations_of_a_convolution_agree(channels):
    """Forward, backward and, for the GAN, the derivative of a gradient's norm: on a CPU and elsewhere."""
    cases, rng = [], np.random.default_rng(0)
    with jax.enable_x64():
        for name, (operation, size) in _OPERATIONS.items():
            x, kernel = rng.normal(size=(2, 6, 8, channels[0])), rng.normal(size=(size, size, *channels))
            cases.append((operation, x, kernel, name in ("convolve3", "shrink", "grow") and channels == (3, 5)))

        @jax.jit
        def run(arrays):
            def derivatives(operation, x, kernel, *, twice):
                def loss(x, kernel):
                    return jnp.sum(jnp.sin(operation(x, kernel)))

                def norm(x, kernel):
                    return sum(jnp.sum(gradient**2) for gradient in jax.grad(loss, (0, 1))(x, kernel))

                second = jax.grad(norm, (0, 1))(x, kernel) if twice else ()
                return operation(x, kernel), jax.grad(loss, (0, 1))(x, kernel), second

            return [derivatives(case[0], *pair, twice=case[3]) for case, pair in zip(cases, arrays, strict=True)]

        arrays = [case[1:3] for case in cases]
        results = run(arrays)
        with platforms.tracing_for("gpu"):
            others = run(arrays)
        for first, other in zip(jax.tree.leaves(results), jax.tree.leaves(others), strict=True):
            np.testing.assert_allclose(first, other, rtol=1e-9, atol=1e-10 * np.abs(other).max())


@pytest.mark.parametrize(("platform", "dilates"), [("cpu", False), ("gpu", True)])
@pytest.mark.parametrize("module", [EncoderDecoder(16, 3, 8, zdim=8, group_base=4), ResidualEncoder(16, 8, 4)])
def test_convolutions_dilate_their_input_anywhere_but_on_a_cpu(platform, dilates, module):
    """What makes XLA slow on a CPU appears neither forward nor backward in what a CPU gets, and only there."""
    x = jnp.zeros((1, 16, 16, 3))
    params = jax.eval_shape(module.init, jax.random.key(0), x)
    with platforms.tracing_for(platform):
        text = jax.jit(jax.grad(lambda p, x, m=module: m.apply(p, x).sum())).lower(params, x).as_text()
    assert ("lhs_dilate = [2, 2]" in text) == dilates


def test_group_norm_has_zero_mean_and_unit_variance_however_large_the_mean():
    x = 1000 + jax.random.normal(jax.random.key(0), (2, 16, 16, 8))
    normed = jax.jit(lambda x: modules.group_norm(x, jnp.ones(8), jnp.zeros(8), groups=2))
    out = np.asarray(normed(x), np.float64)
    grouped = out.reshape(2, 256, 2, 4)
    np.testing.assert_allclose(grouped.mean(axis=(1, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(grouped.std(axis=(1, 3)), 1, atol=1e-3)
