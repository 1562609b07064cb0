"""3D shape from a single photo with only a 2D GAN: GAN2Shape (Pan et al., ICLR 2021) in JAX.

    import gan2shape_jax as g2s

    result = g2s.photo("cat.jpg", model="cat")
    result.render(yaw=30)

Importing this changes nothing in the process and loads neither JAX nor the networks: names are imported on first use.
"""

import importlib
import importlib.metadata
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan2shape_jax.config import load_config
    from gan2shape_jax.errors import UserError
    from gan2shape_jax.geometry.camera import Camera
    from gan2shape_jax.geometry.mesh_rasterizer import antialias, interpolate, rasterize
    from gan2shape_jax.geometry.render import warp_depth
    from gan2shape_jax.geometry.resample import grid_sample
    from gan2shape_jax.geometry.texture import texture
    from gan2shape_jax.interface import Gan, Model, Progress, load_gan, load_model, photo, reconstruct
    from gan2shape_jax.method.metrics import depth_errors
    from gan2shape_jax.results.reconstruction import Reconstruction, load

__all__ = ["Camera", "Gan", "Model", "Progress", "Reconstruction", "UserError", "antialias", "depth_errors"]
__all__ += ["grid_sample", "interpolate", "load", "load_config", "load_gan", "load_model", "photo", "rasterize"]
__all__ += ["reconstruct", "texture", "warp_depth"]
__version__ = "0.1.0"

_WRONG_JAXLIB = "0.10.2"  # as in setup.cfg; test_camera.py finds such versions


def _warn_of_jaxlib() -> None:
    """Warns of a compiler that sums wrongly; pip does not install it, but whoever forces it in gets no error."""
    try:
        version = importlib.metadata.version("jaxlib")  # without loading it
    except importlib.metadata.PackageNotFoundError:
        return
    if version == _WRONG_JAXLIB:
        text = (
            f"jaxlib {version} adds wrongly on CPUs (sums of products, by up to 13), so results would be "
            "wrong: install another with pip install -U 'jax!=0.10.2' 'jaxlib!=0.10.2'"
        )
        warnings.warn(text, stacklevel=3)


_warn_of_jaxlib()
_MODULES = {
    name: module
    for module, names in {
        "config": ["load_config"],
        "errors": ["UserError"],
        "geometry.camera": ["Camera"],
        "geometry.mesh_rasterizer": ["antialias", "interpolate", "rasterize"],
        "geometry.render": ["warp_depth"],
        "geometry.resample": ["grid_sample"],
        "geometry.texture": ["texture"],
        "interface": ["Gan", "Model", "Progress", "load_gan", "load_model", "photo", "reconstruct"],
        "method.metrics": ["depth_errors"],
        "results.reconstruction": ["Reconstruction", "load"],
    }.items()
    for name in names
}


def silence_xla() -> None:
    """Has XLA log no errors, unless the user has chosen what it logs; JAX must not have been imported.

    For every kept program that it reads, it would log as errors which features of the processor that program leaves
    out. What ends a program is an exception.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def __getattr__(name: str) -> Any:
    """Imports a public name's module on first use of the name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if "jax" not in sys.modules:  # else XLA has its level already, by JAX or by the user
        silence_xla()
    if name in ("load", "load_model", "photo", "reconstruct"):  # these end in pictures and meshes: told before any work
        importlib.import_module(f"{__name__}.errors").require_applications()
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
