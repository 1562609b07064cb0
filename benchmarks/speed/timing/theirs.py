"""The same train steps and parts in PyTorch, as calls to time."""

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch_reference import geometry, load
from torch_reference.model import Model, Ways
from torch_reference.rasterizer import warp_depth
from torch_reference.steps import Factors
from torch_reference.training import Training

from .clock import Call
from .subjects import COLLECT, LIGHT, Subject


def ways(name: str) -> Ways:
    """Parses `plain`, or names of `Ways`' fields joined by `+`, such as `channels_last+fused`.

    Raises:
      ValueError: there is no such way.
    """
    fields = [] if name == "plain" else name.split("+")
    try:
        return Ways(**dict.fromkeys(fields, True))
    except TypeError as error:
        raise ValueError(f"{name!r} is no way to run the PyTorch reference ({error})") from error


def model(subject: Subject, how: Ways, device: str) -> Model:
    """Everything of the subject in PyTorch, using all cores of a CPU as JAX does."""
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    return load.model_of(subject.params, subject.example, subject.frozen, subject.settings, ways=how, device=device)


def _call(run: Callable[[], Any]) -> Call:
    def finished() -> None:
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return Call(finished)


def train_steps(subject: Subject, model: Model) -> dict[str, Call]:
    """Every kind of iteration in the schedule, like `ours.train_steps`."""
    calls = {}
    for name, phase in subject.phases.items():
        calls[name] = _call(_training(model, phase.step, flip=phase.flip).update)
    return calls | {COLLECT: _call(_training(model, "step2", flip=False).collect)}


def _training(model: Model, step: str, *, flip: bool) -> Training:
    """A step that starts where `ours` does: step 2 renders the prior's depth with the input as albedo."""
    training = Training(model, step, flip=flip)
    depth, settings = model.prior[None], model.settings
    training.factors = Factors(
        depth=depth,
        normal=geometry.normals(depth, settings.camera, unit=settings.unit_normals),
        albedo=model.image,
        light=model.view_mean.new_tensor([LIGHT]),
        mask=torch.ones_like(model.mask),
    )
    return training


# --- parts -----------------------------------------------------------------------------------------


def parts(subject: Subject, model: Model) -> dict[str, Call]:
    """The parts that `ours.parts` has, on the same inputs."""
    model.focus("step3")
    count, camera = subject.settings.batch_size, subject.settings.camera
    images = model.image.repeat(count, 1, 1, 1)
    sheets = model.prior.expand(count, -1, -1)
    views = torch.from_numpy(np.random.default_rng(0).normal(size=(count, 6)).astype(np.float32)).to(model.device)
    views = 0.3 * views * views.new_tensor([1, 1, 1, 0.1, 0.1, 0])
    grid = geometry.warped_grid(sheets, views, camera)
    latents = model.latent.repeat_interleave(count, 0)
    warp = functools.partial(warp_depth, camera=camera, sampling=subject.settings.sampling)

    return {
        "rasteriser": _gradient_call(warp, sheets, views),
        "grid sampling": _gradient_call(functools.partial(functional.grid_sample, align_corners=True), images, grid),
        "GAN generator": _gradient_call(model.generator, latents),
    }


def _gradient_call(function: Callable[..., Any], *inputs: torch.Tensor) -> Call:
    differentiated = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_(True) for x in inputs]
    return _call(lambda: torch.autograd.grad(function(*differentiated).square().mean(), differentiated))
