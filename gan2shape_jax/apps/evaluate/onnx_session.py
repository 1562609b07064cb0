"""A network from an ONNX file in onnxruntime, with bounds on its resources.

onnxruntime computes what the file says, and a few operations can be made to compute a lot: sizes can be outputs of
other operations. So the file is checked first (`weight_files.onnx_file`), nothing is computed before it is run, the
memory for a run is bounded according to the file's size, and a run is ended after a time limit. Within these bounds,
and within a single operation, its use of the processor is not limited.
"""

import pathlib
import threading
from typing import Any

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.regular_files import MIB, read_bytes
from gan2shape_jax.io.weights.budget import Refused
from gan2shape_jax.io.weights.messages import printable
from gan2shape_jax.io.weights.onnx_file import check_onnx

__all__ = ["Session", "open_session", "run_session"]

Session = Any  # onnxruntime comes without types

_LARGEST = 1024 * MIB  # bytes of a file
_ALLOWANCE, _MULTIPLE = 384 * MIB, 8  # memory of a run: for a few pictures, plus a multiple of the file's size
_SECONDS = 300  # of a run
_FATAL = 4  # the only messages of onnxruntime itself that are printed


def open_session(path: pathlib.Path) -> Session:
    """Returns the network of an ONNX file as an onnxruntime session.

    Raises:
        UserError: onnxruntime is not installed; or the file is missing, damaged, or contains something that no network
            from pictures to vectors needs.
    """
    try:
        content = read_bytes(path, limit=_LARGEST)
    except FileNotFoundError as error:
        raise UserError(f"the embedding network {path} does not exist: name an ONNX file with --embedding") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    runtime = _onnxruntime()
    try:
        check_onnx(content)
    except Refused as error:
        raise UserError(f"{path} is no usable ONNX network: it holds {error}") from error
    runtime.set_default_logger_severity(_FATAL)  # errors are reported below
    options = runtime.SessionOptions()
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.load_model_format", "ONNX")  # the format that was checked, and no other
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        _bound_memory(runtime, _ALLOWANCE + _MULTIPLE * len(content))
        return runtime.InferenceSession(
            content,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["ConstantFolding"],  # it computes while the file is opened, without any bound
            enable_fallback=0,  # to the same processor, with a message of its own
        )
    except Exception as error:  # onnxruntime's errors have no common class
        raise UserError(f"{path} is no usable ONNX network: {_first_line(error)}") from error


def run_session(session: Session, inputs: dict[str, np.ndarray], path: pathlib.Path) -> Any:
    """Returns the first output of a network.

    Raises:
        UserError: it does not run on these inputs, or takes too long.
    """
    options = _onnxruntime().RunOptions()
    watch = threading.Timer(_SECONDS, setattr, (options, "terminate", True))
    watch.daemon = True
    watch.start()
    try:
        return session.run([session.get_outputs()[0].name], inputs, options)[0]
    except Exception as error:
        shapes = ", ".join(str(value.shape) for value in inputs.values())
        reason = f"longer than {_SECONDS} s" if options.terminate else _first_line(error)
        raise UserError(f"{path} does not run on pictures of shape {shapes}: {reason}") from error
    finally:
        watch.cancel()


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError("ONNX networks need onnxruntime: pip install 'gan2shape-jax[identity]'") from None
    return onnxruntime


def _bound_memory(runtime: Any, most: int) -> None:
    """Limits the memory of all sessions opened from now on."""
    kind = runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    place = runtime.OrtMemoryInfo("Cpu", kind, 0, runtime.OrtMemType.DEFAULT)
    as_requested = 1  # the arena grows by what is requested, not to the next power of two
    settings = runtime.OrtArenaCfg({"max_mem": most, "arena_extend_strategy": as_requested})
    runtime.create_and_register_allocator(place, settings)


def _first_line(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0], 300)
