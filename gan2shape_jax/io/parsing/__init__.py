"""Scene parsers that find the object in a picture: BiSeNet for faces, PSPNet for objects and scenes."""

from gan2shape_jax.io.parsing.architecture import (
    Architecture,
    header_of,
    ignored_names,
    infer_architecture,
    load_parser,
    parameter_shapes,
    params_from_torch,
    torch_shapes,
)
from gan2shape_jax.io.parsing.forward import find_labels, logits, mask_of_labels, prepare

__all__ = [
    "Architecture",
    "find_labels",
    "header_of",
    "ignored_names",
    "infer_architecture",
    "load_parser",
    "logits",
    "mask_of_labels",
    "parameter_shapes",
    "params_from_torch",
    "prepare",
    "torch_shapes",
]
