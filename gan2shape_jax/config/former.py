"""Names that fields, values and variants had in earlier versions, so that their runs and their users' files go on.

`config.json` of a run and a user's own configuration are read through `modernised`; what is named on a command line is
refused with the new name (`instead_of`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

from gan2shape_jax.io import bundled

# The field's present name, by its former one.
_RENAMED = {
    "lift.pictures": "detail.pictures",
    "lift.kept_out": "lift.held_out",
    "lift.usual_mask": "lift.mean_mask",
    "refinement.lengths": "refinement.stages",
    "refinement.kept_out": "refinement.held_out",
    "refinement.hold_shape": "refinement.freeze_geometry",
    "schedule.independent": "schedule.distinct_images",
    "schedule.share_weight": "schedule.average_gradients",
}
# Configurations and models that had other names until 0.1, by those; they go with the next version.
_CONFIGS = bundled.FORMER | {f"{name}_pretrain": f"{name}:published_joint" for name in ("cat", "celeba", "synface")}
# A field's present value, by its former one.
_VALUES = {
    "category": bundled.FORMER,
    "data.mask_source": {"usual": "mean"},
    "lift.masks": {"usual": "mean", "found": "grabcut"},
}
# Fields that are gone, and what to do instead.
_GONE = {
    "mode": "config.recipe says what a run does ('instance' is 'train' or 'refine')",
    "schedule.joint": "config.recipe='joint' says it",
    "lift.anchored_stages": "config.recipe='lift' anchors every stage, 'finetune' none",
}
# The recipe, by what the plan of an earlier version's `config.json` calls the kind of run.
_KINDS = {"train": "train", "refine": "refine", "predict": "predict", "joint": "joint", "lift": "lift"}


def config(spec: str) -> str:
    """Returns what `spec`, `NAME[:VARIANT]` or `configs/NAME.py[:VARIANT]`, is called today; told if that is new."""
    name, colon, variant = spec.partition(":")
    stem = name.removeprefix("configs/").removesuffix(".py")
    if stem not in _CONFIGS or os.path.isfile(name):
        return spec
    warnings.warn(f"the configuration {stem} is called {_CONFIGS[stem]} today", stacklevel=3)
    return f"{_CONFIGS[stem]}{colon}{variant}"


def instead_of(path: str) -> str:
    """Returns what takes the place of a former field, as a clause; '' for a path that never was another's name."""
    return f"it is config.{_RENAMED[path]}" if path in _RENAMED else _GONE.get(path, "")


def modernised(values: Mapping[str, Any], *, kind: str = "") -> dict[str, Any]:
    """Returns the fields of an earlier version, by path, under today's names and with today's values.

    `kind` is what its `config.json` calls the kind of run, where it says so. Fields of today are left as they are.
    """
    now = {_RENAMED.get(path, path): value for path, value in values.items() if path not in _GONE}
    now |= {path: words.get(now[path], now[path]) for path, words in _VALUES.items() if path in now}
    if "mode" in values:
        now["recipe"] = _recipe_of(values, kind)
        if not now.get("detail.pictures", 1):  # 0 meant a lift
            del now["detail.pictures"]
        if now["recipe"] == "refine":  # what the model knew of its GAN decided, and left its mark in other fields
            encodes = values.get("refinement.new_encoder", True) or any(row[1] for row in values["schedule.stages"])
            now["refinement.samples"] = "projected" if encodes else "turned"
    return now


def _recipe_of(values: Mapping[str, Any], kind: str) -> str:
    """Returns the recipe of a run of an earlier version, in which several fields said together what it did."""
    mode, pretrained = values["mode"], values.get("networks.pretrained")
    if mode == "instance":
        # Where no plan was kept, a file's content decided; models are called so by the program that writes them.
        return _KINDS.get(kind) or ("refine" if str(pretrained).endswith("model.safetensors") else "train")
    if mode == "lift" and values.get("lift.pictures"):
        return "train_detail"
    return "finetune" if mode == "lift" and values.get("lift.anchored_stages") == 0 else str(mode)
