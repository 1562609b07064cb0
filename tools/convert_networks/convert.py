"""From checkpoint files to converted ones: reads them, recognises their family, converts."""

import os
from collections.abc import Sequence

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.families import explain, names_of

from .parsers import convert_parser
from .perceptual import convert_lpips, is_whole_lpips
from .record import Converted, Source, read_source
from .shape_networks import convert_shape_networks
from .statistics import convert_statistics

__all__ = ["convert"]

_KNOWN = (
    "networks of GAN2Shape or Unsup3d (netD, netA, ...), view or light statistics (mean, cov), LPIPS (torchvision's "
    "VGG16 and LPIPS' own vgg.pth), BiSeNet and PSPNet"
)


def convert(paths: Sequence[str | os.PathLike], *, group_base: int = 0) -> Converted:
    """Converts a checkpoint, or the two files that make up LPIPS, in either order.

    Args:
        paths: one file, or torchvision's VGG16 and LPIPS' linear weights.
        group_base: for GAN2Shape's networks, see `convert_shape_networks`.

    Raises:
        UserError: a file is unreadable, belongs to a family that another tool converts, or does not hold the
            tensors that it should; the message names the file and the problem.
    """
    sources: dict[str, Source] = {}
    for path in paths:
        source = read_source(path)
        family = _family_name(source)
        if family in sources:
            raise UserError(f"{sources[family].path} and {path} are of the same kind: give them one at a time")
        sources[family] = source
    if sources.keys() <= {"lpips", "vgg16", "lpips_linear"}:
        return convert_lpips(_complete(sources))
    if len(sources) > 1:
        raise UserError(f"{' and '.join(map(str, paths))} do not belong together: only LPIPS is made of two files")
    ((family, source),) = sources.items()
    if family in ("gan2shape", "unsup3d"):
        return convert_shape_networks(source, group_base=group_base)
    return convert_statistics(source) if family == "mvn" else convert_parser(source)


def _family_name(source: Source) -> str:
    """Returns the family of a source; raises `UserError` for one that this tool does not convert."""
    family = source.family
    if family is None:
        names = sorted(names_of(source.content))
        held = f"its tensors are {', '.join(names[:4])} ..." if names else "it holds no tensors"
        raise UserError(f"{source.path}: an unknown kind of checkpoint ({held}); known are {_KNOWN}")
    if family.tool != "networks":
        raise UserError(explain(family, source.path))
    if family.name == "lpips" and not is_whole_lpips(source):
        return "lpips_linear"
    return family.name


def _complete(sources: dict[str, Source]) -> dict[str, Source]:
    """Returns the sources of LPIPS, which are one whole file or both of its parts; rejects anything else."""
    if "lpips" in sources and len(sources) > 1:
        raise UserError(f"{sources['lpips'].path} is LPIPS as a whole: give it alone")
    if sources.keys() == {"vgg16"}:
        raise UserError(
            f"{sources['vgg16'].path} is VGG16 alone: name LPIPS' linear weights too (weights/v0.1/vgg.pth "
            "of github.com/richzhang/PerceptualSimilarity)"
        )
    if sources.keys() == {"lpips_linear"}:
        raise UserError(
            f"{sources['lpips_linear'].path} is LPIPS' linear weights alone: name VGG16 too "
            "(https://download.pytorch.org/models/vgg16-397923af.pth)"
        )
    return sources
