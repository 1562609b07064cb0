"""The units that a run divides its images into: groups that are trained together, and single images."""

from __future__ import annotations

from collections.abc import Sequence

from etils import epath
from ml_collections import ConfigDict

from gan2shape_jax.run.checkpoint_folders import hidden_checkpoints
from gan2shape_jax.run.each_image import stem_of
from gan2shape_jax.run.run_folder import RunFolder
from gan2shape_jax.run.same_config import config_hash
from gan2shape_jax.run.survey import Survey
from gan2shape_jax.training import checkpoint_record, group_plan

__all__ = ["of_run"]


def of_run(config: ConfigDict, folder: RunFolder, names: Sequence[str], found: Survey) -> list[list[str]]:
    """Returns the units of a run: groups first, then all other images of the list, including finished ones.

    If the results of an image in a group were damaged, the whole group is trained again, as before: alone, the image
    would differ by rounding.

    Args:
      config: the run's configuration.
      folder: the run's folder.
      names: the names in the image list.
      found: what was found in the results.
    """
    groups = _groups(config, folder, names, found) if config.mode == "instance" else []
    spoken_for = {name for group in groups for name in group}
    return groups + [[name] for name in names if name not in spoken_for]


def _groups(config: ConfigDict, folder: RunFolder, names: Sequence[str], found: Survey) -> list[list[str]]:
    """Returns the list's groups that are under way, or are done but have lost results; no two share an image."""
    lost = {name for name in names if stem_of(name) not in found.finished} - found.broken
    again = [list(group) for group in found.together if set(group) & lost]
    groups: list[list[str]] = []
    taken: set[str] = set()
    for group in group_plan.begun(folder.root, names) + _told_by_checkpoints(config, folder) + again:
        if set(group) <= set(names) and not set(group) & taken:
            groups.append(group)
            taken |= set(group)
    return groups


def _told_by_checkpoints(config: ConfigDict, folder: RunFolder) -> list[list[str]]:
    """Returns the groups recorded in checkpoints, in case their notes were lost."""
    root, this = epath.Path(folder.checkpoint_root), config_hash(config)
    told = [
        checkpoint_record.peek(path)
        for path in (sorted(root.glob(hidden_checkpoints("group-*"))) if root.is_dir() else ())
    ]
    return [[str(name) for name in one.get("images", ())] for one in told if one.get("configuration") == this]
