"""Reading true depths, latents and statistics from `.npy`, `.npz`, `.png` and torch files.

Depths are `(S, S)` in scene units, latents `(1, W)` or `(1, L, W)`, statistics in network units.
Nothing in a file is ever executed. Whatever is wrong with a file is a `UserError` that names it.
"""

import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

from gan2shape_jax.errors import UserError
from gan2shape_jax.inputs.image_files import crop_and_resize, open_gray

__all__ = ["load_depth", "load_latent", "load_mvn"]


def load_depth(
    path: pathlib.Path, size: int, crop: int | None, min_depth: float, max_depth: float
) -> Float[np.ndarray, "s s"]:
    """Returns a true depth (size, size) in scene units, its background at `max_depth`.

    `.npy` holds scene units with 0 as background; `.png` holds nearness, white at `min_depth` and
    black at `max_depth`.

    Raises:
        UserError: the file is unusable, or all of it is background, against which nothing can be measured.
    """
    if path.suffix == ".png":
        nearness = np.asarray(crop_and_resize(open_gray(path, cut=crop is not None), crop, size), np.float32) / 255
        return _with_object(max_depth - nearness * (max_depth - min_depth), path, max_depth)
    depth = _load_npy(path)
    if depth.shape != (size, size):
        raise UserError(f"true depth {path} has shape {depth.shape}: ({size}, {size}) is wanted")
    depth = _finite(depth, path)
    return _with_object(np.where((depth <= 0) | (depth > max_depth), np.float32(max_depth), depth), path, max_depth)


def load_latent(path: str | pathlib.Path, style_dim: int) -> Float[np.ndarray, "..."]:
    """Returns the latent of a file as (1, W) for W latents or (1, L, W) for W+ latents.

    Args:
        path: a torch file with a tensor, or a dictionary with the entry `latent`; or a `.npy` file.
        style_dim: the width W that the generator wants.

    Raises:
        UserError: the file is unusable, would run code, or holds a latent of another width.
    """
    path = pathlib.Path(path)
    content = _load_npy(path) if path.suffix == ".npy" else _load_torch(path)
    if isinstance(content, dict):
        if "latent" not in content:
            raise UserError(f"latent file {path} is a dictionary without the entry 'latent' (it has {_keys(content)})")
        content = content["latent"]
    latent = _finite(content, path)
    if latent.ndim == 1:
        latent = latent[None]
    if latent.ndim not in (2, 3) or latent.shape[0] != 1 or latent.shape[-1] != style_dim:
        raise UserError(
            f"latent file {path} has shape {np.shape(content)}: the generator's width is "
            f"{style_dim}, so ({style_dim},), "
            f"(1, {style_dim}) or (1, layers, {style_dim}) is wanted"
        )
    return latent


def load_mvn(path: str | pathlib.Path, dims: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean (N,) and covariance (N, N) of a normal distribution, in network units.

    Args:
        path: a torch file with a dictionary of `mean` and `cov`, or an `.npz` file with these two.
        dims: the N that is wanted, 6 for views and 4 for lights; None accepts either.

    Raises:
        UserError: the file is unusable, or the covariance is no symmetric positive semi-definite
            matrix.
    """
    path = pathlib.Path(path)
    content = _load_npy(path) if path.suffix == ".npz" else _load_torch(path)
    if not isinstance(content, dict) or not {"mean", "cov"} <= content.keys():
        raise UserError(f"statistics file {path} has to hold 'mean' and 'cov'")
    mean, cov = _finite(content["mean"], path), _finite(content["cov"], path)
    lengths = (4, 6) if dims is None else (dims,)
    if mean.ndim != 1 or mean.size not in lengths or cov.shape != (mean.size, mean.size):
        raise UserError(
            f"statistics file {path} has a mean of shape {mean.shape} and a covariance of "
            f"{cov.shape}: a mean of "
            f"length {' or '.join(map(str, lengths))} and its square covariance are wanted"
        )
    if not np.allclose(cov, cov.T, atol=1e-6) or np.linalg.eigvalsh((cov + cov.T) / 2).min() < -1e-6:
        raise UserError(f"statistics file {path}: its covariance is not symmetric and positive semi-definite")
    return mean, cov


def _with_object(depth: np.ndarray, path: pathlib.Path, max_depth: float) -> np.ndarray:
    if not (depth < np.float32(max_depth)).any():
        raise UserError(
            f"true depth {path} shows no object: all of it is background, 0 or from {max_depth:g} on "
            "(config.camera.max_depth)"
        )
    return depth


def _load_torch(path: pathlib.Path) -> Any:
    from gan2shape_jax.weight_files.torch_reader import read_torch  # only where there are such files

    if not path.is_file():
        raise UserError(f"{path} does not exist")
    return read_torch(path)


def _load_npy(path: pathlib.Path) -> Any:
    """Reads .npy as an array, .npz as a dictionary; refuses pickles, as they could run code."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {key: loaded[key] for key in loaded.files}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except Exception as error:  # numpy lets through whatever zip and header parsing raise
        raise UserError(f"{path} is no usable {path.suffix} file: {error}") from error


def _finite(content: Any, path: pathlib.Path) -> np.ndarray:
    array = np.asarray(content)
    if array.dtype.kind not in "fiu":
        raise UserError(f"{path} holds {array.dtype} instead of numbers")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"{path} holds numbers that are not finite (NaN or infinity)")
    return array


def _keys(content: dict[Any, Any]) -> str:
    return ", ".join(str(key) for key in list(content)[:5]) or "none"
