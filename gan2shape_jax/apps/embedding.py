"""Embeddings of pictures by a network that the user provides as an ONNX file, and how similar they are.

Nothing is bundled: networks that tell faces apart have licences of their own. onnxruntime is optional (the extra
`identity`) and runs on the CPU; an ONNX file is a graph of known operations and cannot run other code. It is opened and
run in a child process with a limit on memory and time.
"""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from gan2shape_jax.errors import UserError, install
from gan2shape_jax.io.files import MIB, open_regular
from gan2shape_jax.io.sandbox import run_limited
from gan2shape_jax.io.weights import listed, short
from gan2shape_jax.results.pictures import to_uint8

_MOST = 1024  # along each axis of the input
_PIXELS = 2**17  # given at a time to a network that takes any batch size: ten pictures of 112 pixels
_LONGEST = 2**16  # numbers in a vector
_LARGEST = 1024 * MIB  # bytes of a file
_ALLOWANCE, _MULTIPLE = 1024 * MIB, 8  # memory of a run: for a few pictures, plus a multiple of the file's size
_SECONDS = 300  # of a run
_FATAL = 4  # the only messages of onnxruntime itself that are printed

# Pictures (n, s, s, 3) in [-1, 1] to vectors (n, d).
Embedding = Callable[[Float[np.ndarray, "n s s 3"]], Float[np.ndarray, "n d"]]


@dataclasses.dataclass(frozen=True)
class Preparation:
    """How a network expects its pictures: a value v of 0 to 255 becomes (v - mean) / std."""

    size: int = 0  # side in pixels; 0 takes it from the network's input
    mean: float = 127.5
    std: float = 127.5
    bgr: bool = False  # True swaps red and blue
    crop: float = 1.0  # fraction of the side that the centred square keeps


def prepare(pictures: Float[np.ndarray, "n s s 3"], preparation: Preparation) -> Float[np.ndarray, "n t t 3"]:
    """Crops, resizes with antialiasing, and normalises pictures in [-1, 1]; `preparation.size` must be positive."""
    prepared = []
    for picture in to_uint8(pictures):
        image = Image.fromarray(picture)
        margin = (1 - preparation.crop) / 2 * image.width
        box = (margin, margin, image.width - margin, image.height - margin)
        resized = image.resize((preparation.size, preparation.size), Image.Resampling.BILINEAR, box=box)
        prepared.append((np.asarray(resized, np.float32) - preparation.mean) / preparation.std)
    stacked = np.stack(prepared)
    return stacked[..., ::-1] if preparation.bgr else stacked


def load_embedding(path: pathlib.Path, preparation: Preparation = Preparation()) -> Embedding:
    """Returns the network of an ONNX file as a function of pictures.

    Raises `UserError`: onnxruntime is not installed; the file is missing, damaged, or takes something other than one
    batch of square colour pictures in float32; or the options do not fit it.
    """
    inputs = _limited(_inputs, path)
    if len(inputs) != 1 or len(inputs[0][2]) != 4 or inputs[0][1] != "tensor(float)":
        inputs_text = listed(f"{short(name)} {kind} {_shown(shape)}" for name, kind, shape in inputs) or "nothing"
        raise UserError(f"{path} takes {inputs_text}: it must take one batch of pictures, float32 with four axes")
    name, _, shape = inputs[0]
    batch, colours, size = _layout(shape, preparation.size, path)
    fitting = dataclasses.replace(preparation, size=size)

    def embed(pictures: np.ndarray) -> np.ndarray:
        ready = np.moveaxis(prepare(pictures, fitting), -1, colours)
        count = batch or max(1, min(len(ready), _PIXELS // size**2))
        filled = np.concatenate([ready, np.repeat(ready[-1:], -len(ready) % count, axis=0)])
        batches = [np.ascontiguousarray(filled[i : i + count]) for i in range(0, len(filled), count)]
        outputs = _limited(_outputs, path, name, batches)
        return np.concatenate([_vectors(output, count, path) for output in outputs])[: len(ready)]

    return embed


def _shown(shape: list[Any]) -> str:
    return f"[{listed(map(short, shape))}]"


def _layout(shape: list[Any], size: int, path: pathlib.Path) -> tuple[int, int, int]:
    """Returns the batch size (0: any), the axis of colours (1 or 3) and the pictures' side.

    They are those of an input's shape; `size` is the side where that leaves it open, otherwise 0.
    """
    sizes = [axis if isinstance(axis, int) and axis > 0 else 0 for axis in shape]  # 0: any
    colours = 3 if sizes[3] == 3 and sizes[1] != 3 else 1
    side = size or max(sizes[2:] if colours == 1 else sizes[1:3])
    if not side:
        raise UserError(f"{path} takes pictures of any size: name the one that it was trained for with --size")
    fitting = (3, side, side) if colours == 1 else (side, side, 3)
    if max(*sizes, side) > _MOST or any(axis not in (0, due) for axis, due in zip(sizes[1:], fitting)):
        must = f"square colour pictures of at most {_MOST} pixels{f', here of {side}' if size else ''}"
        raise UserError(f"{path} takes pictures of shape {_shown(shape)}: it must take {must}")
    return sizes[0], colours, side


def _vectors(output: np.ndarray, count: int, path: pathlib.Path) -> np.ndarray:
    """Returns the vectors in the output for `count` pictures."""
    if output.shape[:1] != (count,) or not 1 < output.size // count <= _LONGEST:
        raise UserError(f"{path} returns {output.shape} for {count} pictures: it must be a vector for each")
    vectors = output.reshape(count, -1).astype(np.float64)
    if not np.isfinite(vectors).all() or not np.linalg.norm(vectors, axis=1).all():
        raise UserError(f"{path} returns vectors that are zero or not finite: do --mean and --std fit it?")
    return vectors


def _limited(function: Callable[..., Any], path: pathlib.Path, *args: Any) -> Any:
    """Calls a function of the network's path in a child process with limits; raises like `load_embedding`."""
    if not path.is_file():
        raise UserError(f"the embedding network {path} does not exist: name an ONNX file with --embedding")
    open_regular(path, limit=_LARGEST).close()
    if importlib.util.find_spec("onnxruntime") is None:
        raise UserError(f"ONNX networks need onnxruntime: {install('identity')}")
    memory = _ALLOWANCE + _MULTIPLE * path.stat().st_size
    return run_limited(function, str(path), *args, memory=memory, seconds=_SECONDS, source=f"the network {path}")


def _inputs(path: str) -> list[tuple[str, str, list[int | str | None]]]:
    """Returns the name, the type and the shape of each input; runs in the child process."""
    return [(entry.name, entry.type, list(entry.shape)) for entry in _session(path).get_inputs()]


def _outputs(path: str, name: str, batches: list[np.ndarray]) -> list[np.ndarray]:
    """Returns the first output for each batch of pictures; runs in the child process."""
    session, outputs = _session(path), []
    for batch in batches:
        outputs.append(np.asarray(session.run([session.get_outputs()[0].name], {name: batch})[0]))
        if outputs[-1].dtype.kind not in "fiu":
            raise UserError(f"{path} gives {outputs[-1].dtype} for pictures: it must return a vector for each")
    return outputs


def _session(path: str) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(_FATAL)  # errors reach the parent
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"], enable_fallback=0)
