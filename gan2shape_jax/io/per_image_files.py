"""What belongs to the images of a list: their latents, ground-truth depths and masks; which of these are missing.

A list that names more images than a folder has files for is reported once, before anything starts.
"""

import functools
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence

from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.data import find, find_depth, find_latent
from gan2shape_jax.io.image_files import has_alpha

__all__ = ["absent_per_image_files", "require_per_image_files", "some_of"]

_NAMED = 20  # files that one message lists
_KINDS = {"latent_root": "latent", "depth_root": "true depth", "mask_root": "object mask"}
_REMEDIES = {
    "latent_root": "--config.data.latent_root= finds them all by inverting the GAN",
    "depth_root": "add them, take the images off the list, or --config.data.depth_root= to go without evaluation",
    "mask_root": "add them, or take the images off the list",
}


def absent_per_image_files(config: ConfigDict, names: Sequence[str]) -> dict[str, list[str]]:
    """Returns the list's images without a latent, ground-truth depth or mask, by the folder's field in `config.data`.

    Folders that are not given or do not exist are left out, and so are masks that may come from elsewhere.
    """
    finders: dict[str, Callable[[str, str], object]] = {
        "latent_root": find_latent,
        "depth_root": find_depth,
        "mask_root": functools.partial(_find_mask, config),
    }
    roots = {field: config.data[field] for field in finders}
    return {
        field: [name for name in names if not finders[field](root, name)]
        for field, root in roots.items()
        if root and os.path.isdir(root)
    }


def require_per_image_files(config: ConfigDict, names: Sequence[str]) -> None:
    """Rejects images without ground-truth depth or mask; warns of those without a latent.

    The latents of some images may be found by inverting the GAN; if there are none at all, the folder is wrong.

    Raises:
        UserError: one line per folder, saying how many of its files are missing, and which.
    """
    problems = []
    for field, absent in absent_per_image_files(config, names).items():
        if not absent:
            continue
        told = (
            f"{len(absent)} of the {len(names)} images of {config.data.image_list} have no {_KINDS[field]} in "
            f"config.data.{field} {config.data[field]}: {some_of(absent)}"
        )
        if field == "latent_root" and len(absent) < len(names):
            warnings.warn(f"{told}; these are found by inverting the GAN", stacklevel=2)
        else:
            problems.append(f"{told} ({_REMEDIES[field]})")
    if problems:
        raise UserError("\n".join(problems))


def some_of(names: Sequence[str]) -> str:
    """Returns the first of the names as text, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _find_mask(config: ConfigDict, root: str, name: str) -> bool:
    """Whether the image has a mask file, or its mask may come from elsewhere (see `masks.find_mask`)."""
    source = config.data.mask_source
    if source in ("alpha", "parser", "usual") or find(root, name, (".png",)):
        return True
    elsewhere = (category_of(config.category).parser and os.path.isfile(config.parsing.weights)) or has_alpha(
        pathlib.Path(config.data.image_root) / name
    )
    return source == "auto" and elsewhere
