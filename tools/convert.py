"""`gan2shape-jax convert KIND IN OUT`: weights of other programs as the files that this one reads."""

import importlib
import sys
from collections.abc import Sequence

__all__ = ["main"]

_MODULES = {"stylegan2": "convert_stylegan2", "networks": "convert_networks"}
_USAGE = """\
usage: gan2shape-jax convert stylegan2 IN OUT.safetensors ...
       gan2shape-jax convert networks IN [IN] OUT.safetensors ...

Converts weights of PyTorch to the files that this program reads. PyTorch is not needed, and nothing in the files is
executed.

  stylegan2   a StyleGAN2 of rosinality/stylegan2-pytorch (.pt) or of NVIDIA's PyTorch repositories (.pkl)
  networks    GAN2Shape's or Unsup3d's networks, LPIPS, the parsers BiSeNet and PSPNet, view or light statistics

Each has a help of its own: gan2shape-jax convert stylegan2 --help"""


def main(argv: Sequence[str]) -> int:
    """Runs the converter that the first argument names; returns the exit status."""
    kind, *rest = argv or [""]
    if kind in ("-h", "--help"):
        print(_USAGE)
        return 0
    if kind not in _MODULES:
        told = f"{kind!r} is neither stylegan2 nor networks" if kind else "say what to convert: stylegan2 or networks"
        print(f"error: {told}\n\n{_USAGE}", file=sys.stderr)
        return 2
    return importlib.import_module(f".{_MODULES[kind]}.__main__", __package__).main(rest)
