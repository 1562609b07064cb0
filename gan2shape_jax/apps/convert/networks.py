"""Converts networks other than StyleGAN2: those of GAN2Shape and Unsup3d, statistics, LPIPS and scene parsers.

GAN2Shape's and Unsup3d's (depth, albedo, view, light and, in the former, the encoder) are dictionaries of state
dictionaries by network name; sizes are read from the tensors. Unsup3d's are GAN2Shape's at 64 pixels, except for the
width of the view and light networks. Statistics of views and lights are mean and covariance in network units, written
to `.npz`. LPIPS is torchvision's VGG16 and the learned linear weights, two files, or the whole module in one; parsers
are BiSeNet for faces, PSPNet for VOC and ADE20K.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from PIL import Image

from gan2shape_jax.apps.convert.foreign import Converted, Source, State, read_source, tensors_of
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.arrays import load_mvn
from gan2shape_jax.io.categories import Parser, parsers
from gan2shape_jax.io.data import PARSER_FORMAT
from gan2shape_jax.io.image_files import crop_and_resize
from gan2shape_jax.io.weights import NETWORKS, listed, misfits
from gan2shape_jax.method import models, perceptual
from gan2shape_jax.method.settings import NetworkSizes
from gan2shape_jax.method.streams import FIXED_SEED
from gan2shape_jax.networks import parsing
from gan2shape_jax.networks.modules import default_group_base
from gan2shape_jax.results import pictures
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
        notes="\n".join(notes),
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
        notes=f"For the pseudo-images: --config.sampling.{kind}_mvn=OUT",
    )


# The module's own normalisation, which is not in torchvision's file (LPIPS v0.1).
_SCALING = {"shift": (-0.030, -0.088, -0.188), "scale": (0.458, 0.448, 0.450)}
_LPIPS_LICENCE = (
    "VGG16: torchvision (BSD-3-Clause, Copyright (c) Soumith Chintala 2016), trained on ImageNet; linear weights: "
    "LPIPS v0.1 (BSD-2-Clause, Copyright (c) 2018 Richard Zhang, Phillip Isola, Alexei A. Efros, Eli Shechtman, "
    "Oliver Wang)"
)
# VGG16's place in the module: `features.N` is in the slice that ends after it.
_SLICE_ENDS = (4, 9, 16, 23, 30)


def convert_lpips(sources: Mapping[str, Source]) -> Converted:
    """Converts LPIPS, `lpips` or both of `vgg16` and `lpips_linear`; a `UserError` lists tensors that differ."""
    state, ignored = _joined(sources)
    try:
        params = perceptual.lpips_from_torch(state)
    except UserError as error:
        files = " and ".join(str(source.path) for source in sources.values())
        raise UserError(f"{files}: {error}") from error
    header = {
        "format": "gan2shape-jax/lpips/1",
        "architecture": '{"family": "lpips", "version": "0.1", "network": "vgg16"}',
        "license": _LPIPS_LICENCE,
        "source_sha256": " ".join(source.sha256 for source in sources.values()),
    }
    return Converted(
        summary="LPIPS v0.1 with VGG16",
        tensors=params,
        header=header,
        ignored=tuple(ignored),
        notes="For the perceptual loss: --config.loss.perceptual=lpips --config.loss.lpips_weights=OUT",
    )


def _joined(sources: Mapping[str, Source]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the tensors of all files by the LPIPS module's names, and the names of those it does not need."""
    state: dict[str, np.ndarray] = {}
    ignored: list[str] = []
    for family, source in sources.items():
        layers, beside = tensors_of(source.content, source.path)
        for name, value in layers.items():
            if family == "vgg16" and (match := re.fullmatch(r"features\.(\d{1,9})\.(weight|bias)", name)):
                block = sum(int(match[1]) >= end for end in _SLICE_ENDS) + 1
                state[f"net.slice{block}.{match[1]}.{match[2]}"] = value
            elif family == "vgg16" or name.startswith("lins."):
                beside.append(name)  # the classifier; newer modules list the linear layers twice
            else:
                state[name] = value
        ignored += beside
    if "lpips" not in sources:
        for name, values in _SCALING.items():
            state[f"scaling_layer.{name}"] = np.asarray(values, np.float32).reshape(1, 3, 1, 1)
    return state, ignored


_TILE = 256
_SIZE = 128  # of the picture shown to the parser, as in a run
_PARSER_LICENCES = {
    "bisenet": "MIT, Copyright (c) 2019 zll (github.com/zllrunning/face-parsing.PyTorch); trained on CelebAMask-HQ, "
    "which is for non-commercial research only",
    "pspnet": "MIT, Copyright (c) 2019 Hengshuang Zhao (github.com/hszhao/semseg)",
}


_NORM = ("weight", "bias", "running_mean", "running_var")
_EPSILON = 1e-5  # which batch normalisation adds to a variance before taking its square root (torch's default)
# Tensors that the labels do not depend on: counters, and heads used only in training.
_IGNORED = re.compile(r"\.num_batches_tracked$|^aux\.|^conv_out(16|32)\.|^criterion\.")


def convert_parser(source: Source) -> Converted:
    """Converts a parser; a `UserError` lists all tensors that are missing, unknown, misshapen or not finite."""
    state, beside = tensors_of(source.content, source.path)
    arch = infer_architecture(state)
    if arch is None:
        expected = f"{source.family.title} was expected"
        raise UserError(f"{source.path}: its first or last layer is missing or has a wrong shape ({expected})")
    try:
        params = parser_params(arch, state)
    except UserError as error:
        raise UserError(f"{source.path}: {error}") from error
    fitting = {category: parser for category, parser in parsers().items() if parser.fits(arch)}
    title = f"{arch.family} of {arch.classes} labels"
    note = f"No category has a parser of {arch.classes} labels: it can be converted, but nothing here uses it."
    if fitting:
        title = str(next(iter(fitting.values())))
        note = f"For the categories {', '.join(fitting)}: --config.parsing.weights=OUT"
    header = {
        "format": PARSER_FORMAT,
        "architecture": json.dumps(dataclasses.asdict(arch)),
        "license": _PARSER_LICENCES[arch.family],
        "source_sha256": source.sha256,
    }
    return Converted(
        summary=f"{title}, width {arch.width}, blocks {' '.join(map(str, arch.blocks))}",
        tensors=params,
        header=header,
        draw=lambda picture: _parsed(picture, arch, params, fitting),
        ignored=(*ignored_names(state), *beside),
        notes=note,
    )


def torch_shapes(arch: parsing.ParserArchitecture) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of the tensors that `parser_params` takes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for conv in parsing.convolutions(arch):
        shapes[f"{conv.torch}.weight"] = (conv.outputs, conv.inputs, conv.size, conv.size)
        if conv.bias:
            shapes[f"{conv.torch}.bias"] = (conv.outputs,)
        if conv.norm:
            shapes |= {f"{conv.norm}.{part}": (conv.outputs,) for part in _NORM}
    return shapes


def ignored_names(names: Iterable[str]) -> list[str]:
    """Returns the names of tensors that the labels do not depend on, sorted."""
    return sorted(name for name in names if _IGNORED.search(name))


def infer_architecture(state: Mapping[str, np.ndarray]) -> parsing.ParserArchitecture | None:
    """Returns the parser that these tensors look like, by their names and a few shapes; None for others."""
    families: dict[Literal["bisenet", "pspnet"], tuple[str, str, str]] = {
        "bisenet": ("cp.resnet.conv1.weight", "conv_out.conv_out.weight", "cp.resnet.layer"),
        "pspnet": ("layer0.0.weight", "cls.4.weight", "layer"),
    }
    for family, (stem, output, layer) in families.items():
        if stem in state and output in state:
            matches = [re.match(re.escape(layer) + r"([1-4])\.(\d+)\.", name) for name in state]
            blocks = [{match[2] for match in matches if match and match[1] == stage} for stage in "1234"]
            try:
                return parsing.ParserArchitecture(
                    family, state[output].shape[0], state[stem].shape[0], tuple(map(len, blocks))
                )
            except (IndexError, ValueError):
                return None
    return None


def parser_params(arch: parsing.ParserArchitecture, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the parameters of a parser from the original's tensors by name, with those of `ignored_names` or without.

    Raises `UserError` listing all that is missing, unknown, misshapen or not finite.
    """
    state = {name: value for name, value in state.items() if not _IGNORED.search(name)}
    differing = misfits(state, torch_shapes(arch))
    negative = [name for name, value in state.items() if name.endswith("running_var") and (value < 0).any()]
    if differing or negative:
        differing += f"; with a negative variance: {listed(negative)}" if negative else ""
        raise UserError(f"the tensors do not make a {arch.family} of {arch.classes} classes: {differing}")
    params = {}
    for conv in parsing.convolutions(arch):
        kernel = np.asarray(state[f"{conv.torch}.weight"], np.float64)
        bias = np.asarray(state[f"{conv.torch}.bias"], np.float64) if conv.bias else np.zeros(conv.outputs)
        if conv.norm:
            weight, shift, mean, variance = (np.asarray(state[f"{conv.norm}.{part}"], np.float64) for part in _NORM)
            factor = weight / np.sqrt(variance + _EPSILON)
            kernel, bias = kernel * factor[:, None, None, None], (bias - mean) * factor + shift
        params[f"{conv.name}/kernel"] = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0), np.float32)
        if conv.norm or conv.bias:
            params[f"{conv.name}/bias"] = bias.astype(np.float32)
    return params


def _parsed(
    picture: Image.Image, arch: parsing.ParserArchitecture, params: dict[str, np.ndarray], fitting: dict[str, Parser]
) -> Image.Image:
    """Draws a picture, its pixel labels, and the mask that each category derives from them."""
    shown = np.asarray(crop_and_resize(picture, None, _SIZE), np.float32) / 127.5 - 1
    tiles = [pictures.Tile(pictures.enlarge(pictures.to_uint8(shown), _TILE), "the picture")]
    weights = jax.tree.map(jax.numpy.asarray, params)
    ways = {(parser.side, parser.normalize) for parser in fitting.values()}
    for side, normalize in sorted(ways) or [(512 if arch.family == "bisenet" else 473, True)]:
        labels = parsing.find_labels(weights, shown, arch, side=side, normalize=normalize)
        present = ", ".join(map(str, np.unique(labels)[:8]))
        tiles.append(pictures.Tile(_coloured(labels), f"labels {present}{' (normalised)' if normalize else ''}"))
        for category, parser in fitting.items():
            if parser.normalize == normalize:
                mask = parsing.mask_of_labels(labels, parser.values, _SIZE)
                text = f"{category}: {100 * mask.mean():.0f}% of the picture"
                tiles.append(pictures.Tile(pictures.enlarge(pictures.colour_mask(mask), _TILE), text))
    return pictures.contact_sheet([("What the parser finds in a picture", tiles)], title=f"{arch.family} of a picture")


def _coloured(labels: np.ndarray) -> np.ndarray:
    """Returns a picture in which each of at most 256 labels has its colour; label 0, often the background, is black."""
    colours = np.random.default_rng(FIXED_SEED).integers(64, 256, (256, 3), np.uint8)
    colours[0] = 0
    picture = Image.fromarray(colours[labels])
    return np.asarray(picture.resize((_TILE, _TILE), Image.Resampling.NEAREST))
