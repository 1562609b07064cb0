"""What a configuration's values have to fulfil, checked before anything is loaded.

Only the values are looked at here; the files that they name are `gan2shape_jax.run.check`'s business.
"""

import math
import re
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.config.tree import flatten
from gan2shape_jax.errors import ConfigError
from gan2shape_jax.inputs.masks import SOURCES
from gan2shape_jax.inputs.parsers import PARSERS
from gan2shape_jax.method.prior import CATEGORIES, SHAPES
from gan2shape_jax.networks.precision import PRECISIONS

__all__ = ["MODES", "PERCEPTUAL", "impossible_paths", "problems", "validate"]

MODES = ("instance", "joint", "predict")
HOSTS = ("auto", "one")
PERCEPTUAL = ("discriminator", "lpips")
NETWORKS = ("none", "small", "full")

_POSITIVE = (
    "camera.fov_deg",
    "camera.min_depth",
    "camera.rot_center_depth",
    "camera.xyz_rotation_range_deg",
    "networks.zdim",
    "networks.encoder_width",
    "gan.style_dim",
    "sampling.view_scale",
    "sampling.collect_iters",
    "sampling.batch_size",
    "prior.near",
    "optimizer.learning_rate",
    "optimizer.eps",
    "inversion.steps",
    "inversion.learning_rate",
    "checkpoint.every_iterations",
    "checkpoint.keep",
    "outputs.turntable_frames",
    "logging.every_iterations",
    "runtime.hosts_timeout_s",
)
_NOT_NEGATIVE = (
    "seed",
    "camera.xy_translation_range",
    "camera.z_translation_range",
    "networks.width",
    "networks.view_light_width",
    "networks.group_base",
    "gan.channel_multiplier",
    "prior.iterations",
    "loss.lam_perc",
    "loss.lam_smooth",
    "loss.lam_regular",
    "optimizer.weight_decay",
    "outputs.picture_size",
    "runtime.images_at_once",
    "runtime.iterations_per_call",
    "schedule.batches_per_iteration",
)


def validate(config: ConfigDict) -> None:
    """Raises `ConfigError` that lists everything `problems` finds."""
    faults = problems(config)
    if faults:
        raise ConfigError("\n".join(faults) if len(faults) > 1 else faults[0])


def problems(config: ConfigDict) -> list[str]:
    """Returns a sentence for each value, or pair of values, that no run can use."""
    values = flatten(config)
    faults = [
        f"config.{path} is {values[path]}: it has to be more than 0" for path in _POSITIVE if not values[path] > 0
    ]
    faults += [f"config.{path} is {values[path]}: it cannot be negative" for path in _NOT_NEGATIVE if values[path] < 0]
    faults += [
        f"config.{path} is {value}: it has to be finite"
        for path, value in values.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    faults += impossible_paths(config)
    for check in (_choices, _sizes, _ranges, _light, _schedule, _groups, _parser):
        faults += check(values)
    return faults


def impossible_paths(config: ConfigDict) -> list[str]:
    """Returns a sentence for each text, most of which are paths, that no file system takes as one."""
    return [
        f"config.{path} is {value[:40]!r}{'...' if len(value) > 40 else ''}: no file can be called so"
        for path, value in flatten(config).items()
        if isinstance(value, str)
        and ("\0" in value or any(len(part.encode("utf-8", "replace")) > 255 for part in re.split(r"[/\\]", value)))
    ]


def _choices(values: dict[str, Any]) -> list[str]:
    faults = []
    choices = {
        "mode": MODES,
        "category": CATEGORIES,
        "loss.perceptual": PERCEPTUAL,
        "data.mask_source": SOURCES,
        "prior.shape": SHAPES,
        "outputs.networks": NETWORKS,
        "runtime.hosts": HOSTS,
        "runtime.precision": PRECISIONS,
    }
    for path, known in choices.items():
        if values[path] not in known:
            faults.append(f"config.{path} is {values[path]!r}: it is one of {', '.join(known)}")
    if not values["workdir"]:
        faults.append("config.workdir is empty: name a folder for the results")
    if values["mode"] == "predict" and not values["networks.pretrained"]:
        faults.append(
            "config.mode is 'predict' but config.networks.pretrained is empty: name the trained "
            "networks, such as the networks.safetensors of a joint run"
        )
    if values["mode"] != "predict" and (values["mode"] == "joint") != values["schedule.joint"]:
        faults.append(
            f"config.mode is {values['mode']!r} but config.schedule.joint is {values['schedule.joint']}: set both alike"
        )
    shared = values["schedule.joint"] and values["schedule.share_weight"]
    if values["schedule.batches_per_iteration"] > 1 and not shared:
        faults.append(
            f"config.schedule.batches_per_iteration is {values['schedule.batches_per_iteration']}: it goes with "
            "config.mode='joint' and config.schedule.share_weight=True; set it to 0 or 1"
        )
    return faults


def _parser(values: dict[str, Any]) -> list[str]:
    if values["data.mask_source"] != "parser":
        return []
    if values["category"] in PARSERS:
        return (
            []
            if values["parsing.weights"]
            else ["config.data.mask_source is 'parser' but config.parsing.weights is empty: name the parser's weights"]
        )
    return [
        f"config.data.mask_source is 'parser', but no parser finds objects of the category {values['category']!r} "
        f"(there are parsers for {', '.join(PARSERS)}): give masks as files or in the images' alpha channel"
    ]


def _sizes(values: dict[str, Any]) -> list[str]:
    faults = []
    for path, low, high in (("image_size", 32, 256), ("gan.size", 8, 1024)):
        size = values[path]
        if not low <= size <= high or size & (size - 1):
            faults.append(f"config.{path} is {size}: it has to be a power of two from {low} to {high}")
    if values["data.crop"] is not None and values["data.crop"] < 1:
        faults.append(f"config.data.crop is {values['data.crop']}: give a side in pixels, or None")
    width, base = values["networks.width"], values["networks.group_base"]
    if width > 0 and base > 0 and width % base:
        faults.append(f"config.networks.width {width} does not divide into config.networks.group_base {base} groups")
    return faults


def _ranges(values: dict[str, Any]) -> list[str]:
    faults = []
    if values["camera.min_depth"] >= values["camera.max_depth"]:
        faults.append("config.camera.min_depth has to be less than config.camera.max_depth")
    if values["prior.near"] >= values["prior.far"]:
        faults.append("config.prior.near has to be less than config.prior.far")
    if not -1 <= values["prior.shift"] <= 1:
        faults.append(f"config.prior.shift is {values['prior.shift']}: it lies from -1 to 1 widths of the object")
    if not values["camera.fov_deg"] < 120:
        faults.append(f"config.camera.fov_deg is {values['camera.fov_deg']}: it has to be less than 120 degrees")
    if not 0 <= values["gan.truncation"] <= 1:
        faults.append(f"config.gan.truncation is {values['gan.truncation']}: it lies from 0 to 1")
    if not 1 <= values["gan.F1_d"] <= 8:
        faults.append(f"config.gan.F1_d is {values['gan.F1_d']}: it lies from 1 to 8")
    for path in ("optimizer.beta1", "optimizer.beta2"):
        if not 0 <= values[path] < 1:
            faults.append(f"config.{path} is {values[path]}: it has to be at least 0 and less than 1")
    return faults


def _light(values: dict[str, Any]) -> list[str]:
    light = values["sampling.rand_light"]
    if len(light) != 7 or not all(_is_number(item) and math.isfinite(item) for item in light):
        return [f"config.sampling.rand_light is {light}: it takes seven numbers"]
    return [
        f"config.sampling.rand_light gives the empty range {light[i : i + 2]} of {name}"
        for i, name in ((0, "x"), (2, "y"), (4, "strength"))
        if light[i] > light[i + 1]
    ]


def _schedule(values: dict[str, Any]) -> list[str]:
    stages = values["schedule.stages"]
    if not stages or not all(_is_stage(stage) for stage in stages):
        return [f"config.schedule.stages is {stages}: it takes triples of iteration counts such as ((600, 600, 400),)"]
    faults = []
    for name in ("flip1", "flip3"):
        flips = values[f"schedule.{name}"]
        if len(flips) < len(stages) or not all(isinstance(flip, bool) for flip in flips):
            faults.append(
                f"config.schedule.{name} is {flips}: it takes True or False for each of the {len(stages)} stages"
            )
    if not faults:
        pairs = zip(
            values["schedule.flip1"],
            values["schedule.flip3"],
            range(1, len(stages) + 1),
            strict=False,
        )
        faults = [
            f"config.schedule.flip1 is on in stage {stage} without flip3: switch both on, or flip1 off"
            for flip1, flip3, stage in pairs
            if flip1 and not flip3
        ]
    return faults


def _groups(values: dict[str, Any]) -> list[str]:
    size = values["runtime.images_at_once"]
    if values["mode"] != "instance" or size <= 1 or values["schedule.reset_weight"]:
        return []
    return [
        f"config.runtime.images_at_once is {size}, but with config.schedule.reset_weight False each image starts "
        "from the one before it: set one of them otherwise"
    ]


def _is_stage(stage: Any) -> bool:
    return isinstance(stage, tuple) and len(stage) == 3 and all(_is_count(n) for n in stage)


def _is_count(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and item >= 0


def _is_number(item: Any) -> bool:
    return isinstance(item, (int, float)) and not isinstance(item, bool)
