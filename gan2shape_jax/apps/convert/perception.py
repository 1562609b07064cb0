"""LPIPS and scene parsers.

LPIPS is torchvision's VGG16 and the learned linear weights, two files, or the whole module in one; parsers are BiSeNet
for faces, PSPNet for VOC and ADE20K.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Literal

import jax
import numpy as np
from PIL import Image

from gan2shape_jax.apps.convert.foreign import Converted, Source, tensors_of
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.categories import Parser, parsers
from gan2shape_jax.io.data import PARSER_FORMAT
from gan2shape_jax.io.image_files import crop_and_resize
from gan2shape_jax.io.weights import listed, misfits
from gan2shape_jax.method import perceptual
from gan2shape_jax.method.streams import FIXED_SEED
from gan2shape_jax.networks import parsing
from gan2shape_jax.results import pictures

# The module's own normalisation, which is not in torchvision's file (LPIPS v0.1).
_SCALING = {"shift": (-0.030, -0.088, -0.188), "scale": (0.458, 0.448, 0.450)}
_LICENCE = (
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
        "license": _LICENCE,
        "source_sha256": " ".join(source.sha256 for source in sources.values()),
    }
    return Converted(
        summary="LPIPS v0.1 with VGG16",
        tensors=params,
        header=header,
        ignored=tuple(ignored),
        notes=("For the perceptual loss: --config.loss.perceptual=lpips --config.loss.lpips_weights=OUT",),
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
_LICENCES = {
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
        params = params_from_torch(arch, state)
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
        "license": _LICENCES[arch.family],
        "source_sha256": source.sha256,
    }
    return Converted(
        summary=f"{title}, width {arch.width}, blocks {' '.join(map(str, arch.blocks))}",
        tensors=params,
        header=header,
        draw=lambda picture: _parsed(picture, arch, params, fitting),
        ignored=(*ignored_names(state), *beside),
        notes=(note,),
    )


def torch_shapes(arch: parsing.ParserArchitecture) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of the tensors that `params_from_torch` takes."""
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


def params_from_torch(arch: parsing.ParserArchitecture, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
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
