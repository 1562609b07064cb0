"""3D shape from a single photo with only a 2D GAN: GAN2Shape (Pan et al., ICLR 2021) in JAX.

    import gan2shape_jax as g2s

    gan = g2s.load_gan("gan.safetensors")
    result = g2s.reconstruct(image, gan, mask=mask)
    result.render(yaw=30)

Importing this changes nothing in the process and loads neither JAX nor the networks: names are imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan2shape_jax.config import load_config
    from gan2shape_jax.errors import UserError
    from gan2shape_jax.geometry.camera import Camera
    from gan2shape_jax.geometry.mesh_rasterizer import interpolate, rasterize
    from gan2shape_jax.geometry.render import warp_depth
    from gan2shape_jax.geometry.resample import grid_sample
    from gan2shape_jax.interface import Gan, Model, Progress, load_gan, load_model, reconstruct
    from gan2shape_jax.method.metrics import depth_errors
    from gan2shape_jax.results.reconstruction import Reconstruction, load

__all__ = [
    "Camera",
    "Gan",
    "Model",
    "Progress",
    "Reconstruction",
    "UserError",
    "depth_errors",
    "grid_sample",
    "interpolate",
    "load",
    "load_config",
    "load_gan",
    "load_model",
    "rasterize",
    "reconstruct",
    "warp_depth",
]
__version__ = "0.1.0"

_MODULES = {
    "Camera": "geometry.camera",
    "Gan": "interface",
    "Model": "interface",
    "Progress": "interface",
    "Reconstruction": "results.reconstruction",
    "UserError": "errors",
    "depth_errors": "method.metrics",
    "grid_sample": "geometry.resample",
    "interpolate": "geometry.mesh_rasterizer",
    "load": "results.reconstruction",
    "load_config": "config",
    "load_gan": "interface",
    "load_model": "interface",
    "rasterize": "geometry.mesh_rasterizer",
    "reconstruct": "interface",
    "warp_depth": "geometry.render",
}


def __getattr__(name: str) -> Any:
    """Imports a public name's module on first use of the name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
