"""The requirements on a configuration's values, checked before anything is loaded.

Only the values are checked here; the files that they name, and what the machine can hold, are left to
`gan2shape_jax.run`.
"""

import difflib
import re
import warnings
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.config.field_types import shown, type_problems
from gan2shape_jax.config.option_types import MOST_GIF_PIXELS
from gan2shape_jax.config.ranges import order_problems, range_problems
from gan2shape_jax.config.tree import flatten
from gan2shape_jax.errors import ConfigError
from gan2shape_jax.io.categories import categories, parsers
from gan2shape_jax.io.masks import SOURCES
from gan2shape_jax.method.prior import SHAPES
from gan2shape_jax.networks.precision import AUTO, PRECISIONS
from gan2shape_jax.networks.sizes import default_group_base, default_width

__all__ = ["MODES", "OBJECT_STORAGE", "PERCEPTUAL", "problems", "validate"]

MODES = ("instance", "joint", "predict", "lift")
LIFT_MASKS = ("found", "parser", "usual", "none")
HOSTS = ("auto", "one")
_CATEGORY = re.compile(r"[a-z][a-z0-9_-]{0,39}")
PERCEPTUAL = ("discriminator", "lpips")
NETWORKS = ("none", "small", "full")
PRESETS = ("mesh", "overview", "standard", "all")

# Object storage that may hold checkpoints, with the library that reads and writes it.
OBJECT_STORAGE = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs"}


def validate(config: ConfigDict) -> None:
    """Raises a `ConfigError` that lists everything `problems` finds; warns if a category is almost a known one."""
    faults = problems(config)
    if faults:
        raise ConfigError("\n".join(faults) if len(faults) > 1 else faults[0])
    nearly = difflib.get_close_matches(config.category, categories(), 1, 0.85)
    if nearly and config.category not in categories():
        warnings.warn(
            f"config.category is {config.category!r}, taken as a kind of your own: was {nearly[0]!r} meant?",
            stacklevel=2,
        )


def problems(config: ConfigDict) -> list[str]:
    """Returns a sentence for each value, or pair of values, that no run can use."""
    values = flatten(config)
    faults = type_problems(values)
    if faults:
        return faults  # all other checks expect values of the right type
    faults = range_problems(values)
    for check in (_choices, _folders, _parser):
        faults += check(values)
    if not faults:  # values that are valid on their own may not go together
        for check in (order_problems, _channels, _flips, _images_at_once, _animations):
            faults += check(values)
    return faults


def _choices(values: dict[str, Any]) -> list[str]:
    faults = []
    choices = {
        "mode": MODES,
        "loss.perceptual": PERCEPTUAL,
        "data.mask_source": SOURCES,
        "prior.shape": SHAPES,
        "outputs.networks": NETWORKS,
        "outputs.preset": PRESETS,
        "lift.masks": LIFT_MASKS,
        "runtime.hosts": HOSTS,
        "runtime.precision": (AUTO, *PRECISIONS),
    }
    for path, known in choices.items():
        if values[path] not in known:
            faults.append(f"config.{path} is {shown(values[path])}: it is one of {', '.join(known)}")
    if not _CATEGORY.fullmatch(values["category"]):
        faults.append(
            f"config.category is {shown(values['category'])}: it is one of {', '.join(categories())}, or a word of "
            "your own of lower-case letters, digits, - and _"
        )
    if values["mode"] == "predict" and not values["networks.pretrained"]:
        faults.append(
            "config.mode is 'predict' but config.networks.pretrained is empty: name the trained "
            "networks, such as the networks.safetensors of a joint run"
        )
    own_encoders = values["lift.own_encoder_iterations"] > 0 and values["lift.anchored_stages"] == 0
    if values["mode"] == "lift" and own_encoders and not values["networks.pretrained"]:
        faults.append(
            "config.networks.pretrained is empty, but the stages have encoders of the samples' own "
            "(config.lift.own_encoder_iterations) from the first: name the networks.safetensors of a lift to go on from"
        )
    if values["mode"] == "lift" and values["lift.overshoot"] and not values["networks.pretrained"]:
        faults.append(
            f"config.lift.overshoot is {values['lift.overshoot']}, but config.networks.pretrained is empty: what is "
            "carried on is the change from these networks to the trained ones; name them, or set it to 0"
        )
    if values["mode"] != "predict" and (values["mode"] == "joint") != values["schedule.joint"]:
        faults.append(
            f"config.mode is {values['mode']!r} but config.schedule.joint is {values['schedule.joint']}: set both alike"
        )
    shared = (values["schedule.joint"] or values["mode"] == "lift") and values["schedule.share_weight"]
    if values["schedule.batches_per_iteration"] > 1 and not shared:
        faults.append(
            f"config.schedule.batches_per_iteration is {values['schedule.batches_per_iteration']}: it goes with "
            "config.mode='joint' or 'lift' and config.schedule.share_weight=True; set it to 0 or 1"
        )
    return faults


def _folders(values: dict[str, Any]) -> list[str]:
    faults = [] if values["workdir"] else ["config.workdir is empty: name a folder for the results"]
    scheme, separator, place = values["checkpoint.folder"].partition("://")
    if separator and (scheme not in OBJECT_STORAGE or not place.strip("/")):
        kinds = ", ".join(f"{known}://BUCKET/..." for known in OBJECT_STORAGE)
        faults.append(
            f"config.checkpoint.folder is {shown(values['checkpoint.folder'])}: it is a folder of this machine, or one "
            f"of object storage ({kinds})"
        )
    return faults


def _parser(values: dict[str, Any]) -> list[str]:
    if values["data.mask_source"] == "usual" and not values["lift.usual_mask"]:
        return ["config.data.mask_source is 'usual' but config.lift.usual_mask is empty: name a picture of that mask"]
    if values["data.mask_source"] != "parser":
        return []
    if values["category"] in parsers():
        return (
            []
            if values["parsing.weights"]
            else ["config.data.mask_source is 'parser' but config.parsing.weights is empty: name the parser's weights"]
        )
    return [
        f"config.data.mask_source is 'parser', but no parser finds objects of the category {values['category']!r} "
        f"(there are parsers for {', '.join(parsers())}): give masks as files or in the images' alpha channel"
    ]


def _channels(values: dict[str, Any]) -> list[str]:
    """Checks that the channels of the depth and albedo networks divide evenly into the normalisation groups."""
    size = values["image_size"]
    width = values["networks.width"] or default_width(size)
    base = values["networks.group_base"] or default_group_base(size)
    if width % base == 0:
        return []
    return [
        f"config.networks.width {width} does not divide into config.networks.group_base {base} groups (0 stands for "
        f"{default_width(size)} channels and {default_group_base(size)} groups at {size} pixels)"
    ]


def _flips(values: dict[str, Any]) -> list[str]:
    stages = values["schedule.stages"]
    faults = []
    for name in ("flip1", "flip3"):
        flips = values[f"schedule.{name}"]
        if len(flips) < len(stages) or not all(isinstance(flip, bool) for flip in flips):
            faults.append(
                f"config.schedule.{name} is {shown(flips)}: it takes True or False for each of the {len(stages)} stages"
            )
    if not faults:
        pairs = zip(values["schedule.flip1"], values["schedule.flip3"], range(1, len(stages) + 1), strict=False)
        faults = [
            f"config.schedule.flip1 is on in stage {stage} without flip3: switch both on, or flip1 off"
            for flip1, flip3, stage in pairs
            if flip1 and not flip3
        ]
    return faults


def _animations(values: dict[str, Any]) -> list[str]:
    side = values["outputs.picture_size"] or max(values["image_size"], 192)
    frames = values["outputs.turntable_frames"]
    if not values["outputs.animation"] or frames * side**2 <= MOST_GIF_PIXELS:
        return []
    return [
        f"config.outputs.turntable_frames is {frames} at {side} pixels (config.outputs.picture_size): a GIF of so many "
        f"does not fit in memory; at most {MOST_GIF_PIXELS // side**2} frames, or config.outputs.animation=False"
    ]


def _images_at_once(values: dict[str, Any]) -> list[str]:
    size = values["runtime.images_at_once"]
    if values["mode"] != "instance" or size <= 1 or values["schedule.reset_weight"]:
        return []
    return [
        f"config.runtime.images_at_once is {size}, but with config.schedule.reset_weight False each image starts "
        "from the one before it: set one of them otherwise"
    ]
