"""LPIPS: torchvision's VGG16 and the learned linear weights, two files, or the whole module in one."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageFilter

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.image_files import crop_and_resize
from gan2shape_jax.method import perceptual

from .record import Converted, Source, plotted, tensors_of

__all__ = ["convert_lpips", "is_whole_lpips"]

# The module's own normalisation, which is not in torchvision's file (LPIPS v0.1).
_SCALING = {"shift": (-0.030, -0.088, -0.188), "scale": (0.458, 0.448, 0.450)}
_LICENCE = (
    "VGG16: torchvision (BSD-3-Clause, Copyright (c) Soumith Chintala 2016), trained on ImageNet; linear weights: "
    "LPIPS v0.1 (BSD-2-Clause, Copyright (c) 2018 Richard Zhang, Phillip Isola, Alexei A. Efros, Eli Shechtman, "
    "Oliver Wang)"
)
# VGG16's place in the module: `features.N` is in the slice that ends after it.
_SLICE_ENDS = (4, 9, 16, 23, 30)
_SIDE = 64  # pixels of the picture that distances are measured on


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
        draw=lambda picture: _plot(picture, params),
        ignored=tuple(ignored),
        notes=("For the perceptual loss: --config.loss.perceptual=lpips --config.loss.lpips_weights=OUT",),
    )


def is_whole_lpips(source: Source) -> bool:
    """Whether a file with LPIPS' linear weights also holds its VGG16."""
    return any(str(name).removeprefix("module.").startswith("net.slice") for name in source.content)


def _joined(sources: Mapping[str, Source]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the tensors of all files by the LPIPS module's names, and the names of those it does not need."""
    state: dict[str, np.ndarray] = {}
    ignored: list[str] = []
    for family, source in sources.items():
        layers, beside = tensors_of(source.content, source.path)
        for name, value in layers.items():
            ours = _module_name(name, family)
            if ours is None:
                beside.append(name)
            else:
                state[ours] = value
        ignored += beside
    if "lpips" not in sources:
        for name, values in _SCALING.items():
            state[f"scaling_layer.{name}"] = np.asarray(values, np.float32).reshape(1, 3, 1, 1)
    return state, ignored


def _module_name(name: str, family: str) -> str | None:
    """Returns a tensor's name in the LPIPS module, or None if it has none."""
    if family == "vgg16":
        match = re.fullmatch(r"features\.(\d{1,9})\.(weight|bias)", name)
        if not match:
            return None  # the classifier
        place = int(match.group(1))
        block = sum(place >= end for end in _SLICE_ENDS) + 1
        return f"net.slice{block}.{place}.{match.group(2)}"
    return None if name.startswith("lins.") else name  # newer modules list the linear layers twice


def _plot(picture: Image.Image, params: Mapping[str, np.ndarray]) -> Image.Image:
    """Plots a picture's distances from increasingly blurred and increasingly noisy versions: both should rise."""
    sharp = crop_and_resize(picture, None, _SIDE)
    blurs, noises = (0, 0.5, 1, 2, 4, 8), (0, 0.05, 0.1, 0.2, 0.4, 0.8)
    noise = np.random.default_rng(0).standard_normal((_SIDE, _SIDE, 3))
    whole = np.asarray(sharp, np.float32) / 127.5 - 1
    blurred = [np.asarray(sharp.filter(ImageFilter.GaussianBlur(s)), np.float32) / 127.5 - 1 for s in blurs]
    noisy = [np.clip(whole + level * noise, -1, 1) for level in noises]
    features, weights = jax.jit(perceptual.lpips_features), jax.tree.map(jax.numpy.asarray, dict(params))
    versions = features(weights, np.stack([*blurred, *noisy]).astype(np.float32))
    distances = np.asarray(perceptual.lpips_distance(weights, features(weights, whole[None]), versions))

    def panel(axes: Any, levels: Sequence[float], values: np.ndarray, label: str) -> None:
        axes.plot(levels, values, marker="o")
        axes.set_xlabel(label)
        axes.set_ylabel("LPIPS distance")

    of_blurs, of_noises = distances[: len(blurs)], distances[len(blurs) :]
    return plotted(
        [
            lambda axes: panel(axes, blurs, of_blurs, "blur, standard deviation in pixels"),
            lambda axes: panel(axes, noises, of_noises, "noise, standard deviation"),
        ],
        4,
    )
