"""Files that a configuration needs, which of them are absent, and how people come by them.

The published weights, images, latents and statistics are attached to a release of the method's
reference implementation; its StyleGAN2 weights have to be converted. Nothing is downloaded from
here.
"""

import dataclasses
import pathlib
import shlex
import warnings

from ml_collections import ConfigDict

from gan2shape_jax.config import asset
from gan2shape_jax.data import find, find_depth, find_latent, needs_masks, read_names
from gan2shape_jax.errors import UserError

__all__ = ["Wanted", "companions", "require_companions", "require_files", "require_images", "wanted_files"]

_RELEASE = "https://github.com/XingangPan/GAN2Shape/releases/tag/v1.0"
_SCRIPT = "https://github.com/XingangPan/GAN2Shape/blob/master/scripts/download.sh"
_LPIPS = "https://github.com/richzhang/PerceptualSimilarity"

_COMPANIONS = {"data.latent_root": "latent", "data.depth_root": "true depth", "data.mask_root": "object mask"}
_REMEDIES = {
    "data.latent_root": "--config.data.latent_root= finds them all by inverting the GAN",
    "data.depth_root": "add them, take the images off the list, or --config.data.depth_root= to go without evaluation",
    "data.mask_root": "add them, or take the images off the list",
}
# Endings of StyleGAN2 checkpoints that are to be converted, the published code's first.
_UNCONVERTED = (".pt", ".pth", ".pkl")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A file or folder that a field names, with a line on how to get it, or ''."""

    field: str
    path: str
    folder: bool = False
    advice: str = ""

    @property
    def present(self) -> bool:
        path = pathlib.Path(self.path)
        return path.is_dir() if self.folder else path.is_file()


def wanted_files(config: ConfigDict) -> list[Wanted]:
    """Returns every file and folder that a run reads, except the list's images."""
    data = config.data
    wanted = [
        Wanted("gan.checkpoint", config.gan.checkpoint, advice=_conversion(config.gan.checkpoint)),
        Wanted("sampling.view_mvn", config.sampling.view_mvn),
        Wanted("sampling.light_mvn", config.sampling.light_mvn),
        Wanted("data.image_list", data.image_list),
        Wanted("data.image_root", data.image_root, folder=True),
    ]
    if data.latent_root:
        advice = "or --config.data.latent_root= to find the latents by inverting the GAN"
        wanted.append(Wanted("data.latent_root", data.latent_root, folder=True, advice=advice))
    if data.depth_root:
        advice = "or --config.data.depth_root= to go without evaluation"
        wanted.append(Wanted("data.depth_root", data.depth_root, folder=True, advice=advice))
    if data.mask_root or needs_masks(config):
        advice = "object masks NAME.png, white on the object, in a folder of your choice"
        wanted.append(Wanted("data.mask_root", data.mask_root, folder=True, advice=advice))
    if config.networks.pretrained:
        advice = "or --config.networks.pretrained= to start from the ellipsoid prior (needs masks)"
        wanted.append(Wanted("networks.pretrained", config.networks.pretrained, advice=advice))
    if config.loss.perceptual == "lpips":
        advice = f"LPIPS v0.1, VGG16 ({_LPIPS}); --config.loss.perceptual=discriminator needs none"
        wanted.append(Wanted("loss.lpips_weights", config.loss.lpips_weights, advice=advice))
    return wanted


def require_files(config: ConfigDict) -> None:
    """Raises `UserError` listing all that is absent, where people get it, how to convert it."""
    absent = [wanted for wanted in wanted_files(config) if not wanted.present]
    if not absent:
        return
    count = "a file that is" if len(absent) == 1 else f"{len(absent)} files that are"
    lines = [f"this configuration wants {count} not here:"]
    for wanted in absent:
        lines.append(f"  config.{wanted.field}: {wanted.path or '(empty: not given)'}")
        bundled = wanted.path.startswith(asset(""))
        advice = "comes with the package: install it again" if bundled else wanted.advice
        if advice:
            lines.append(f"      {advice}")
    if not all(wanted.path.startswith(asset("")) for wanted in absent):
        lines += [
            f"The published data and weights are attached to {_RELEASE}",
            f"({_SCRIPT} fetches and unpacks them; run it in this folder).",
        ]
    raise UserError("\n".join(lines))


def require_images(config: ConfigDict) -> list[str]:
    """Returns the list's image names; raises `UserError` listing every image not there."""
    names = read_names(config.data.image_list)
    root = pathlib.Path(config.data.image_root)
    absent = [str(root / name) for name in names if not (root / name).is_file()]
    if absent:
        raise UserError(
            f"{len(absent)} of the {len(names)} images of {config.data.image_list} do not exist: "
            f"{_some(absent)} (config.data.image_list, config.data.image_root)"
        )
    return names


def companions(config: ConfigDict, names: list[str]) -> dict[str, list[str]]:
    """Returns which of the list's images have no latent, true depth or mask, of those that have a folder.

    The keys are the folders' fields: `data.latent_root`, `data.depth_root`, `data.mask_root`.
    """
    data = config.data
    finders = {
        "data.latent_root": find_latent,
        "data.depth_root": find_depth,
        "data.mask_root": lambda root, name: find(root, name, (".png",)),
    }
    roots = {field: data[field.removeprefix("data.")] for field in finders}
    return {field: [name for name in names if finders[field](root, name) is None]
            for field, root in roots.items() if pathlib.Path(root).is_dir() and root}


def require_companions(config: ConfigDict, names: list[str]) -> None:
    """Raises `UserError` for images without their true depth or mask; warns of those without a latent.

    The latents of some images may be found by inverting the GAN; where none is there the folder is wrong.
    """
    problems = []
    for field, absent in companions(config, names).items():
        if not absent:
            continue
        told = (f"{len(absent)} of the {len(names)} images of {config.data.image_list} have no "
                f"{_COMPANIONS[field]} in config.{field} {config.data[field.removeprefix('data.')]}: {_some(absent)}")
        if field == "data.latent_root" and len(absent) < len(names):
            warnings.warn(f"{told}; these are found by inverting the GAN", stacklevel=2)
        else:
            problems.append(f"{told} ({_REMEDIES[field]})")
    if problems:
        raise UserError("\n".join(problems))


def _some(names: list[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _conversion(path: str) -> str:
    """The command that converts a checkpoint, from what lies beside it; a wheel has the tools inside."""
    package = pathlib.Path(__file__).resolve().parent
    checkout = (package.parent / "tools" / "convert_stylegan2").is_dir()
    tools = "tools" if checkout else "gan2shape_jax.tools"
    beside = [pathlib.Path(path).with_suffix(kind) for kind in _UNCONVERTED] if path else [pathlib.Path("IN.pt")]
    source = next((file for file in beside if file.is_file()), beside[0])
    return f"python -m {tools}.convert_stylegan2 {shlex.join([source.as_posix(), path or 'OUT.safetensors'])}"
