"""Converts networks other than StyleGAN2: those of GAN2Shape and Unsup3d, statistics, LPIPS and parsers (`perception`).

GAN2Shape's and Unsup3d's (depth, albedo, view, light and, in the former, the encoder) are dictionaries of state
dictionaries by network name; sizes are read from the tensors. Unsup3d's are GAN2Shape's at 64 pixels, except for the
width of the view and light networks. Statistics of views and lights are mean and covariance in network units, written
to `.npz`.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from gan2shape_jax.apps.convert.foreign import Converted, Source, State, read_source, tensors_of
from gan2shape_jax.apps.convert.perception import convert_lpips, convert_parser
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.arrays import load_mvn
from gan2shape_jax.io.weights import NETWORKS
from gan2shape_jax.method import models
from gan2shape_jax.method.settings import NetworkSizes
from gan2shape_jax.networks.modules import default_group_base
from gan2shape_jax.training import network_files
from gan2shape_jax.training.network_files import params_from_torch, torch_tensors

_MOST_LEVELS = 8  # doublings from 4 pixels: 1024
_WIDEST = 2**12
_MOST_FEATURES = 2**27  # numbers in the features of one image; the published networks have 2 ** 20
_REQUIRED = ("depth", "albedo", "view", "light")
_LICENCE = {
    "gan2shape": "MIT, Copyright (c) 2021 Xingang Pan (github.com/XingangPan/GAN2Shape)",
    "unsup3d": "MIT, Copyright (c) 2020 elliottwu (github.com/elliottwu/unsup3d)",
}
_TWO_FILES = (
    "only LPIPS is two files, torchvision's VGG16 (https://download.pytorch.org/models/vgg16-397923af.pth) and its "
    "linear weights (weights/v0.1/vgg.pth of github.com/richzhang/PerceptualSimilarity): name both, or one other"
)


def convert(paths: Sequence[str | os.PathLike], *, first: Source | None = None) -> Converted:
    """Converts a checkpoint, or the two files that make up LPIPS, in either order.

    `first` is what the first file holds, if it has been read already. Raises `UserError` for a file that is unreadable,
    of another family, or without the tensors that it should have.
    """
    sources: dict[str, Source] = {}
    for number, path in enumerate(paths):
        source = first if first is not None and not number else read_source(path, NETWORKS)
        family, names = source.family.name, (str(name).removeprefix("module.") for name in source.content)
        if family == "lpips" and not any(name.startswith("net.") for name in names):
            family = "lpips_linear"  # without its VGG16
        sources[family] = source
    if sources.keys() in ({"lpips"}, {"vgg16", "lpips_linear"}) and len(sources) == len(paths):
        return convert_lpips(sources)
    if len(paths) > 1 or family in ("vgg16", "lpips_linear"):
        raise UserError(f"{' and '.join(map(str, paths))}: {_TWO_FILES}")
    if family in _LICENCE:
        return _shape_networks(source)
    return _statistics(source) if family == "mvn" else convert_parser(source)


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """What the tensors tell about the networks; 0 where there is no encoder."""

    image_size: int
    width: int
    view_light_width: int
    zdim: int
    group_base: int
    encoder_width: int = 0
    style_dim: int = 0

    def modules(self) -> dict[str, Any]:
        """Returns the networks of these sizes."""
        sizes = NetworkSizes(self.width, self.group_base, self.zdim, self.encoder_width, self.view_light_width)
        return models.modules_of(self.image_size, sizes, self.style_dim)

    def fields(self) -> str:
        """Returns the arguments of a configuration that accepts such networks."""
        fields = {
            "image_size": self.image_size,
            "networks.width": self.width,
            "networks.view_light_width": self.view_light_width if self.view_light_width != self.width else 0,
            "networks.group_base": self.group_base,
            "networks.zdim": self.zdim,
            "networks.encoder_width": self.encoder_width,
            "gan.style_dim": self.style_dim,
        }
        return " ".join(f"--config.{field}={value}" for field, value in fields.items() if value)


def _shape_networks(source: Source) -> Converted:
    """Converts GAN2Shape's or Unsup3d's networks; raises `UserError` listing what is missing, unknown or misshapen.

    Groups of normalisations, which no tensor reveals, are taken to be as published.
    """
    states = _states(source)
    sizes = _infer(states, source)
    modules = sizes.modules()
    params = {ours: _params(modules[ours], state, ours, source) for ours, state in states.items()}
    family = source.family.name
    header = {
        "format": network_files.FORMAT,
        "family": family,
        "networks": " ".join(params),
        "architecture": json.dumps(dataclasses.asdict(sizes)),
        "fits": sizes.fields(),
        "license": _LICENCE[family],
        "source_sha256": source.sha256,
    }
    names = {theirs for ours, theirs in network_files.TORCH_NAMES.items() if ours in params}
    notes = [f"Settings for them: --config.networks.pretrained=OUT {sizes.fields()}"]
    if "encoder" not in states:
        notes.append("It has no encoder: that network is initialised by the seed.")
    if family == "unsup3d":
        settings = "--config.sampling.add_mean_V=False --config.sampling.add_mean_L=False"
        notes.append(f"Its networks give the whole view and light, not what is added to a mean: {settings}")
    return Converted(
        summary=f"{', '.join(params)} networks of {sizes.image_size} pixels, width {sizes.width}",
        tensors={name: np.ascontiguousarray(value) for name, value in flatten_dict(params, sep="/").items()},
        header=header,
        ignored=tuple(str(name) for name in source.content if name not in names),
        notes=tuple(notes),
    )


def _states(source: Source) -> dict[str, State]:
    states: dict[str, State] = {}
    missing = []
    for ours, theirs in network_files.TORCH_NAMES.items():
        state = source.content.get(theirs)
        if isinstance(state, Mapping):
            states[ours], _ = tensors_of(state, source.path)
        elif ours in _REQUIRED:
            missing.append(theirs)
    if missing:
        raise UserError(f"{source.path}: {', '.join(missing)} missing; all of netD, netA, netV and netL are needed")
    return states


def _infer(states: Mapping[str, State], source: Source) -> _Sizes:
    try:
        kernels = sum(value.ndim == 4 for value in states["depth"].values())
        for size in (4 << levels for levels in range(2, _MOST_LEVELS + 1)):
            modules = models.modules_of(size, NetworkSizes(1, 1, 1, 1), 1)
            if sum(len(tensor.shape) == 4 for tensor in torch_tensors(modules["depth"]).values()) == kernels:
                break
        else:
            raise ValueError(f"{len(states['depth'])} tensors in netD")

        def channels(network: str, layer: str) -> int:
            return int(states[network][torch_tensors(modules[network])[(layer, "kernel")].name].shape[0])

        sizes = _Sizes(
            image_size=size,
            width=channels("depth", "down_0"),
            view_light_width=channels("view", "down_0"),
            zdim=channels("depth", "bottleneck"),
            group_base=default_group_base(size),
            encoder_width=channels("encoder", "stem") if "encoder" in states else 0,
            style_dim=channels("encoder", "output") if "encoder" in states else 0,
        )
        wanted = dataclasses.astuple(sizes) if "encoder" in states else dataclasses.astuple(sizes)[:-2]
        widest = max(sizes.width, sizes.view_light_width, sizes.encoder_width) * size**2
        if max(wanted) > _WIDEST or widest > _MOST_FEATURES or not min(wanted):
            raise ValueError(f"sizes of {', '.join(map(str, dataclasses.astuple(sizes)))}")
        return sizes
    except (IndexError, KeyError, ValueError) as error:
        what = f"the size of the networks does not follow from its tensors ({type(error).__name__}: {error})"
        raise UserError(f"{source.path}: {what}; netD.network.0.weight and the like are needed") from error


def _params(module: Any, state: State, ours: str, source: Source) -> dict[str, Any]:
    try:
        return jax.tree.map(np.asarray, params_from_torch(module, state))
    except (UserError, ValueError) as error:
        advice = "; it can be read as it is, with --config.networks.group_base" * ("groups" in str(error))
        raise UserError(f"{source.path}: {network_files.TORCH_NAMES[ours]}: {error}{advice}") from error


def _statistics(source: Source) -> Converted:
    """Converts the statistics of views (6 numbers) or lights (4); raises `UserError` if they are not such."""
    mean, covariance = load_mvn(source.path)
    kind = "view" if mean.size == 6 else "light"
    header = {"format": f"gan2shape-jax/{kind}_mvn/1", "license": _LICENCE["gan2shape"], "source_sha256": source.sha256}
    return Converted(
        summary=f"{kind} statistics, mean {' '.join(f'{value:+.3f}' for value in mean)}",
        tensors={"mean": mean, "cov": covariance},
        header=header,
        suffix=".npz",
        ignored=tuple(str(name) for name in source.content if name not in ("mean", "cov")),
        notes=(f"For the pseudo-images: --config.sampling.{kind}_mvn=OUT",),
    )
