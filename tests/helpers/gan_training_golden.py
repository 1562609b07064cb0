"""Makes tests/golden/gan_training.npz: losses, penalties and updates of a tiny StyleGAN2 in PyTorch.

    PYTHONPATH=tests python -m helpers.gan_training_golden

Networks are those of `nvidia_networks`, gradients and Adam PyTorch's; parameters have our names and layouts.
"""

import pathlib

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from torch.func import functional_call
from torch.nn.functional import softplus

from helpers.nvidia_networks import Discriminator, Generator
from helpers.tiny_stylegan2 import TINY, random_parameters

RATE, R1_EVERY, PATH_EVERY, BATCH, DECAY, PATH_MEAN = 0.01, 16, 4, 4, 0.01, 0.3
_OUT = pathlib.Path(__file__).parents[1] / "golden" / "gan_training.npz"


def _named(leaves):
    """Parameters under the names of NVIDIA's code, as functions of those under ours."""
    g, d = {}, {}

    def styled(at, name):
        g[f"{name}.weight"] = leaves[f"{at}/weight"].permute(3, 2, 0, 1)
        g[f"{name}.bias"] = leaves[f"{at}/bias"]
        g[f"{name}.affine.weight"] = leaves[f"{at}/style_weight"].T
        g[f"{name}.affine.bias"] = leaves[f"{at}/style_bias"]

    g["b4.const"] = leaves["generator/input"].permute(2, 0, 1)
    for i in range(TINY.layers):
        at, name = f"generator/layers/{i}", f"b{4 << (i + 1) // 2}.conv{1 - i % 2}"
        styled(at, name)
        g[f"{name}.noise_strength"] = leaves[f"{at}/noise_strength"]
        g[f"{name}.noise_const"] = leaves[f"generator/noise/{i}"].detach()
    for level in range(len(TINY.channels)):
        styled(f"generator/to_rgb/{level}", f"b{4 << level}.torgb")

    def conv(at, name):
        d[f"{name}.weight"] = leaves[f"discriminator/{at}/weight"].permute(3, 2, 0, 1)
        if f"discriminator/{at}/bias" in leaves:
            d[f"{name}.bias"] = leaves[f"discriminator/{at}/bias"]

    conv("from_rgb", f"b{TINY.size}.fromrgb")
    for i in range(len(TINY.discriminator_channels) - 1):
        for ours, name in (("conv1", "conv0"), ("conv2", "conv1"), ("skip", "skip")):
            conv(f"blocks/{i}/{ours}", f"b{TINY.size >> i}.{name}")
    conv("final_conv", "b4.conv")
    last = TINY.discriminator_channels[0]
    hidden = leaves["discriminator/final_linear/weight"].reshape(4, 4, last, last)
    d["b4.fc.weight"] = hidden.permute(3, 2, 0, 1).reshape(last, 16 * last)
    d["b4.fc.bias"] = leaves["discriminator/final_linear/bias"]
    d["b4.out.weight"] = leaves["discriminator/output/weight"].T
    d["b4.out.bias"] = leaves["discriminator/output/bias"]
    return g, d


def main():
    """Writes the file."""
    generator_of = Generator(TINY.style_dim, TINY.channels).synthesis.double()
    discriminator_of = Discriminator(TINY.discriminator_channels).double()
    draw = np.random.default_rng(1).standard_normal
    arguments = {
        "photos": np.clip(draw((BATCH, TINY.size, TINY.size, 3)) * 0.4, -1, 1),
        "styles": draw((BATCH, TINY.latents, TINY.style_dim)),
        "directions": draw((BATCH, TINY.size, TINY.size, 3)),
    }
    arguments = {name: value.astype(np.float32) for name, value in arguments.items()}
    params = {name: np.asarray(value) for name, value in flatten_dict(random_parameters(), sep="/").items()}
    kept = {}

    def fresh():
        # In double precision: what is compared with is then exact to all digits of single precision.
        leaves = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in params.items()}
        return leaves, *_named(leaves)

    tensors = {name: torch.from_numpy(value).double() for name, value in arguments.items()}
    photos, directions = (tensors[name].permute(0, 3, 1, 2) for name in ("photos", "directions"))

    def generate(g, styles):
        return functional_call(generator_of, g, (styles,))

    def discriminate(d, images):
        return functional_call(discriminator_of, d, (images,))[0]

    def update(name, part, every, loss_of):
        leaves, g, d = fresh()
        mine = {k: v for k, v in leaves.items() if k.startswith(part) and "/noise/" not in k}
        ratio = every / (every + 1)
        adam = torch.optim.Adam(mine.values(), lr=RATE * ratio, betas=(0.0, 0.99**ratio), eps=1e-8)
        loss = loss_of(g, d)
        loss.backward()
        kept[f"{name}/loss"] = loss.detach().numpy()
        kept.update({f"{name}/gradient/{k}": v.grad.numpy() for k, v in mine.items() if v.grad is not None})
        adam.step()
        kept.update({f"{name}/updated/{k}": v.detach().numpy() for k, v in mine.items()})

    def discriminator(g, d):
        fakes = generate(g, tensors["styles"]).detach()
        return softplus(-discriminate(d, photos)).mean() + softplus(discriminate(d, fakes)).mean()

    def generator(g, d):
        return softplus(-discriminate(d, generate(g, tensors["styles"]))).mean()

    def penalty(g, d):
        observed = photos.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(discriminate(d, observed).sum(), observed, create_graph=True)
        return slope.square().sum((1, 2, 3)).mean()

    def paths(g, d):
        styles = tensors["styles"].clone().requires_grad_(True)
        images = generate(g, styles)
        (slope,) = torch.autograd.grad((images * directions).sum() / TINY.size, styles, create_graph=True)
        lengths = slope.square().sum(2).mean(1).sqrt()
        mean = PATH_MEAN + DECAY * (lengths.mean() - PATH_MEAN)
        kept["lengths"], kept["mean"] = lengths.detach().numpy(), mean.detach().numpy()
        return (lengths - mean).square().mean()

    update("discriminator", "discriminator", R1_EVERY, discriminator)
    update("generator", "generator", PATH_EVERY, generator)
    update("penalty", "discriminator", R1_EVERY, penalty)
    update("paths", "generator", PATH_EVERY, paths)
    np.savez_compressed(_OUT, **arguments, **{k: np.asarray(v, np.float32) for k, v in kept.items()})
    print(f"{_OUT}: {_OUT.stat().st_size} bytes, {len(kept)} arrays")


if __name__ == "__main__":
    main()
