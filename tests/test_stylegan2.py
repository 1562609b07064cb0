"""StyleGAN2 against the reference's tensors, an independent PyTorch form, and plain definitions."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from parity_record import LARGEST, largest

from gan2shape_jax import stylegan2
from gan2shape_jax.errors import UserError
from gan2shape_jax.stylegan2 import Architecture, layers, weights
from tools.convert_stylegan2 import convert

_TINY = Architecture(size=16, style_dim=6, mapping_layers=2, channels=(5, 4, 3),
                     discriminator_channels=(4, 5, 3))


def _nhwc(x):
    return jnp.asarray(np.moveaxis(x, 1, -1))


def _relative(ours, golden):
    """The greatest relative L2 error of an item; `golden` is NCHW or (B, W)."""
    ours = np.asarray(ours)
    golden = np.moveaxis(golden, 1, -1) if golden.ndim == 4 else golden
    assert ours.shape == golden.shape
    flat = [x.reshape(len(x), -1) for x in (ours - golden, golden)]
    return (np.linalg.norm(flat[0], axis=1) / np.linalg.norm(flat[1], axis=1)).max()


@pytest.fixture(scope="module")
def case(golden, golden_path):
    arch, params = convert(golden_path("stylegan2.pt"))
    return arch, jax.tree.map(jnp.asarray, params), golden("stylegan2.npz")


@pytest.fixture(scope="module")
def tiny():
    """Random parameters of every kind, none of them zero."""
    generator = np.random.default_rng(0)
    return weights._nest({
        name: jnp.asarray((100 if "mapping" in name else 1) * generator.standard_normal(shape),
                          jnp.float32) + name.endswith("style_bias")
        for name, shape in weights.parameter_shapes(_TINY).items()})


# Compiled once for each architecture and use: running the operations one by one is slower.
_synthesize = jax.jit(stylegan2.synthesize, static_argnames=("arch", "return_features"))
_discriminate = jax.jit(stylegan2.discriminate, static_argnames="arch")
_features = jax.jit(stylegan2.discriminator_features, static_argnames=("arch", "count"))


def _indices(gold, prefix):
    return sorted(int(k.removeprefix(prefix)) for k in gold if k.startswith(prefix)
                  and k.removeprefix(prefix).isdigit())


def test_golden_mapping_is_entered_and_left_at_any_module(case, parity):
    arch, params, gold = case
    run = functools.partial(stylegan2.map_styles, params["generator"], arch=arch)
    name, file = "StyleGAN2 mapping network", "stylegan2.npz"
    parity(name, _relative(run(gold["z"]), gold["w"]), 1e-4, file)
    depths = _indices(gold, "hidden_F1d")
    assert depths
    for depth in depths:
        module = arch.mapping_layers - depth
        hidden = gold[f"hidden_F1d{depth}"]
        parity(f"{name}, left {depth} modules early", _relative(run(gold["z"], last=module), hidden), 1e-4, file)
        entered = _relative(run(hidden + 0.1, first=module), gold[f"reentry_F1d{depth}"])
        parity(f"{name}, entered {depth} modules before its end", entered, 1e-4, file)
    center = _relative(run(jnp.zeros_like(gold["center_w"])), gold["center_w"])
    parity(f"{name}, centre", center, 1e-4, file)


def test_golden_images_and_features(case, parity):
    arch, params, gold = case
    image, features = _synthesize(params["generator"], gold["w"], arch=arch, return_features=True)
    parity("StyleGAN2 images", largest(np.moveaxis(np.asarray(image), -1, 1), gold["image"]), 1e-3, "stylegan2.npz",
           LARGEST)
    assert len(features) == len(_indices(gold, "features")) > 0
    for i, feature in enumerate(features):
        parity("StyleGAN2 generator, features", _relative(feature, gold[f"features{i}"]), 1e-3, "stylegan2.npz")


def test_golden_truncated_images(case, parity):
    arch, params, gold = case
    w = stylegan2.truncate(jnp.asarray(gold["w"]), gold["mean_w"], 0.7)
    image, _ = _synthesize(params["generator"], w, arch=arch, return_features=True)
    off = largest(np.moveaxis(np.asarray(image), -1, 1), gold["image_truncated"])
    parity("StyleGAN2 truncated images", off, 1e-3, "stylegan2.npz", LARGEST)


def test_golden_discriminator(case, parity):
    arch, params, gold = case
    images = _nhwc(gold["d_in"])
    logits, features = _discriminate(params["discriminator"], images, arch=arch)
    parity("StyleGAN2 discriminator, logits", _relative(logits, gold["d_out"]), 1e-3, "stylegan2.npz")
    wanted = _indices(gold, "d_feature")
    assert len(features) == len(wanted) > 0
    for i in wanted:
        off = _relative(features[i], gold[f"d_feature{i}"])
        parity("StyleGAN2 discriminator, features", off, 1e-3, "stylegan2.npz")


# --- Parts against plain definitions -----------------------------------------------------------

def _filter_reference(x, *, up=1, down=1, pad=(0, 0), gain=1.0):
    """Zero-insertion, padding, 4x4 depthwise filter, subsampling: by the definition, in NumPy."""
    x = np.asarray(x, np.float64)
    b, h, w, c = x.shape
    grown = np.zeros((b, h * up, w * up, c))
    grown[:, ::up, ::up] = x
    grown = np.pad(grown, ((0, 0), pad, pad, (0, 0)))
    taps = np.array([1, 3, 3, 1]) / 8
    out = sum(taps[i] * taps[j] * grown[:, i:grown.shape[1] - 3 + i, j:grown.shape[2] - 3 + j]
              for i in range(4) for j in range(4))
    return gain * out[:, ::down, ::down]


def _operations():
    return {"upsample": (layers.upsample, {"up": 2, "pad": (2, 1), "gain": 4}),
            "blur_half": (layers.blur_half, {"down": 2, "pad": (1, 1)}),
            "blur_1": (lambda x: layers.blur(x, 1), {"pad": (1, 1)}),
            "blur_2": (lambda x: layers.blur(x, 2), {"pad": (2, 2)})}


@pytest.mark.parametrize("name", _operations())
@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (1, 8, 16, 2)])
def test_filters_match_their_definition_and_gradient(name, shape):
    operation, settings = _operations()[name]
    operation = jax.jit(operation)
    with jax.enable_x64():
        x = jax.random.normal(jax.random.key(3), shape, jnp.float64)
        out = operation(x)
        np.testing.assert_allclose(out, _filter_reference(x, **settings), atol=1e-12)
        # The derivatives are given by hand; a linear map's adjoint shows by inner products.
        other = jax.random.normal(jax.random.key(4), out.shape, jnp.float64)
        (back,) = jax.vjp(operation, x)[1](other)
        probe = jax.random.normal(jax.random.key(5), shape, jnp.float64)
        np.testing.assert_allclose(jnp.vdot(back, probe), jnp.vdot(other, operation(probe)),
                                   rtol=1e-10)


def test_upsampling_and_downsampling_convolutions_match_their_definition():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))
    transposed = lax.conv_transpose(x, kernel, (2, 2), "VALID",
                                    dimension_numbers=("NHWC", "HWIO", "NHWC"))
    ours = layers.upsample_convolve(x, kernel[::-1, ::-1])  # lax correlates, PyTorch scatters
    np.testing.assert_allclose(ours, _filter_reference(transposed, pad=(1, 1), gain=4),
                               atol=1e-4)
    blurred = jnp.asarray(_filter_reference(x, pad=(2, 2)), x.dtype)
    wanted = sum(jnp.einsum("bhwi,io->bhwo", blurred[:, i:i + 5:2, j:j + 5:2], kernel[i, j])
                 for i in range(3) for j in range(3))
    np.testing.assert_allclose(layers.convolve_half(x, kernel), wanted, atol=1e-4)


def test_gradients_are_those_of_finite_differences(tiny):
    with jax.enable_x64():
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tiny)
        w = jax.random.normal(jax.random.key(2), (2, _TINY.style_dim), jnp.float64)

        def loss(w):
            image = stylegan2.synthesize(params["generator"], w, arch=_TINY)
            assert image.dtype == jnp.float64
            logits, features = stylegan2.discriminate(params["discriminator"], image, arch=_TINY)
            return jnp.sum(logits ** 2) + sum(jnp.mean(f ** 2) for f in features)

        loss = jax.jit(loss)
        gradient = jax.jit(jax.grad(loss))(w)
        step = 1e-6
        for i, j in ((0, 0), (1, 3), (0, 5)):
            moved = jnp.zeros_like(w).at[i, j].set(step)
            numeric = (loss(w + moved) - loss(w - moved)) / (2 * step)
            np.testing.assert_allclose(gradient[i, j], numeric, rtol=1e-4, atol=1e-7)


def test_gradients_are_finite_at_zero(tiny):
    """Zero latents, images and deviations are where square roots and norms could fail."""
    grad = jax.jit(jax.grad(lambda z: stylegan2.map_styles(tiny["generator"], z, arch=_TINY).sum()))
    assert jnp.isfinite(grad(jnp.zeros((2, _TINY.style_dim)))).all()
    grad = jax.jit(jax.grad(
        lambda x: stylegan2.discriminate(tiny["discriminator"], x, arch=_TINY)[0].sum()))
    assert jnp.isfinite(grad(jnp.zeros((2, 16, 16, 3)))).all()  # equal images: no deviation


# --- Latents, noise, features ------------------------------------------------------------------

def test_w_plus_of_equal_styles_is_w_and_mixing_takes_from_both(tiny):
    draw = functools.partial(_synthesize, tiny["generator"], arch=_TINY, return_features=True)
    w1, w2 = jax.random.normal(jax.random.key(0), (2, 3, _TINY.style_dim))
    mix = functools.partial(stylegan2.mix_styles, w1, w2, arch=_TINY)
    np.testing.assert_allclose(draw(mix(_TINY.latents))[0], draw(w1)[0], atol=1e-5)
    np.testing.assert_allclose(draw(mix(0))[0], draw(w2)[0], atol=1e-5)
    half = mix(2)
    assert half.shape == (3, 6, 6)
    np.testing.assert_array_equal(half[:, 1], w1)
    np.testing.assert_array_equal(half[:, 2], w2)
    # The last style is that of the last colours alone: features do not see it.
    one, two = (draw(x) for x in (mix(_TINY.latents), mix(_TINY.latents - 1)))
    np.testing.assert_allclose(one[1][-1], two[1][-1], atol=1e-6)
    assert jnp.abs(one[0] - two[0]).max() > 1e-3


def test_noise_is_fixed_unless_it_is_given(tiny):
    draw = functools.partial(_synthesize, tiny["generator"], arch=_TINY)
    w = jnp.ones((2, _TINY.style_dim))
    fixed = draw(w)
    np.testing.assert_allclose(fixed[0], fixed[1], atol=1e-6)
    stored = [tiny["generator"]["noise"][str(i)] for i in range(_TINY.layers)]
    np.testing.assert_array_equal(draw(w, noise=stored), fixed)
    noise = stylegan2.random_noise(jax.random.key(7), 2, arch=_TINY)
    assert [n.shape for n in noise] == [(2, s, s) for s in (4, 8, 8, 16, 16)]
    random = draw(w, noise=noise)
    assert jnp.abs(random[0] - random[1]).max() > 1e-2  # every image has its own
    np.testing.assert_array_equal(random, draw(w, noise=stylegan2.random_noise(
        jax.random.key(7), 2, arch=_TINY)))


def test_truncation_leads_to_the_mean(tiny):
    mean = stylegan2.mean_w(jax.random.key(0), tiny["generator"], arch=_TINY, samples=500)
    assert mean.shape == (1, _TINY.style_dim)
    w = jax.random.normal(jax.random.key(1), (4, _TINY.style_dim))
    np.testing.assert_allclose(stylegan2.truncate(w, mean, 1.0), w, atol=1e-6)
    np.testing.assert_allclose(stylegan2.truncate(w, mean, 0.0), jnp.tile(mean, (4, 1)), atol=1e-6)


@pytest.mark.parametrize("side, wanted", [(8, (4, 2)), (16, (8, 4)), (64, (32, 16))])
def test_discriminator_features_of_any_side(tiny, side, wanted):
    """A discriminator of two blocks gives two, whatever side it sees."""
    images = jax.random.normal(jax.random.key(0), (2, side, side, 3))
    features = _features(tiny["discriminator"], images, arch=_TINY)
    assert [f.shape for f in features] == [(2, s, s, c) for s, c in zip(wanted, (5, 4))]
    one = _features(tiny["discriminator"], images, arch=_TINY, count=1)
    np.testing.assert_allclose(one[0], features[0], atol=1e-5)


def test_wrong_shapes_are_refused(tiny):
    with pytest.raises(ValueError, match="latents"):
        stylegan2.synthesize(tiny["generator"], jnp.zeros((1, 7)), arch=_TINY)
    with pytest.raises(ValueError, match="power of two"):
        stylegan2.discriminator_features(
            tiny["discriminator"], jnp.zeros((1, 12, 12, 3)), arch=_TINY)
    with pytest.raises(ValueError, match="modules"):
        stylegan2.map_styles(tiny["generator"], jnp.zeros((1, 6)), arch=_TINY, first=2, last=1)
    with pytest.raises(ValueError, match="groups"):
        stylegan2.discriminate(tiny["discriminator"], jnp.zeros((6, 16, 16, 3)), arch=_TINY)
    with pytest.raises(ValueError):
        Architecture(size=48, style_dim=8, mapping_layers=2, channels=(4, 4, 4),
                     discriminator_channels=(4, 4))


# --- Weight files ------------------------------------------------------------------------------

def test_weight_files_keep_everything(tmp_path, tiny):
    path = tmp_path / "gan.safetensors"
    stylegan2.save(path, _TINY, tiny, license_note="ours", source_sha256="ab", notes="none")
    arch, params = stylegan2.load(path)
    assert arch == _TINY and hash(arch) == hash(_TINY)
    jax.tree.map(np.testing.assert_array_equal, params, tiny)
    assert stylegan2.read_header(path)[1]["license"] == "ours"
    assert [p.name for p in tmp_path.iterdir()] == ["gan.safetensors"]


def test_weight_files_that_do_not_fit_are_listed(tmp_path, tiny):
    import safetensors.numpy
    path = tmp_path / "gan.safetensors"
    stylegan2.save(path, _TINY, tiny)
    header = stylegan2.read_header(path)[1]
    tensors = safetensors.numpy.load_file(path)
    tensors["strange"] = tensors.pop("generator/input")
    tensors["generator/mapping/1/bias"] = np.zeros(7, np.float32)
    tensors["generator/to_rgb/0/bias"] = np.array([0, np.nan, 0], np.float32)
    safetensors.numpy.save_file(tensors, path, header)
    with pytest.raises(UserError) as error:
        stylegan2.load(path)
    for part in (str(path), "missing: generator/input", "extra: strange",
                 "generator/mapping/1/bias (7,), not (6,)",
                 "NaN or infinity: generator/to_rgb/0/bias"):
        assert part in str(error.value)


def test_files_of_other_kinds_name_the_conversion(tmp_path, tiny):
    import safetensors.numpy
    (tmp_path / "gan.pt").write_bytes(b"PK garbage")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    safetensors.numpy.save_file({"x": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    whole = tmp_path / "whole.safetensors"
    stylegan2.save(whole, _TINY, tiny)
    (tmp_path / "cut.safetensors").write_bytes(whole.read_bytes()[:-10])
    for name in ("gan.pt", "empty.safetensors", "other.safetensors", "cut.safetensors",
                 "absent.safetensors"):
        with pytest.raises(UserError) as error:
            stylegan2.load(tmp_path / name)
        stem = str(tmp_path / name.split(".")[0])
        assert f"convert_stylegan2 {stem}.pt {stem}.safetensors" in str(error.value)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"size": 16}', "null"])
def test_damaged_headers_are_refused(tmp_path, tiny, content):
    import safetensors.numpy
    path = tmp_path / "gan.safetensors"
    safetensors.numpy.save_file({"x": np.zeros(3, np.float32)}, path, {
        "format": weights._FORMAT, "architecture": content})
    with pytest.raises(UserError, match="describes no StyleGAN2"):
        stylegan2.load(path)
    fields = _TINY.to_dict() | {"style_dim": "wide"}
    with pytest.raises(ValueError, match="whole numbers"):
        Architecture.from_dict(fields)


def test_a_failed_write_leaves_nothing(tmp_path, tiny, monkeypatch):
    def fail(flat, name, header):
        with open(name, "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights.safetensors.numpy, "save_file", fail)
    with pytest.raises(UserError, match="No space left"):
        stylegan2.save(tmp_path / "gan.safetensors", _TINY, tiny)
    assert list(tmp_path.iterdir()) == []


# --- An independent form in PyTorch ------------------------------------------------------------

class _TorchForm:
    """StyleGAN2 by its definition: kernels modulated for each image, filters as convolutions.

    Works on state dictionaries with the names of rosinality/stylegan2-pytorch.
    """

    def __init__(self, torch):
        self.torch, self.f = torch, torch.nn.functional
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
        self.filter = taps[:, None] * taps

    def random_states(self, arch, seed):
        generator = self.torch.Generator().manual_seed(seed)

        def draw(*shape):
            return self.torch.randn(*shape, generator=generator)

        g, d, w = {}, {}, arch.style_dim
        for i in range(1, arch.mapping_layers + 1):
            g |= {f"style.{i}.weight": 100 * draw(w, w), f"style.{i}.bias": draw(w)}
        ch = arch.channels
        g["input.input"] = draw(1, ch[0], 4, 4)

        def styled(name, i, o, k):
            g[f"{name}.conv.weight"] = draw(1, o, i, k, k)
            g[f"{name}.conv.modulation.weight"] = draw(i, w)
            g[f"{name}.conv.modulation.bias"] = 1 + 0.1 * draw(i)
            if k == 3:
                g[f"{name}.noise.weight"], g[f"{name}.activate.bias"] = 0.1 * draw(1), 0.1 * draw(o)
            else:
                g[f"{name}.bias"] = draw(1, 3, 1, 1)

        styled("conv1", ch[0], ch[0], 3)
        styled("to_rgb1", ch[0], 3, 1)
        for i, (a, b) in enumerate(zip(ch[:-1], ch[1:])):
            styled(f"convs.{2 * i}", a, b, 3)
            styled(f"convs.{2 * i + 1}", b, b, 3)
            styled(f"to_rgbs.{i}", b, 3, 1)
            kernel = (4 * self.filter).float()
            g[f"convs.{2 * i}.conv.blur.kernel"] = g[f"to_rgbs.{i}.upsample.kernel"] = kernel
        for i in range(2 * len(ch) - 1):
            side = 4 * 2 ** ((i + 1) // 2)
            g[f"noises.noise_{i}"] = draw(1, 1, side, side)
        wd = arch.discriminator_channels[::-1]
        d["convs.0.0.weight"], d["convs.0.1.bias"] = draw(wd[0], 3, 1, 1), 0.1 * draw(wd[0])
        for i, (a, b) in enumerate(zip(wd[:-1], wd[1:]), 1):
            d |= {f"convs.{i}.conv1.0.weight": draw(a, a, 3, 3), f"convs.{i}.conv1.1.bias": draw(a),
                  f"convs.{i}.conv2.1.weight": draw(b, a, 3, 3), f"convs.{i}.conv2.2.bias": draw(b),
                  f"convs.{i}.skip.1.weight": draw(b, a, 1, 1),
                  f"convs.{i}.conv2.0.kernel": self.filter.float(),
                  f"convs.{i}.skip.0.kernel": self.filter.float()}
        last = wd[-1]
        d |= {"final_conv.0.weight": draw(last, last + 1, 3, 3), "final_conv.1.bias": draw(last),
              "final_linear.0.weight": draw(last, last * 16), "final_linear.0.bias": draw(last),
              "final_linear.1.weight": draw(1, last), "final_linear.1.bias": draw(1)}
        return g, d

    def lrelu(self, x):
        return self.f.leaky_relu(x, 0.2) * math.sqrt(2)

    def depthwise(self, x, pads, gain=1.0, stride=1):
        kernel = (gain * self.filter)[None, None].repeat(x.shape[1], 1, 1, 1)
        return self.f.conv2d(self.f.pad(x, pads * 2), kernel, stride=stride, groups=x.shape[1])

    def linear(self, x, weight, bias, scale=1.0):
        return x @ weight.T * (scale / math.sqrt(weight.shape[1])) + bias * scale

    def styled(self, g, name, x, w, noise=None, grow=False, demodulate=True):
        torch, f = self.torch, self.f
        weight = g[f"{name}.conv.weight"]
        _, o, i, k, _ = weight.shape
        at = f"{name}.conv.modulation"
        style = self.linear(w, g[f"{at}.weight"], g[f"{at}.bias"])
        outs = []
        for item, s in zip(x, style):
            kernel = weight[0] * s[None, :, None, None] / math.sqrt(i * k * k)
            if demodulate:
                kernel = kernel / torch.sqrt((kernel ** 2).sum((1, 2, 3), keepdim=True) + 1e-8)
            if grow:
                y = f.conv_transpose2d(item[None], kernel.transpose(0, 1), stride=2)
                outs.append(self.depthwise(y, (1, 1), 4.0))
            else:
                outs.append(f.conv2d(item[None], kernel, padding=k // 2))
        y = torch.cat(outs)
        if noise is None:
            return y + g[f"{name}.bias"]
        y = y + g[f"{name}.noise.weight"] * noise
        return self.lrelu(y + g[f"{name}.activate.bias"][:, None, None])

    def map(self, g, z, count):
        x = z / self.torch.sqrt((z ** 2).mean(1, keepdim=True) + 1e-8)
        for i in range(1, count + 1):
            x = self.lrelu(self.linear(x, g[f"style.{i}.weight"], g[f"style.{i}.bias"], 0.01))
        return x

    def generate(self, g, w, levels):
        x = g["input.input"].repeat(len(w), 1, 1, 1)
        x = self.styled(g, "conv1", x, w, g["noises.noise_0"])
        image = self.styled(g, "to_rgb1", x, w, demodulate=False)
        for i in range(levels - 1):
            x = self.styled(g, f"convs.{2 * i}", x, w, g[f"noises.noise_{2 * i + 1}"], grow=True)
            x = self.styled(g, f"convs.{2 * i + 1}", x, w, g[f"noises.noise_{2 * i + 2}"])
            b, c, h, _ = image.shape
            grown = self.torch.zeros(b, c, 2 * h, 2 * h, dtype=image.dtype)
            grown[:, :, ::2, ::2] = image
            image = self.styled(g, f"to_rgbs.{i}", x, w, demodulate=False) + self.depthwise(
                grown, (2, 1), 4.0)
        return image

    def judge(self, d, x, blocks, group=4):
        torch, f = self.torch, self.f

        def conv(x, name, **kwargs):
            weight = d[name]
            return f.conv2d(x, weight / math.sqrt(weight[0].numel()), **kwargs)

        def activate(x, name):
            return self.lrelu(x + d[name][:, None, None])

        x = activate(conv(x, "convs.0.0.weight"), "convs.0.1.bias")
        for i in range(1, blocks + 1):
            at = f"convs.{i}"
            y = activate(conv(x, f"{at}.conv1.0.weight", padding=1), f"{at}.conv1.1.bias")
            y = conv(self.depthwise(y, (2, 2)), f"{at}.conv2.1.weight", stride=2)
            skip = conv(self.depthwise(x, (1, 1)), f"{at}.skip.1.weight", stride=2)
            x = (activate(y, f"{at}.conv2.2.bias") + skip) / math.sqrt(2)
        b, size = len(x), min(len(x), group)
        extra = torch.zeros(b, 1, 4, 4, dtype=x.dtype)
        for first in range(b // size):
            members = list(range(first, b, b // size))
            extra[members] = torch.sqrt(x[members].var(0, unbiased=False) + 1e-8).mean()
        x = conv(torch.cat([x, extra], 1), "final_conv.0.weight", padding=1)
        x = activate(x, "final_conv.1.bias").flatten(1)
        x = self.lrelu(self.linear(x, d["final_linear.0.weight"], d["final_linear.0.bias"]))
        return self.linear(x, d["final_linear.1.weight"], d["final_linear.1.bias"])


@pytest.mark.parametrize("arch", [
    Architecture(8, 5, 1, (6, 3), (4, 5)), Architecture(16, 8, 3, (3, 5, 4), (3, 6)),
    Architecture(128, 4, 8, (4, 6, 2, 3, 2, 2), (3, 2, 2, 4, 3))], ids=lambda a: str(a.size))
def test_converted_weights_compute_what_pytorch_computes(tmp_path, arch, parity):
    torch = pytest.importorskip("torch")
    form = _TorchForm(torch)
    g, d = form.random_states(arch, arch.size)
    torch.save({"g_ema": g, "d": d}, tmp_path / "x.pt")
    found, params = convert(tmp_path / "x.pt")
    assert found == arch
    g, d = ({k: v.double() for k, v in state.items()} for state in (g, d))
    z = torch.randn(8, arch.style_dim, generator=torch.Generator().manual_seed(0)).double()
    w = form.map(g, z, arch.mapping_layers)
    ours = stylegan2.map_styles(params["generator"], jnp.asarray(z.float().numpy()), arch=arch)
    name = f"rosinality StyleGAN2 of {arch.size} pixels"
    parity(f"{name}, latents w", _relative(ours, w.numpy()), 1e-4)
    image = form.generate(g, w[:2], len(arch.channels))
    drawn = _synthesize(params["generator"], ours[:2], arch=arch)
    parity(f"{name}, images", _relative(drawn, image.numpy()), 1e-4)
    side = arch.discriminator_size
    x = torch.randn(8, 3, side, side, generator=torch.Generator().manual_seed(1)).double()
    judged = form.judge(d, x, len(arch.discriminator_channels) - 1)
    logits, _ = _discriminate(params["discriminator"], _nhwc(x.float().numpy()), arch=arch)
    parity(f"{name}, discriminator's logits", _relative(logits, judged.numpy()), 1e-3)
