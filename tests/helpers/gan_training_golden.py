"""Makes tests/golden/gan_training.npz: losses, penalties and updates of a tiny StyleGAN2 in PyTorch.

    python -m tests.helpers.gan_training_golden

Needs PyTorch. Networks are `TorchForm`'s, gradients and Adam PyTorch's own; parameters have our names and layouts.
"""

import pathlib

import numpy as np
from flax.traverse_util import flatten_dict

from tests.helpers.stylegan2_form import TorchForm
from tests.helpers.tiny_stylegan2 import TINY, random_parameters

RATE, R1_EVERY, PATH_EVERY, BATCH, DECAY, PATH_MEAN = 0.01, 16, 4, 4, 0.01, 0.3
_OUT = pathlib.Path(__file__).parents[1] / "golden" / "gan_training.npz"


def _named(leaves):
    """Parameters under the names of rosinality's code, as functions of those under ours."""
    g, d = {}, {}
    for i in range(TINY.mapping_layers):
        at = f"generator/mapping/{i + 1}"
        g[f"style.{i + 1}.weight"], g[f"style.{i + 1}.bias"] = leaves[f"{at}/weight"].T, leaves[f"{at}/bias"]
    g["input.input"] = leaves["generator/input"].permute(2, 0, 1)[None]

    def styled(at, name):
        g[f"{name}.conv.weight"] = leaves[f"{at}/weight"].permute(3, 2, 0, 1)[None]
        g[f"{name}.conv.modulation.weight"] = leaves[f"{at}/style_weight"].T
        g[f"{name}.conv.modulation.bias"] = leaves[f"{at}/style_bias"]

    for i in range(TINY.layers):
        at, name = f"generator/layers/{i}", f"convs.{i - 1}" if i else "conv1"
        styled(at, name)
        g[f"{name}.noise.weight"] = leaves[f"{at}/noise_strength"].reshape(1)
        g[f"{name}.activate.bias"] = leaves[f"{at}/bias"]
        g[f"noises.noise_{i}"] = leaves[f"generator/noise/{i}"][None, None].detach()
    for level in range(len(TINY.channels)):
        at, name = f"generator/to_rgb/{level}", f"to_rgbs.{level - 1}" if level else "to_rgb1"
        styled(at, name)
        g[f"{name}.bias"] = leaves[f"{at}/bias"].reshape(1, 3, 1, 1)

    def conv(at, weight, bias=None):
        d[weight] = leaves[f"discriminator/{at}/weight"].permute(3, 2, 0, 1)
        if bias:
            d[bias] = leaves[f"discriminator/{at}/bias"]

    conv("from_rgb", "convs.0.0.weight", "convs.0.1.bias")
    for i in range(len(TINY.discriminator_channels) - 1):
        conv(f"blocks/{i}/conv1", f"convs.{i + 1}.conv1.0.weight", f"convs.{i + 1}.conv1.1.bias")
        conv(f"blocks/{i}/conv2", f"convs.{i + 1}.conv2.1.weight", f"convs.{i + 1}.conv2.2.bias")
        conv(f"blocks/{i}/skip", f"convs.{i + 1}.skip.1.weight")
    conv("final_conv", "final_conv.0.weight", "final_conv.1.bias")
    last = TINY.discriminator_channels[0]
    hidden = leaves["discriminator/final_linear/weight"].reshape(4, 4, last, last)
    d["final_linear.0.weight"] = hidden.permute(3, 2, 0, 1).reshape(last, 16 * last)
    d["final_linear.0.bias"] = leaves["discriminator/final_linear/bias"]
    d["final_linear.1.weight"] = leaves["discriminator/output/weight"].T
    d["final_linear.1.bias"] = leaves["discriminator/output/bias"]
    return g, d


def main():
    """Writes the file."""
    import torch

    form, softplus = TorchForm(torch), torch.nn.functional.softplus
    draw = np.random.default_rng(1).standard_normal
    given = {
        "photos": np.clip(draw((BATCH, TINY.size, TINY.size, 3)) * 0.4, -1, 1),
        "styles": draw((BATCH, TINY.latents, TINY.style_dim)),
        "directions": draw((BATCH, TINY.size, TINY.size, 3)),
    }
    given = {name: value.astype(np.float32) for name, value in given.items()}
    params = {name: np.asarray(value) for name, value in flatten_dict(random_parameters(), sep="/").items()}
    kept = {}

    def fresh():
        # In double precision: what is compared with is then exact to all digits of single precision.
        leaves = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in params.items()}
        return leaves, *_named(leaves)

    tensors = {name: torch.from_numpy(value).double() for name, value in given.items()}
    photos, directions = (tensors[name].permute(0, 3, 1, 2) for name in ("photos", "directions"))
    blocks, levels = len(TINY.discriminator_channels) - 1, len(TINY.channels)

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
        fakes = form.generate(g, tensors["styles"], levels).detach()
        return softplus(-form.judge(d, photos, blocks)).mean() + softplus(form.judge(d, fakes, blocks)).mean()

    def generator(g, d):
        return softplus(-form.judge(d, form.generate(g, tensors["styles"], levels), blocks)).mean()

    def penalty(g, d):
        seen = photos.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(form.judge(d, seen, blocks).sum(), seen, create_graph=True)
        return slope.square().sum((1, 2, 3)).mean()

    def paths(g, d):
        styles = tensors["styles"].clone().requires_grad_(True)
        images = form.generate(g, styles, levels)
        (slope,) = torch.autograd.grad((images * directions).sum() / TINY.size, styles, create_graph=True)
        lengths = slope.square().sum(2).mean(1).sqrt()
        mean = PATH_MEAN + DECAY * (lengths.mean() - PATH_MEAN)
        kept["lengths"], kept["mean"] = lengths.detach().numpy(), mean.detach().numpy()
        return (lengths - mean).square().mean()

    update("discriminator", "discriminator", R1_EVERY, discriminator)
    update("generator", "generator", PATH_EVERY, generator)
    update("penalty", "discriminator", R1_EVERY, penalty)
    update("paths", "generator", PATH_EVERY, paths)
    np.savez_compressed(_OUT, **given, **{k: np.asarray(v, np.float32) for k, v in kept.items()})
    print(f"{_OUT}: {_OUT.stat().st_size} bytes, {len(kept)} arrays")


if __name__ == "__main__":
    main()
