"""`gan2shape-jax convert IN OUT`: converts other programs' weights to the files that this one reads.

The kind of IN is recognised by its content; `convert stylegan2` and `convert networks` name the converter explicitly,
as their options differ.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from gan2shape_jax.errors import exit_code
from gan2shape_jax.io.checkpoints import read_checkpoint
from gan2shape_jax.io.weights import recognise, tensor_names

_KINDS = ("stylegan2", "networks")
_USAGE = """\
usage: gan2shape-jax convert [stylegan2|networks] IN [IN] OUT.safetensors [OPTION ...]

Converts weights of PyTorch to the files that this program reads. IN is recognised by its content. PyTorch is not
needed, and nothing in the files is executed.

  stylegan2   a StyleGAN2 of rosinality/stylegan2-pytorch (.pt) or of NVIDIA's, for PyTorch or TensorFlow (.pkl)
  networks    GAN2Shape's or Unsup3d's networks, LPIPS (two files), the parsers BiSeNet and PSPNet, view or light
              statistics (to .npz)

The options of both: gan2shape-jax convert stylegan2 --help, gan2shape-jax convert networks --help"""


def main(argv: Sequence[str]) -> int:
    """Runs the converter for the file given first, or the converter named first; returns its exit status."""
    if argv and argv[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    if not argv or argv[0].startswith("-"):
        print(f"error: name the file to convert first\n\n{_USAGE}", file=sys.stderr)
        return 2
    if argv[0] in _KINDS:
        return _convert(argv[0], argv[1:])
    return exit_code(lambda: _recognised(argv))


def _convert(kind: str, argv: Sequence[str], content: Any = None) -> int:
    main: Callable[..., int] = importlib.import_module(f"gan2shape_jax.apps.convert.{kind}.command").main
    return main(argv, content)


def _recognised(argv: Sequence[str]) -> int:
    """Reads the first file once, and lets the converter go on that knows it, or else one that explains the problem."""
    content = read_checkpoint(argv[0])
    family = recognise(tensor_names(content))
    return _convert("networks" if family is None else family.tool or "stylegan2", argv, content)
