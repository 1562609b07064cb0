"""Scene parsers that find the object in a picture: BiSeNet for faces, PSPNet for objects and scenes."""

from gan2shape_jax.io.parsing.architecture import Architecture, parameter_shapes
from gan2shape_jax.io.parsing.parse import find_labels, logits, mask_of_labels, prepare
from gan2shape_jax.io.parsing.torch_weights import ignored_names, infer_architecture, params_from_torch, torch_shapes
from gan2shape_jax.io.parsing.weights import header_of, load_parser

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
