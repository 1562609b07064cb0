"""Reads ground-truth depths, latents and statistics from `.npy`, `.npz`, `.png` and torch files.

Depths are `(S, S)` in scene units, latents `(1, W)` or `(1, L, W)`, statistics in network units.
Nothing in a file is ever executed. Any problem with a file is a `UserError` that names it.
"""

import io
import pathlib
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import MIB, open_regular
from gan2shape_jax.io.image_files import crop_and_resize, open_gray
from gan2shape_jax.io.weights.checkpoints import read_checkpoint

__all__ = ["load_depth", "load_latent", "load_mvn"]

_MOST_LAYERS = 64  # of a W+ latent: a GAN of 1024 pixels has 18
_LARGEST_ARCHIVE, _LARGEST_MEMBER = MIB, MIB // 16  # bytes of an .npz file and an array in it: a covariance takes 500
_LARGEST_TORCH = 64 * MIB  # bytes: published latents take 10 KiB, with their pictures a few MiB
# Far beyond what a GAN's mapping gives or views and lights can be; networks overflow not far above it.
_GREATEST = 1e6


def load_depth(
    path: pathlib.Path, size: int, crop: int | None, min_depth: float, max_depth: float
) -> Float[np.ndarray, "s s"]:
    """Returns a ground-truth depth (size, size) in scene units, with the background at `max_depth`.

    `.npy` holds scene units with 0 as background; `.png` holds nearness, white at `min_depth` and
    black at `max_depth`.

    Raises:
        UserError: the file is unusable, or is all background, so that nothing can be measured.
    """
    if path.suffix == ".png":
        nearness = np.asarray(crop_and_resize(open_gray(path, cut=crop is not None), crop, size), np.float32) / 255
        return _with_object(max_depth - nearness * (max_depth - min_depth), path, max_depth)

    values = _present(path, _read_npy)
    if values.shape != (size, size):
        raise UserError(f"true depth {path} has shape {values.shape}: ({size}, {size}) is needed")
    depth = _finite(values, path)
    return _with_object(np.where((depth <= 0) | (depth > max_depth), np.float32(max_depth), depth), path, max_depth)


def load_latent(path: str | pathlib.Path, style_dim: int) -> Float[np.ndarray, "..."]:
    """Returns the latent in a file as (1, W) for W latents or (1, L, W) for W+ latents.

    Args:
        path: a torch file with a tensor, or a dictionary with the entry `latent`; or a `.npy` file.
        style_dim: the width W that the generator expects.

    Raises:
        UserError: the file is unusable, would run code, or holds a latent of another width.
    """
    path = pathlib.Path(path)
    content = _present(path, _read_npy) if path.suffix == ".npy" else _load_torch(path)
    if isinstance(content, dict):
        if "latent" not in content:
            raise UserError(f"latent file {path} is a dictionary without the entry 'latent' (it has {_keys(content)})")
        content = content["latent"]
    if isinstance(content, np.ndarray):  # before a mapped file is read
        _require_latent(content.shape, path, style_dim)
    latent = _finite(content, path, greatest=_GREATEST)
    _require_latent(latent.shape, path, style_dim)
    return latent[None] if latent.ndim == 1 else latent


def _require_latent(shape: tuple[int, ...], path: pathlib.Path, style_dim: int) -> None:
    *front, width = shape or (0,)
    one = front in ([], [1]) or (len(front) == 2 and front[0] == 1 and 1 <= front[1] <= _MOST_LAYERS)
    if not one or width != style_dim:
        raise UserError(
            f"latent file {path} has shape {shape}: the generator's width is {style_dim}, so ({style_dim},), "
            f"(1, {style_dim}) or (1, layers, {style_dim}) is needed"
        )


def load_mvn(path: str | pathlib.Path, dims: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean (N,) and covariance (N, N) of a normal distribution, in network units.

    Args:
        path: a torch file with a dictionary of `mean` and `cov`, or an `.npz` file with these two.
        dims: the expected N, 6 for views and 4 for lights; None accepts either.

    Raises:
        UserError: the file is unusable, or the covariance is not a symmetric positive semi-definite
            matrix.
    """
    path = pathlib.Path(path)
    content = _present(path, _read_npz) if path.suffix == ".npz" else _load_torch(path)
    if not isinstance(content, dict) or not {"mean", "cov"} <= content.keys():
        raise UserError(f"statistics file {path} has to hold 'mean' and 'cov'")
    mean, cov = (_finite(content[name], path, greatest=_GREATEST) for name in ("mean", "cov"))
    lengths = (4, 6) if dims is None else (dims,)
    if mean.ndim != 1 or mean.size not in lengths or cov.shape != (mean.size, mean.size):
        raise UserError(
            f"statistics file {path} has a mean of shape {mean.shape} and a covariance of "
            f"{cov.shape}: a mean of "
            f"length {' or '.join(map(str, lengths))} and its square covariance are needed"
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


def _read_npy(path: pathlib.Path) -> np.ndarray:
    """Returns the array in a file, mapped: what a header announces has to be there, and nothing is allocated for it."""
    open_regular(path).close()
    try:
        with np.errstate(over="ignore"):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OverflowError, MemoryError) as error:
        raise UserError(f"{path} is no usable .npy file: {error}"[:500]) from error
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path} is no usable .npy file: it is an archive (.npz) under another name")
    return array


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the statistics in an archive; those it lacks are left out."""
    found = {}
    try:
        with open_regular(path, limit=_LARGEST_ARCHIVE) as file, zipfile.ZipFile(file) as archive:
            for name in {"mean.npy", "cov.npy"} & set(archive.namelist()):
                if archive.getinfo(name).file_size > _LARGEST_MEMBER:
                    raise ValueError(f"{name} is larger than any mean and covariance")
                found[name[:-4]] = np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
    # Also what zipfile raises, with RuntimeError and NotImplementedError for encrypted and unusual archives.
    except (ValueError, EOFError, RuntimeError, OverflowError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is no usable .npz file: {error}"[:500]) from error
    return found


def _load_torch(path: pathlib.Path) -> Any:

    _present(path, open_regular, limit=_LARGEST_TORCH).close()
    return read_checkpoint(path)


def _present(path: pathlib.Path, read: Callable[..., Any], *wanted: Any, **options: Any) -> Any:
    """Returns what `read` makes of the file; a missing or unreadable file is a `UserError` too."""
    try:
        return read(path, *wanted, **options)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _finite(content: Any, path: pathlib.Path, *, greatest: float | None = None) -> np.ndarray:
    """Returns numbers as float32; raises `UserError` for anything else, and for magnitudes above `greatest`."""
    try:
        array = np.asarray(content)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # lists of unequal lengths, and worse
        raise UserError(f"{path} holds no array of numbers: {error}") from error
    if array.dtype.kind not in "fiu":
        raise UserError(f"{path} holds {array.dtype} instead of numbers")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"{path} holds numbers that are not finite (NaN, infinity, or too large for 32 bits)")
    if greatest is not None and array.size and np.abs(array).max() > greatest:
        raise UserError(f"{path} holds {np.abs(array).max():.1e}: numbers up to {greatest:g} are sensible here")
    return array


def _keys(content: dict[Any, Any]) -> str:
    return ", ".join(str(key) for key in list(content)[:5]) or "none"
