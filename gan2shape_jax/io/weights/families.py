"""Recognises a checkpoint's family by the names in it, and tells which tool converts it.

`recognise` is a pure function of names: those of tensors (dictionary keys joined by dots, `g_ema.style.1.weight`) and
of the classes of records (`SynthesisBlock`). Sizes are not checked: that is left to the converters.
"""

import dataclasses
import os
import pathlib
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Family:
    """A kind of checkpoint."""

    name: str  # short name, for code and tables
    title: str  # readable name, as in "this is ..."
    tool: str | None  # the converter, as `gan2shape-jax convert` names it, or None if nothing here converts it
    patterns: tuple[str, ...]  # regular expressions; each must match the start of some name
    without: tuple[str, ...] = ()  # regular expressions, none of which may match
    advice: str = ""  # what to do instead if `tool` is None


# What data parallelism, compilation and trainers add to the names of tensors.
WRAPPERS = ("module", "_orig_mod", "state_dict")
_STYLEGAN2, _NETWORKS = "stylegan2", "networks"
_TENSORFLOW = r"(dnnlib\.)?(tflib\.network|tfutil)\.Network$"

# The first match is taken, so narrower families come first.
FAMILIES: tuple[Family, ...] = (
    Family(
        "stylegan3",
        "an alias-free StyleGAN3 (T or R) of NVIDIA",
        None,
        (r"SynthesisInput$|(.*\.)?synthesis\.input\.(freqs|weight)",),
        advice="its generator differs from StyleGAN2's and is not supported; take a StyleGAN2 of the same "
        "data (the stylegan3 repository lists some)",
    ),
    Family(
        "stylegan2-nvidia",
        "a StyleGAN2 pickle of NVIDIA's PyTorch repositories",
        _STYLEGAN2,
        (r"SynthesisBlock$|DiscriminatorBlock$|(.*\.)?synthesis\.b4\.|D\.b\d+\.(fromrgb|conv0|conv1)\.",),
    ),
    Family(
        "stylegan1",
        "a StyleGAN of the first generation",
        None,
        (r"tf:(G_style|D_basic)|g_running\.|g_mapping\.dense|g_synthesis\.blocks|generator\.progression\.",),
        advice="it differs from StyleGAN2 and is not supported (config a of NVIDIA's StyleGAN2 is of this "
        "kind too); take a StyleGAN2 of the same data, config e or f",
    ),
    Family(
        "stylegan2-lucidrains",
        "a GAN of lucidrains/stylegan2-pytorch",
        None,
        (r"(GAN\.)?(G|GE|D)\.(initial_block|blocks\.\d+\.(to_style1|conv_res))",),
        advice="its networks differ from StyleGAN2's and are not supported; take a StyleGAN2 of the same data, or "
        "train one with gan2shape-jax train-gan",
    ),
    Family(
        "stylegan2-tensorflow",
        "a StyleGAN2 pickle of NVIDIA's TensorFlow repositories",
        _STYLEGAN2,
        (_TENSORFLOW, r"tf:(G_main|D_stylegan2?|D_main)$"),
    ),
    Family(
        "tensorflow",
        "a network pickle of NVIDIA's TensorFlow code, but not of a StyleGAN2 (progressive GANs, metrics)",
        None,
        (_TENSORFLOW,),
        advice="it holds other networks than StyleGAN2's, which are not supported",
    ),
    Family(
        "stylegan2-rosinality",
        "a StyleGAN2 of rosinality/stylegan2-pytorch",
        _STYLEGAN2,
        (r"g_ema\.|[gd]\.(conv1|convs|style|input|final_linear)\.|(.*\.)?conv1\.conv\.modulation\.weight",),
    ),
    Family("gan2shape", "the original's networks (netD ... netEnc)", _NETWORKS, (r"netEnc\.", r"net[DAVL]\.")),
    Family(
        "unsup3d",
        "networks of Unsup3d (netD, netA, netV, netL)",
        _NETWORKS,
        (r"netD\.", r"netA\.", r"net[VL]\."),
        (r"netEnc\.",),
    ),
    Family("lpips", "weights of LPIPS", _NETWORKS, (r"lin0\.model\.1\.weight|lins\.0\.model\.1\.weight",)),
    Family(
        "vgg16",
        "torchvision's VGG16",
        _NETWORKS,
        (r"features\.0\.weight", r"features\.28\.weight"),
        (r"features\.34\.weight", r".*\.running_mean"),
    ),
    Family("bisenet", "the BiSeNet that parses faces", _NETWORKS, (r"cp\.resnet\.conv1\.weight",)),
    Family("pspnet", "the PSPNet that parses scenes", _NETWORKS, (r"layer0\.0\.weight", r"ppm\.|cls\.")),
    Family("mvn", "the mean and covariance of views or lights", _NETWORKS, (r"mean$", r"cov$")),
)


def recognise(names: Iterable[str]) -> Family | None:
    """Returns the family that a checkpoint's names reveal, or None; the `WRAPPERS` may stay in the names."""
    plain = [".".join(part for part in name.split(".") if part not in WRAPPERS) for name in names]

    def some(pattern: str) -> bool:
        return any(map(re.compile(pattern).match, plain))

    return next((f for f in FAMILIES if all(map(some, f.patterns)) and not any(map(some, f.without))), None)


def names_of(content: Any) -> set[str]:
    """Returns the names in what `checkpoints` reads: dotted paths of arrays, and classes of records.

    For TensorFlow networks, the function that builds them is included as `tf:NAME`.
    """
    names: set[str] = set()

    def collect(value: Any, path: str) -> None:
        fields = getattr(value, "fields", None)
        if isinstance(fields, dict):
            names.add(value.class_name)
            if isinstance(builder := fields.get("build_func_name"), str):
                names.add(f"tf:{builder}")
            value = fields
        if isinstance(value, Mapping):
            for key, item in value.items():
                # PyTorch modules read as records keep their parts in these three.
                hidden = fields is not None and key in ("_modules", "_parameters", "_buffers")
                collect(item, path if hidden else f"{path}.{key}" if path else str(key))
        elif isinstance(value, (list, tuple)):
            for item in value:
                collect(item, path)
        elif hasattr(value, "shape"):
            names.add(path)

    collect(content, "")
    return names


def command(*sources: str | os.PathLike[str], target: str | os.PathLike[str] | None = None) -> str:
    """Returns the command line that converts files; the default target is the first file as .safetensors."""
    paths = [*sources, target or pathlib.Path(sources[0]).with_suffix(".safetensors")]
    return shlex.join(["gan2shape-jax", "convert", *(pathlib.Path(path).as_posix() for path in paths)])


def explain(family: Family, path: str | os.PathLike[str]) -> str:
    """Returns a sentence for an error message: what the file is and what to do with it."""
    return f"{path} is {family.title}: {family.advice or f'convert it with {command(path)}'}"
