"""Weight files: safetensors, the families of other programs' checkpoints, and how tensors differ from those expected.

What messages quote from a file is truncated and never expanded. A family is recognised by names: those of tensors
(dictionary keys joined by dots, `g_ema.style.1.weight`) and of the classes of records (`SynthesisBlock`). Sizes are not
checked: that is left to the converters.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import safetensors.numpy

from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io.files import MIB, open_regular

LIMIT = 4096 * MIB  # maximum bytes of a weight file; StyleGAN2 for 1024 pixels with its optimizers has 830 MB
_TYPES = ("F16", "F32", "F64")
_LENGTH = 80  # characters of a name or value in a message


def safetensors_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """Returns a safetensors file; the same arguments give the same bytes: the library writes metadata in any order."""
    content = safetensors.numpy.save(dict(tensors), dict(metadata))
    start = 8  # the header's length comes first
    end = start + int.from_bytes(content[:start], "little")
    header = json.loads(content[start:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:start] + text.ljust(end - start) + content[end:]


def listed(names: Iterable[str], count: int = 40) -> str:
    """Returns the first `count` names, joined by commas, and how many more there are."""
    every: Sequence[str] = list(names)
    more = f" and {len(every) - count} more" if len(every) > count else ""
    return ", ".join(_cut(name) for name in every[:count]) + more


def short(value: Any) -> str:
    """Returns the truncated `repr` of a plain value; for any other value, only its type."""
    if isinstance(value, (str, bytes)):
        return _cut(repr(value[:_LENGTH]))
    if value is None or isinstance(value, (bool, int, float)):
        return _cut(repr(value))
    return f"a {type(value).__name__}"


def _cut(text: str) -> str:
    return text if len(text) <= 2 * _LENGTH else f"{text[:_LENGTH]}...{text[-_LENGTH // 2 :]}"


def misfits(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Returns how tensors, or their shapes, differ from those expected, or are not finite; '' if they do not."""
    shape_of = {name: tuple(getattr(value, "shape", value)) for name, value in tensors.items()}
    fitting = [name for name, shape in shapes.items() if shape_of.get(name) == shape]
    faults = {
        "missing": [name for name in shapes if name not in tensors],
        "unknown": [name for name in tensors if name not in shapes],
        "misshapen": [
            f"{name} is {shape_of[name]} instead of {shape}"
            for name, shape in shapes.items()
            if shape_of.get(name, shape) != shape
        ],
        "without numbers": [name for name in fitting if 0 in shapes[name]],
        "with NaN or infinity": [
            name for name in fitting if hasattr(tensors[name], "dtype") and not np.isfinite(tensors[name]).all()
        ],
    }
    return "; ".join(f"{what}: {listed(names)}" for what, names in faults.items() if names)


class TensorFile:
    """An open safetensors file."""

    def __init__(self, file: Any, path: str | os.PathLike[str]) -> None:
        """Takes what `safetensors.safe_open` returns; refuses tensors of other types than floats by `UserError`."""
        self._file = file
        self.metadata: Mapping[str, str] = file.metadata() or {}  # the header's, all text
        self.shapes: dict[str, tuple[int, ...]] = {}  # the tensors', by name
        for name in file.keys():  # it is no dictionary
            entry = file.get_slice(name)
            if entry.get_dtype() not in _TYPES:
                read = f"only {', '.join(_TYPES)} are read: save it with one of these types"
                raise UserError(f"{path} holds the tensor {short(name)} of type {short(entry.get_dtype())}, and {read}")
            self.shapes[name] = tuple(entry.get_shape())

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor."""
        return self._file.get_tensor(name)

    def read_all(self, shapes: Mapping[str, tuple[int, ...]], fault: str) -> dict[str, np.ndarray]:
        """Returns all tensors; a `UserError` begins with `fault` and lists how they differ, see `misfits`."""
        tensors: dict[str, Any] = {
            name: self.read(name) if shapes.get(name) == shape else shape for name, shape in self.shapes.items()
        }
        if differing := misfits(tensors, shapes):
            raise UserError(f"{fault}: {differing}")
        return tensors


def refuse_stand_in(path: str | os.PathLike[str], head: bytes) -> None:
    """Raises `UserError` if a file's first bytes show that it only stands for weights that are elsewhere."""
    if head.startswith(b"version https://"):
        raise UserError(f"{path} is a pointer of Git LFS, not the weights themselves: fetch them with `git lfs pull`")
    if head.lstrip().startswith(b"<"):
        raise UserError(f"{path} is a web page (HTML) and holds no weights: download it again")


@contextlib.contextmanager
def open_safetensors(path: str | os.PathLike[str], advice: str = "") -> Iterator[TensorFile]:
    """Opens a safetensors file of 16, 32 or 64-bit floating point numbers.

    Raises `UserError` for a file that is missing, damaged, of other types or larger than any weight file; `advice` is
    what the message says to do.
    """
    then = f"; {advice}" if advice else ""
    try:
        with open_regular(path, limit=LIMIT) as plain:
            head = plain.read(16)
        with safetensors.safe_open(path, framework="np") as file:
            yield TensorFile(file, path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file{then}") from error
    except (OSError, safetensors.SafetensorError) as error:
        if isinstance(error, safetensors.SafetensorError):
            refuse_stand_in(path, head)
        why = one_line(str(error)[:200])
        raise UserError(f"{path} cannot be read as a safetensors file ({why}){then}") from error


@dataclasses.dataclass(frozen=True)
class Family:
    """A kind of checkpoint."""

    name: str
    title: str  # readable name, as in "this is ..."
    tool: str | None  # what it is converted to, or None if nothing here converts it
    patterns: tuple[str, ...]  # regular expressions; each must match the start of some name
    without: tuple[str, ...] = ()  # regular expressions, none of which may match
    advice: str = ""  # what to do instead if `tool` is None


# What data parallelism, compilation and trainers add to the names of tensors.
WRAPPERS = ("module", "_orig_mod", "state_dict")
STYLEGAN2, NETWORKS = "stylegan2", "networks"  # what `convert` makes of a checkpoint
_TENSORFLOW = r"(dnnlib\.)?(tflib\.network|tfutil)\.Network$"

_OTHER_GAN = "its networks differ from StyleGAN2's and are not supported; take a StyleGAN2 of the same data"

# The first match is taken, so narrower families come first.
FAMILIES: tuple[Family, ...] = (
    Family(
        "stylegan3",
        "an alias-free StyleGAN3 (T or R) of NVIDIA",
        None,
        (r"SynthesisInput$|(.*\.)?synthesis\.input\.(freqs|weight)",),
        advice=f"{_OTHER_GAN} (the stylegan3 repository lists some)",
    ),
    Family(
        "stylegan2-nvidia",
        "a StyleGAN2 pickle of NVIDIA's PyTorch repositories",
        STYLEGAN2,
        (r"SynthesisBlock$|DiscriminatorBlock$|(.*\.)?synthesis\.b4\.|D\.b\d+\.(fromrgb|conv0|conv1)\.",),
    ),
    Family(
        "stylegan1",
        "a StyleGAN of the first generation",
        None,
        (r"tf:(G_style|D_basic)|g_running\.|g_mapping\.dense|g_synthesis\.blocks|generator\.progression\.",),
        advice=f"{_OTHER_GAN}, config e or f (config a of NVIDIA's StyleGAN2 is of this kind too)",
    ),
    Family(
        "stylegan2-lucidrains",
        "a GAN of lucidrains/stylegan2-pytorch",
        None,
        (r"(GAN\.)?(G|GE|D)\.(initial_block|blocks\.\d+\.(to_style1|conv_res))",),
        advice=f"{_OTHER_GAN}, or train one with gan2shape-jax train-gan",
    ),
    Family(
        "stylegan2-tensorflow",
        "a StyleGAN2 pickle of NVIDIA's TensorFlow repositories",
        STYLEGAN2,
        (_TENSORFLOW, r"tf:(G_main|D_stylegan2?|D_main)$"),
    ),
    Family(
        "tensorflow",
        "a network pickle of NVIDIA's TensorFlow code, but not of a StyleGAN2 (progressive GANs, metrics)",
        None,
        (_TENSORFLOW,),
        advice=_OTHER_GAN,
    ),
    Family(
        "stylegan2-rosinality",
        "a StyleGAN2 of rosinality/stylegan2-pytorch",
        STYLEGAN2,
        (r"g_ema\.|[gd]\.(conv1|convs|style|input|final_linear)\.|(.*\.)?conv1\.conv\.modulation\.weight",),
    ),
    Family("gan2shape", "the original's networks (netD ... netEnc)", NETWORKS, (r"netEnc\.", r"net[DAVL]\.")),
    Family(
        "unsup3d",
        "networks of Unsup3d (netD, netA, netV, netL)",
        NETWORKS,
        (r"netD\.", r"netA\.", r"net[VL]\."),
        (r"netEnc\.",),
    ),
    Family("lpips", "weights of LPIPS", NETWORKS, (r"lin0\.model\.1\.weight|lins\.0\.model\.1\.weight",)),
    Family(
        "vgg16",
        "torchvision's VGG16",
        NETWORKS,
        (r"features\.0\.weight", r"features\.28\.weight"),
        (r"features\.34\.weight", r".*\.running_mean"),
    ),
    Family("bisenet", "the BiSeNet that parses faces", NETWORKS, (r"cp\.resnet\.conv1\.weight",)),
    Family("pspnet", "the PSPNet that parses scenes", NETWORKS, (r"layer0\.0\.weight", r"ppm\.|cls\.")),
    Family("mvn", "the mean and covariance of views or lights", NETWORKS, (r"mean$", r"cov$")),
)


def recognise(names: Iterable[str]) -> Family | None:
    """Returns the family that a checkpoint's names reveal, or None; the `WRAPPERS` may stay in the names."""
    plain = [".".join(part for part in name.split(".") if part not in WRAPPERS) for name in names]

    def some(pattern: str) -> bool:
        return any(map(re.compile(pattern).match, plain))

    return next((f for f in FAMILIES if all(map(some, f.patterns)) and not any(map(some, f.without))), None)


def tensor_names(content: Any) -> set[str]:
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


def convert_command(*sources: str | os.PathLike[str], target: str | os.PathLike[str] | None = None) -> str:
    """Returns the command line that converts files; the default target is the first file as .safetensors."""
    paths = [*sources, target or pathlib.Path(sources[0]).with_suffix(".safetensors")]
    return shlex.join(["gan2shape-jax", "convert", *(pathlib.Path(path).as_posix() for path in paths)])


def explain(family: Family, path: str | os.PathLike[str]) -> str:
    """Returns a sentence for an error message: what the file is and what to do with it."""
    return f"{path} is {family.title}: {family.advice or f'convert it with {convert_command(path)}'}"
