"""Photos per second of GAN training, compared with PyTorch on the same weights, photos and schedule, in one run.

    pip install -e '.[parity]'
    python benchmarks/speed/gan_training.py [--gan FILE] [--batch 16] [--threads 2]

Both train without augmentation and path lengths: a step of the discriminator, one of the generator, and the gradient
penalty every 16 iterations. PyTorch's networks are those of `torch_reference`, with a kernel for each image (as in the
published code) and with one kernel for all; the updates take turns.
"""

import argparse
import pathlib
import sys
import time
from collections.abc import Callable, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # for tools, which lies beside the package

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch_reference import stylegan2 as reference
from torch_reference.load import nchw

from gan2shape_jax import stylegan2
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.stylegan2 import Architecture, Params
from tools.train_stylegan2 import TrainingSettings, devices, fresh_state, make_updates

_ROUNDS = 5


class _Head(nn.Module):
    """The head of the discriminator: deviation over groups, convolution, two linear layers."""

    def __init__(self, params: Params):
        super().__init__()
        self.kernel = reference._kernel(params["final_conv"]["weight"])
        self.bias = reference._frozen(params["final_conv"]["bias"])
        side = np.asarray(params["final_linear"]["weight"])
        last = side.shape[1]
        side = side.reshape(4, 4, last, last).transpose(2, 0, 1, 3).reshape(16 * last, last)
        self.hidden = reference._Linear(side, params["final_linear"]["bias"])
        self.output = reference._Linear(params["output"]["weight"], params["output"]["bias"])

    def forward(self, x: torch.Tensor, group: int = 4) -> torch.Tensor:
        count, _, h, w = x.shape
        grouped = x.reshape(group, count // group, *x.shape[1:])
        deviation = (grouped.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
        extra = deviation.repeat(group)[:, None, None, None].expand(count, 1, h, w)
        x = reference._equalised(torch.cat([x, extra], 1), self.kernel, padding=1)
        x = reference._activate(x + self.bias[:, None, None]).flatten(1)
        return self.output(reference._activate(self.hidden(x)))


class _Torch:
    """The updates in PyTorch."""

    def __init__(self, arch: Architecture, params: Params, settings: TrainingSettings, *, grouped: bool):
        self.arch, self.settings = arch, settings
        self.generator = reference.Generator(params["generator"], arch, grouped=grouped)
        self.features = reference.Discriminator(params["discriminator"], arch, count=99)
        self.head = _Head(params["discriminator"])
        self.parts = [*self.features.parameters(), *self.head.parameters()]
        self.average = [p.detach().clone() for p in self.generator.parameters()]
        ratio = settings.r1_every / (settings.r1_every + 1)
        rate = settings.learning_rate
        self.of_generator = torch.optim.Adam(self.generator.parameters(), lr=rate, betas=(0.0, 0.99))
        self.of_parts = torch.optim.Adam(self.parts, lr=rate * ratio, betas=(0.0, 0.99**ratio))

    def _judge(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images)[-1])

    def _samples(self) -> torch.Tensor:
        z = torch.randn(2, self.settings.batch, self.arch.style_dim)
        first, second = self.generator.map(z[0]), self.generator.map(z[1])
        late = torch.arange(self.arch.latents) >= torch.randint(1, self.arch.latents, (1,))
        return self.generator(torch.where(late[:, None], second[:, None], first[:, None]))

    def _trains(self, *, generator: bool) -> None:
        for parameter in self.generator.parameters():
            parameter.requires_grad_(generator)
        for parameter in self.parts:
            parameter.requires_grad_(not generator)

    def discriminator(self, photos: torch.Tensor) -> None:
        self._trains(generator=False)
        with torch.no_grad():
            fakes = self._samples()
        loss = functional.softplus(-self._judge(photos)).mean() + functional.softplus(self._judge(fakes)).mean()
        self._step(self.of_parts, loss)

    def gradient_penalty(self, photos: torch.Tensor) -> None:
        self._trains(generator=False)
        seen = photos.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(self._judge(seen).sum(), seen, create_graph=True)
        self._step(self.of_parts, slope.square().sum((1, 2, 3)).mean() * 8 * self.settings.r1_weight)

    def generator_update(self, photos: torch.Tensor) -> None:
        self._trains(generator=True)
        self._step(self.of_generator, functional.softplus(-self._judge(self._samples())).mean())
        with torch.no_grad():
            for mean, value in zip(self.average, self.generator.parameters(), strict=True):
                mean.lerp_(value, 0.002)

    @staticmethod
    def _step(adam: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gan", type=pathlib.Path, default=pathlib.Path(asset("ictface/gan.safetensors")))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch; JAX takes the cores that it may use")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    arch, params = stylegan2.load(options.gan)
    settings = TrainingSettings(batch=options.batch, augment="none")
    photos = np.random.default_rng(0).integers(0, 256, (options.batch, arch.size, arch.size, 3), dtype=np.uint8)
    ways = {
        "this program": _ours(arch, params, settings, photos),
        "PyTorch, a kernel for each image": _theirs(arch, params, settings, photos, grouped=True),
        "PyTorch, one kernel for all": _theirs(arch, params, settings, photos, grouped=False),
    }
    seconds: dict[str, dict[str, list[float]]] = {way: {name: [] for name in updates} for way, updates in ways.items()}
    for number in range(_ROUNDS + 1):
        for way, updates in ways.items():
            for name, update in updates.items():
                begun = time.perf_counter()
                update()
                if number:  # the first one compiles
                    seconds[way][name].append(time.perf_counter() - begun)
    print(f"{arch.size} pixels, {arch.channels} channels, batch {options.batch}, {options.threads} threads")
    whole = {}
    for way, told in seconds.items():
        medians = {name: float(np.median(values)) for name, values in told.items()}
        whole[way] = medians["discriminator"] + medians["generator"] + medians["penalty"] / settings.r1_every
        parts = ", ".join(f"{name} {value:.3f} s" for name, value in medians.items())
        print(f"{way}: {options.batch / whole[way]:.1f} photos a second ({parts})")
    least = min(value for way, value in whole.items() if way.startswith("PyTorch"))
    print(f"PyTorch's time over ours: {least / whole['this program']:.2f} (its faster form)")


def _ours(
    arch: Architecture, params: Params, settings: TrainingSettings, photos: np.ndarray
) -> dict[str, Callable[[], None]]:
    mesh = devices.mesh_for(settings.batch)
    updates = make_updates(arch, settings, mesh)
    held = [devices.everywhere(fresh_state(arch, settings, params), mesh)]
    batch = devices.on_devices(photos, np.arange(settings.batch), mesh)

    def run(name: str) -> Callable[[], None]:
        def once() -> None:
            held[0], _ = jax.block_until_ready(getattr(updates, name)(held[0], batch, jax.random.key(0), jnp.int32(1)))

        return once

    return {"discriminator": run("discriminator"), "generator": run("generator"), "penalty": run("gradient_penalty")}


def _theirs(
    arch: Architecture, params: Params, settings: TrainingSettings, photos: np.ndarray, *, grouped: bool
) -> dict[str, Callable[[], None]]:
    model, seen = _Torch(arch, params, settings, grouped=grouped), nchw(photos / np.float32(127.5) - 1)
    return {
        "discriminator": lambda: model.discriminator(seen),
        "generator": lambda: model.generator_update(seen),
        "penalty": lambda: model.gradient_penalty(seen),
    }


if __name__ == "__main__":
    main()
