"""Files that a configuration needs, which of them are missing, and how to get them.

The published weights, images, latents and statistics are attached to a release of the method's
reference implementation; its StyleGAN2 weights have to be converted. Nothing is downloaded
here.
"""

import dataclasses
import functools
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence

from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.data import find, find_depth, find_latent
from gan2shape_jax.io.image_files import has_alpha
from gan2shape_jax.io.image_lists import names_of
from gan2shape_jax.io.masks import required_source
from gan2shape_jax.io.weights import families

__all__ = [
    "RequiredFile",
    "absent_per_image_files",
    "require_files",
    "require_images",
    "require_per_image_files",
    "required_files_of",
]

_RELEASE = "https://github.com/XingangPan/GAN2Shape/releases/tag/v1.0"
_SCRIPT = "https://github.com/XingangPan/GAN2Shape/blob/master/scripts/download.sh"
_LPIPS = "https://github.com/richzhang/PerceptualSimilarity (lpips/weights/v0.1/vgg.pth)"
_VGG16 = "https://download.pytorch.org/models/vgg16-397923af.pth"

# Endings of StyleGAN2 checkpoints to convert, the published code's first.
_UNCONVERTED = (".pt", ".pth", ".pkl")
_OUT = "OUT.safetensors"  # if no target is named


@dataclasses.dataclass(frozen=True)
class RequiredFile:
    """A file or folder that a field names, with a line on how to get it, or ''."""

    field: str
    path: str
    folder: bool = False
    advice: str = ""

    @property
    def present(self) -> bool:
        """Whether the file or folder exists."""
        # Unlike pathlib's, these are also False if the name cannot be looked up.
        return bool(self.path) and (os.path.isdir(self.path) if self.folder else os.path.isfile(self.path))


def required_files_of(config: ConfigDict, names: Sequence[str] | None = None) -> list[RequiredFile]:
    """Returns every file and folder that a run reads, except the list's images.

    Args:
        config: the configuration.
        names: the names in the image list, if already read.
    """
    names = _names_if_any(config) if names is None else names
    data = config.data
    trains = config.mode != "predict"  # prediction uses the GAN and latents if there are any
    files = [
        RequiredFile("sampling.view_mvn", config.sampling.view_mvn),
        RequiredFile("sampling.light_mvn", config.sampling.light_mvn),
    ]
    if config.mode == "lift":
        return files + _of_lift(config)
    files += [
        RequiredFile("data.image_list", data.image_list),
        RequiredFile("data.image_root", data.image_root, folder=True),
    ]
    if trains:
        advice = _gan_conversion(config.gan.checkpoint)
        files.insert(0, RequiredFile("gan.checkpoint", config.gan.checkpoint, advice=advice))
    if trains and data.latent_root:
        advice = "or --config.data.latent_root= to find the latents by inverting the GAN"
        files.append(RequiredFile("data.latent_root", data.latent_root, folder=True, advice=advice))
    if data.depth_root:
        advice = "or --config.data.depth_root= to go without evaluation"
        files.append(RequiredFile("data.depth_root", data.depth_root, folder=True, advice=advice))
    files += _masks(config, names)
    if config.networks.pretrained:
        advice = "networks.safetensors of a joint run"
        if trains:
            advice = "or --config.networks.pretrained= to start from the ellipsoid prior (needs masks)"
        files.append(RequiredFile("networks.pretrained", config.networks.pretrained, advice=advice))
    if trains and config.loss.perceptual == "lpips":
        files.append(_lpips(config.loss.lpips_weights))
    return files


def _of_lift(config: ConfigDict) -> list[RequiredFile]:
    """Returns what lifting a GAN reads besides the view and light statistics."""
    advice = _gan_conversion(config.gan.checkpoint)
    files = [RequiredFile("gan.checkpoint", config.gan.checkpoint, advice=advice)]
    if config.lift.usual_mask:
        advice = "or --config.lift.usual_mask= to find it from samples of the GAN"
        files.append(RequiredFile("lift.usual_mask", config.lift.usual_mask, advice=advice))
    if config.lift.masks == "parser":
        files.append(RequiredFile("parsing.weights", config.parsing.weights, advice="or --config.lift.masks=found"))
    if config.networks.pretrained:
        files.append(RequiredFile("networks.pretrained", config.networks.pretrained))
    return files + ([_lpips(config.loss.lpips_weights)] if config.loss.perceptual == "lpips" else [])


def _masks(config: ConfigDict, names: Sequence[str]) -> list[RequiredFile]:
    """Returns the mask folder, usual mask or parser weights, if the run requires one."""
    source = required_source(config, names)
    if source == "file":
        advice = "object masks NAME.png, white on the object, in a folder of your choice"
        return [RequiredFile("data.mask_root", config.data.mask_root, folder=True, advice=advice)]
    if source == "usual":
        advice = "a picture that is white where the object usually is; --config.lift.masks=usual says that there is one"
        return [RequiredFile("lift.usual_mask", config.lift.usual_mask, advice=advice)]
    parser = category_of(config.category).parser
    if source == "parser" and parser is not None:
        path = config.parsing.weights
        command = families.command(_beside(path, ".pth"), target=path or _OUT)
        advice = (
            f"{parser}: {parser.file} of the published weights, or {parser.home}; {command}; "
            "or masks of your own: --config.data.mask_root=FOLDER, or the images' alpha channel"
        )
        return [RequiredFile("parsing.weights", path, advice=advice)]
    return []


def _lpips(path: str) -> RequiredFile:
    command = families.command("vgg16-397923af.pth", "vgg.pth", target=path or _OUT)
    advice = f"LPIPS v0.1: {_VGG16} and {_LPIPS}; {command}; --config.loss.perceptual=discriminator needs none"
    return RequiredFile("loss.lpips_weights", path, advice=advice)


def _names_if_any(config: ConfigDict) -> list[str]:
    try:
        return names_of(config) if os.path.isfile(config.data.image_list) else []
    except UserError:
        return []


def require_files(config: ConfigDict, names: Sequence[str] | None = None) -> None:
    """Raises `UserError` listing all that is missing, where to get it and how to convert it."""
    absent = [file for file in required_files_of(config, names) if not file.present]
    if not absent:
        return
    count = "a file that is" if len(absent) == 1 else f"{len(absent)} files that are"
    lines = [f"this configuration wants {count} not here:"]
    for file in absent:
        lines.append(f"  config.{file.field}: {file.path or '(empty: not given)'}")
        bundled = file.path.startswith(asset(""))
        advice = "comes with the package: install it again" if bundled else file.advice
        if advice:
            lines.append(f"      {advice}")
    if not all(file.path.startswith(asset("")) for file in absent):
        lines += [
            f"The published data and weights are attached to {_RELEASE}",
            f"({_SCRIPT} fetches and unpacks them; run it in this folder).",
            "gan2shape-jax get downloads and converts weights, those and others: gan2shape-jax get --list",
        ]
    raise UserError("\n".join(lines))


def require_images(config: ConfigDict, names: Sequence[str] | None = None) -> list[str]:
    """Returns the list's image names; raises `UserError` listing the missing images.

    Args:
        config: the configuration.
        names: the names in the image list, if already read.
    """
    names = names_of(config) if names is None else list(names)
    root = pathlib.Path(config.data.image_root)
    absent = [str(root / name) for name in names if not os.path.isfile(root / name)]
    if absent:
        raise UserError(
            f"{len(absent)} of the {len(names)} images of {config.data.image_list} do not exist: "
            f"{_some_of(absent)} (config.data.image_list, config.data.image_root)"
        )
    return names


def _gan_conversion(path: str) -> str:
    """Returns the command that converts a GAN from the checkpoint next to the converted one's path."""
    named = pathlib.Path(path).name  # '' for a folder such as `.` too
    beside = [pathlib.Path(path).with_suffix(kind) for kind in _UNCONVERTED] if named else [pathlib.Path("IN.pt")]
    source = next((file for file in beside if os.path.isfile(file)), beside[0])
    return families.command(source, target=path or _OUT)


def _beside(path: str, suffix: str) -> str:
    """Returns the published file's path, next to the converted one's."""
    return pathlib.Path(path).with_suffix(suffix).as_posix() if pathlib.Path(path).name else f"IN{suffix}"


_NAMED = 20  # files that one message lists
_KINDS = {"latent_root": "latent", "depth_root": "true depth", "mask_root": "object mask"}
_REMEDIES = {
    "latent_root": "--config.data.latent_root= finds them all by inverting the GAN",
    "depth_root": "add them, take the images off the list, or --config.data.depth_root= to go without evaluation",
    "mask_root": "add them, or take the images off the list",
}


def absent_per_image_files(config: ConfigDict, names: Sequence[str]) -> dict[str, list[str]]:
    """Returns the list's images without a latent, ground-truth depth or mask, by the folder's field in `config.data`.

    Folders that are not given or do not exist are left out, and so are masks that may come from elsewhere.
    """
    finders: dict[str, Callable[[str, str], object]] = {
        "latent_root": find_latent,
        "depth_root": find_depth,
        "mask_root": functools.partial(_has_mask, config),
    }
    roots = {field: config.data[field] for field in finders}
    return {
        field: [name for name in names if not finders[field](root, name)]
        for field, root in roots.items()
        if root and os.path.isdir(root)
    }


def require_per_image_files(config: ConfigDict, names: Sequence[str]) -> None:
    """Rejects images without ground-truth depth or mask; warns of those without a latent.

    The latents of some images may be found by inverting the GAN; if there are none at all, the folder is wrong.

    Raises:
        UserError: one line per folder, saying how many of its files are missing, and which.
    """
    problems = []
    for field, absent in absent_per_image_files(config, names).items():
        if not absent:
            continue
        told = (
            f"{len(absent)} of the {len(names)} images of {config.data.image_list} have no {_KINDS[field]} in "
            f"config.data.{field} {config.data[field]}: {_some_of(absent)}"
        )
        if field == "latent_root" and len(absent) < len(names):
            warnings.warn(f"{told}; these are found by inverting the GAN", stacklevel=2)
        else:
            problems.append(f"{told} ({_REMEDIES[field]})")
    if problems:
        raise UserError("\n".join(problems))


def _some_of(names: Sequence[str]) -> str:
    """Returns the first of the names as text, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _has_mask(config: ConfigDict, root: str, name: str) -> bool:
    """Whether the image has a mask file, or its mask may come from elsewhere (see `masks.find_mask`)."""
    source = config.data.mask_source
    if source in ("alpha", "parser", "usual") or find(root, name, (".png",)):
        return True
    elsewhere = (category_of(config.category).parser and os.path.isfile(config.parsing.weights)) or has_alpha(
        pathlib.Path(config.data.image_root) / name
    )
    return source == "auto" and elsewhere
