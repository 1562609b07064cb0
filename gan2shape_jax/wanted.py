"""Files that a configuration needs, which of them are absent, and how people come by them.

The published weights, images, latents and statistics are attached to a release of the method's
reference implementation; its StyleGAN2 weights have to be converted. Nothing is downloaded from
here.
"""

import dataclasses
import pathlib

from ml_collections import ConfigDict

from gan2shape_jax.config import asset
from gan2shape_jax.data import needs_masks, read_names
from gan2shape_jax.errors import UserError

__all__ = ["Wanted", "require_files", "require_images", "wanted_files"]

_RELEASE = "https://github.com/XingangPan/GAN2Shape/releases/tag/v1.0"
_SCRIPT = "https://github.com/XingangPan/GAN2Shape/blob/master/scripts/download.sh"
_LPIPS = "https://github.com/richzhang/PerceptualSimilarity"


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
        return bool(self.path) and (path.is_dir() if self.folder else path.is_file())


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
        more = f" and {len(absent) - 20} more" if len(absent) > 20 else ""
        raise UserError(
            f"{len(absent)} of the {len(names)} images of {config.data.image_list} do not exist: "
            f"{', '.join(absent[:20])}{more} (config.data.image_list, config.data.image_root)"
        )
    return names


def _conversion(path: str) -> str:
    """The command that converts the published file; a wheel has the tools inside."""
    package = pathlib.Path(__file__).resolve().parent
    checkout = (package.parent / "tools" / "convert_stylegan2").is_dir()
    tools = "tools" if checkout else "gan2shape_jax.tools"
    source = pathlib.Path(path).with_suffix(".pt").as_posix() if path else "IN.pt"
    return f"python -m {tools}.convert_stylegan2 {source} {path or 'OUT.safetensors'}"
