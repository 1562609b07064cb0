"""Files that a configuration needs, which of them are missing, and how to get them. Nothing is downloaded here."""

import dataclasses
import operator
import os
import pathlib
import tomllib
import warnings
from collections.abc import Callable, Sequence

from ml_collections import ConfigDict

from gan2shape_jax import extensions
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import bundled
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.data import find, find_depth, find_latent, required_source
from gan2shape_jax.io.image_files import has_alpha
from gan2shape_jax.io.image_lists import stem_of
from gan2shape_jax.io.weights import convert_command, listed

_RELEASE = "https://github.com/XingangPan/GAN2Shape/releases/tag/v1.0"
_SCRIPT = "https://github.com/XingangPan/GAN2Shape/blob/master/scripts/download.sh"
_LPIPS = "https://github.com/richzhang/PerceptualSimilarity (lpips/weights/v0.1/vgg.pth)"
_VGG16 = "https://download.pytorch.org/models/vgg16-397923af.pth"
_OUT = "OUT.safetensors"  # if no target is named
_NAMED = 20  # files that one message lists
_ADD = "add them, remove the images from the list"
# What an image's files are, and what to do without them, by the folder's field in `config.data`.
_OF_IMAGES = {
    "latent_root": ("latent", "--config.data.latent_root= finds all by inverting the GAN"),
    "depth_root": ("true depth", f"{_ADD}, or use --config.data.depth_root= for no evaluation"),
    "mask_root": ("object mask", f"{_ADD}, or use other masks"),
}


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


def required_files_of(config: ConfigDict, names: Sequence[str] = ()) -> list[RequiredFile]:
    """Returns every file and folder that a run of these images reads, except the images."""
    files: list[RequiredFile] = []

    def need(field: str, advice: str = "", *, folder: bool = False) -> None:
        files.append(RequiredFile(field, operator.attrgetter(field)(config), folder, advice))

    data, trains = config.data, config.recipe != "predict"
    lift = config.recipe in ("lift", "finetune", "train_detail")
    if trains:  # prediction uses the GAN and latents if there are any
        path = config.gan.checkpoint
        beside = [_beside(path, kind) for kind in (".pt", ".pth", ".pkl")]
        source = next((file for file in beside if os.path.isfile(file)), "")
        named = "" if source else _published(pathlib.Path(path).name)
        convert = convert_command(source or beside[0], target=path or _OUT)
        need("gan.checkpoint", f"gan2shape-jax get {named}" if named else convert)
    need("sampling.view_mvn")
    need("sampling.light_mvn")
    if lift:
        if config.lift.mean_mask:
            need("lift.mean_mask", "or --config.lift.mean_mask= to estimate it from samples of the GAN")
        if config.lift.masks == "parser":
            need("parsing.weights", "or --config.lift.masks=grabcut")
        if config.recipe == "train_detail" and data.image_list:
            need("data.image_list", "or --config.data.image_list= for samples alone")
            need("data.image_root", folder=True)
    else:
        need("data.image_list")
        need("data.image_root", folder=True)
        if trains and data.latent_root:
            advice = "or --config.data.latent_root= to find the latents by inverting the GAN"
            need("data.latent_root", advice, folder=True)
        if data.depth_root:
            need("data.depth_root", "or --config.data.depth_root= for no evaluation", folder=True)
        source, path = required_source(config, names), config.parsing.weights
        parser = category_of(config.category).parser
        if source == "file":
            need("data.mask_root", "object masks NAME.png, white on the object, in any folder", folder=True)
        elif source == "mean":
            need("lift.mean_mask", "a picture that is white where the object usually is, for --config.lift.masks=mean")
        elif source == "parser" and parser is not None:
            command = convert_command(_beside(path, ".pth"), target=path or _OUT)
            own = "or masks of your own: --config.data.mask_root=FOLDER, or the images' alpha channel"
            from_release = f"{parser.file} of the published weights, or {parser.home}"
            need("parsing.weights", f"{parser}: {from_release}; {command}; {own}")
    if config.networks.pretrained:
        start = "or --config.recipe=train --config.networks.pretrained= to start from the ellipsoid prior (needs masks)"
        need("networks.pretrained", start if trains and not lift else "networks.safetensors of a joint run")
    without, distance = "--config.loss.perceptual=discriminator needs none", config.loss.perceptual if trains else ""
    if distance == "lpips":
        command = convert_command("vgg16-397923af.pth", "vgg.pth", target=config.loss.lpips_weights or _OUT)
        need("loss.lpips_weights", f"LPIPS v0.1: {_VGG16} and {_LPIPS}; {command}; {without}")
    elif distance in extensions.names("distance") and extensions.load("distance", distance).load:
        need(f"loss.{distance}_weights", f"parameters of the distance {distance!r}; {without}")
    return files


def _published(file: str) -> str:
    """Returns the name by which `gan2shape-jax get` makes a file of that name; '' if it does not."""
    entries = tomllib.loads(pathlib.Path(bundled.asset("published.toml")).read_text(encoding="utf-8"))["entries"]
    return next((name for name, entry in entries.items() if file in [given["file"] for given in entry["gives"]]), "")


def _beside(path: str, suffix: str) -> str:
    """Returns the published file's path, next to the converted one's."""
    return pathlib.Path(path).with_suffix(suffix).as_posix() if pathlib.Path(path).name else f"IN{suffix}"


def require_files(config: ConfigDict, names: Sequence[str] = ()) -> None:
    """Raises `UserError` listing all that is missing, where to get it and how to convert it."""
    absent = [file for file in required_files_of(config, names) if not file.present]
    if not absent:
        return
    count = "a file that is" if len(absent) == 1 else f"{len(absent)} files that are"
    lines = [f"this configuration needs {count} missing:"]
    ours = [bundled.advice(file.path) for file in absent]
    for file, how in zip(absent, ours, strict=True):
        lines.append(f"  config.{file.field}: {file.path or '(empty)'}")
        if advice := how or file.advice:
            lines.append(f"      {advice}")
    if not all(ours):
        lines += [
            f"The published data and weights are attached to {_RELEASE}",
            f"({_SCRIPT} fetches and unpacks them; run it in this folder).",
            "gan2shape-jax get downloads and converts weights, those and others: gan2shape-jax get --list",
        ]
    raise UserError("\n".join(lines))


def absent_of_images(config: ConfigDict, names: Sequence[str]) -> dict[str, list[str]]:
    """Returns the images without a latent, ground-truth depth or mask, by the folder's field in `config.data`.

    Folders that are not given or do not exist are left out, and so are masks that may come from elsewhere.
    """
    has: dict[str, Callable[[str, str], object]] = {"latent_root": find_latent, "depth_root": find_depth}
    has["mask_root"] = lambda root, stem: find(root, stem, (".png",))
    roots = {field: config.data[field] for field in has if os.path.isdir(config.data[field])}
    absent = {field: [name for name in names if not has[field](root, stem_of(name))] for field, root in roots.items()}
    if masks := absent.get("mask_root"):
        source, weights = config.data.mask_source, config.parsing.weights
        parsed = source == "auto" and category_of(config.category).parser and os.path.isfile(weights)
        if parsed or source not in ("auto", "file"):
            absent["mask_root"] = []
        elif source == "auto":
            absent["mask_root"] = [name for name in masks if not has_alpha(f"{config.data.image_root}/{name}")]
    return absent


def require_images(config: ConfigDict, names: Sequence[str]) -> None:
    """Rejects missing images, and images without ground-truth depth or mask; warns of those without a latent.

    The latents of some images may be found by inverting the GAN; if there are none at all, the folder is wrong. The
    `UserError` has one line per folder, saying how many of its files are missing, and which.
    """
    root, of_list = pathlib.Path(config.data.image_root), f"of the {len(names)} images of {config.data.image_list}"
    problems = []
    if absent := [str(root / name) for name in names if not os.path.isfile(root / name)]:
        fields = "(config.data.image_list, config.data.image_root)"
        problems.append(f"{len(absent)} {of_list} do not exist: {listed(absent, _NAMED)} {fields}")
    for field, absent in absent_of_images(config, names).items():
        what, remedy = _OF_IMAGES[field]
        where = f"in config.data.{field} {config.data[field]}"
        without = f"{len(absent)} {of_list} have no {what} {where}: {listed(absent, _NAMED)}"
        if field == "latent_root" and 0 < len(absent) < len(names):
            warnings.warn(f"{without}; these are computed by inverting the GAN", stacklevel=2)
        elif absent:
            problems.append(f"{without} ({remedy})")
    if problems:
        raise UserError("\n".join(problems))
