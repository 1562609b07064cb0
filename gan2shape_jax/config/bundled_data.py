"""Keeps the latents, masks and true depths of bundled images away from the user's own images.

These files are found by the image's name alone. Without this rule a photo saved as `001.png` would be given the
latent, the mask and the true depth of the bundled face 001.
"""

import os
import pathlib
import warnings
from collections.abc import Collection

from ml_collections import ConfigDict

from gan2shape_jax.io.bundled import asset

__all__ = ["ROOTS", "drop_foreign_roots"]

# What belongs to the images of `config.data.image_root`, and what a run does if the folder is not given.
ROOTS = {
    "latent_root": "latents are found by inverting the GAN",
    "mask_root": "masks come from the images' alpha channel or the parser",
    "depth_root": "nothing is evaluated",
}


def drop_foreign_roots(
    config: ConfigDict, *, given: Collection[str] = (), bundled: Collection[ConfigDict] = ()
) -> None:
    """Empties the fields of `ROOTS` that belong to bundled images if `config.data.image_root` is another folder.

    A single warning names what was dropped.

    Args:
        config: unlocked; changed in place.
        given: fields that the user set explicitly, such as `data.mask_root`; they stay as they are.
        bundled: configurations whose folders belong to their own images, in addition to the package's files.
    """
    dropped = [
        root
        for root in ROOTS
        if f"data.{root}" not in given and config.data[root] and _is_foreign(config, root, bundled)
    ]
    if not dropped:
        return
    listed = ", ".join(f"config.data.{root} {config.data[root]}" for root in dropped)
    instead = "; ".join(ROOTS[root] for root in dropped)
    warnings.warn(
        f"dropped {listed}: {'it belongs' if len(dropped) == 1 else 'they belong'} to other images than those of "
        f"config.data.image_root {config.data.image_root} ({instead}; name a folder to set it)",
        stacklevel=2,
    )
    for root in dropped:
        config.data[root] = ""


def _is_foreign(config: ConfigDict, root: str, bundled: Collection[ConfigDict]) -> bool:
    """Whether a folder belongs to bundled images that are not those of `config.data.image_root`."""
    data_set = _bundled_set(config.data[root])
    if data_set is not None:
        return data_set != _bundled_set(config.data.image_root)
    owners = [other.data.image_root for other in bundled if other.data[root] == config.data[root]]
    image_root = _resolved(config.data.image_root)
    return bool(owners) and image_root not in [_resolved(owner) for owner in owners]


def _bundled_set(path: str) -> str | None:
    """Returns the bundled data set that contains a path, such as `ictface`; None for a path outside the package."""
    resolved, assets = _resolved(path), _resolved(asset(""))
    if not path or not resolved.is_relative_to(assets) or resolved == assets:
        return None
    return resolved.relative_to(assets).parts[0]


def _resolved(path: str) -> pathlib.Path:
    return pathlib.Path(os.path.realpath(path))  # unlike `Path.resolve`, copes with circular links
