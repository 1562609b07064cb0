"""Converted weights against an independent PyTorch form of StyleGAN2."""

import jax
import jax.numpy as jnp
import pytest
from helpers.stylegan2_form import TorchForm as _TorchForm
from helpers.tiny_stylegan2 import nhwc as _nhwc
from helpers.tiny_stylegan2 import relative as _relative

from gan2shape_jax import stylegan2
from gan2shape_jax.stylegan2 import Architecture
from tools.convert_stylegan2 import convert

# Compiled once for each architecture and use: running the operations one by one is slower.
_synthesize = jax.jit(stylegan2.synthesize, static_argnames="arch")
_discriminate = jax.jit(stylegan2.discriminate, static_argnames="arch")


@pytest.mark.parametrize(
    "arch",
    [
        Architecture(16, 8, 3, (3, 5, 4), (3, 6)),
        Architecture(128, 4, 8, (4, 6, 2, 3, 2, 2), (3, 2, 2, 4, 3)),
    ],
    ids=lambda a: str(a.size),
)
def test_converted_weights_compute_what_pytorch_computes(tmp_path, arch, parity):
    torch = pytest.importorskip("torch")
    form = _TorchForm(torch)
    g, d = form.random_states(arch, arch.size)
    torch.save({"g_ema": g, "d": d}, tmp_path / "x.pt")
    converted, params = convert(tmp_path / "x.pt")
    assert converted == arch
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
