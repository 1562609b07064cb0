"""Converts networks other than StyleGAN2 to safetensors, without PyTorch: recognises their family, converts."""

import os
from collections.abc import Sequence
from typing import Any

from gan2shape_jax.apps.convert.networks.perception import convert_lpips, convert_parser
from gan2shape_jax.apps.convert.networks.record import Converted, Source, read_source
from gan2shape_jax.apps.convert.networks.shape_networks import convert_shape_networks, convert_statistics
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights import NETWORKS, explain, tensor_names

_KNOWN = (
    "StyleGAN2s, networks of GAN2Shape or Unsup3d (netD, netA, ...), view or light statistics (mean, cov), LPIPS "
    "(torchvision's VGG16 and LPIPS' own vgg.pth), BiSeNet and PSPNet"
)
# The halves of LPIPS: what they are, and the other one.
_HALVES = {
    "vgg16": (
        "VGG16",
        "name LPIPS' linear weights too (weights/v0.1/vgg.pth of github.com/richzhang/PerceptualSimilarity)",
    ),
    "lpips_linear": (
        "LPIPS' linear weights",
        "name VGG16 too (https://download.pytorch.org/models/vgg16-397923af.pth)",
    ),
}


def convert(paths: Sequence[str | os.PathLike], *, group_base: int = 0, content: Any = None) -> Converted:
    """Converts a checkpoint, or the two files that make up LPIPS, in either order.

    For `group_base` see `convert_shape_networks`; `content` is what the first file holds, if it has been read already.
    Raises `UserError` for a file that is unreadable, of a family that another tool converts, or without the tensors
    that it should have.
    """
    sources: dict[str, Source] = {}
    for number, path in enumerate(paths):
        source = read_source(path, None if number else content)
        family = _family_name(source)
        if family in sources:
            raise UserError(f"{sources[family].path} and {path} are of the same kind: convert them one at a time")
        sources[family] = source
    if sources.keys() in ({"lpips"}, _HALVES.keys()):
        return convert_lpips(sources)
    if len(sources) > 1:
        alone = "only LPIPS is two files"
        if "lpips" in sources:
            alone = f"{sources['lpips'].path} is all of LPIPS: convert it alone"
        raise UserError(f"{' and '.join(map(str, paths))} do not belong together: {alone}")
    ((family, source),) = sources.items()
    if family in _HALVES:
        what, other = _HALVES[family]
        raise UserError(f"{source.path} is {what} alone: {other}")
    if family in ("gan2shape", "unsup3d"):
        return convert_shape_networks(source, group_base=group_base)
    return convert_statistics(source) if family == "mvn" else convert_parser(source)


def _family_name(source: Source) -> str:
    family = source.family
    if family is None:
        names = sorted(tensor_names(source.content))
        description = f"its tensors are {', '.join(names[:4])} ..." if names else "it holds no tensors"
        raise UserError(f"{source.path}: not a known kind of checkpoint ({description}); known are {_KNOWN}")
    if family.tool != NETWORKS:
        raise UserError(explain(family, source.path))
    whole = any(str(name).removeprefix("module.").startswith("net.slice") for name in source.content)  # with its VGG16
    return "lpips_linear" if family.name == "lpips" and not whole else family.name
