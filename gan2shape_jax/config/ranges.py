"""The range of every number in a configuration: what a run can use, up to well beyond what anyone has wanted.

What a machine can hold is checked separately, by `gan2shape_jax.run.machine`.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gan2shape_jax.config.field_types import shown
from gan2shape_jax.config.option_types import MOST_FRAMES, MOST_PIXELS, MOST_SEED

__all__ = [
    "FLOATS",
    "WHOLE",
    "Range",
    "in_range",
    "order_problems",
    "range_problems",
]

_MOST_ITERATIONS = 10**7
_LEAST = 1e-30  # well above float32's smallest normal number, below which hardware may flush it to 0
_LENGTH = 1e6  # scene units


class Range(NamedTuple):
    """The minimum and maximum value of a number."""

    low: float
    high: float


WHOLE = {
    "seed": Range(0, MOST_SEED),
    "image_size": Range(32, 256),
    "data.crop": Range(1, 65536),
    "networks.width": Range(0, 1024),
    "networks.view_light_width": Range(0, 1024),
    "networks.group_base": Range(0, 1024),
    "networks.zdim": Range(1, 16384),
    "networks.encoder_width": Range(1, 1024),
    "gan.size": Range(8, 1024),
    "gan.channel_multiplier": Range(0, 64),
    "gan.style_dim": Range(1, 16384),
    "gan.F1_d": Range(1, 8),
    "sampling.collect_iters": Range(1, 10**6),
    "sampling.batch_size": Range(1, 4096),
    "prior.iterations": Range(0, _MOST_ITERATIONS),
    "inversion.steps": Range(1, _MOST_ITERATIONS),
    "schedule.batches_per_iteration": Range(0, 65536),
    "lift.samples": Range(2, 10**6),
    "lift.batches": Range(1, 10**5),
    "lift.kept_out": Range(1, 10**5),
    "lift.cropped_from": Range(16, 4096),
    "lift.measured": Range(2, 10**5),
    "lift.inversion_iterations": Range(0, 10**7),
    "lift.inversion_samples": Range(1, 10**4),
    "lift.anchored_stages": Range(0, 1000),
    "lift.own_encoder_iterations": Range(0, 10**6),
    "lift.latent_iterations": Range(0, 10**4),
    "lift.warmup_iterations": Range(0, 10**6),
    "refinement.collect_iters": Range(1, 10**6),
    "refinement.batch_size": Range(1, 4096),
    "refinement.kept_out": Range(0, 1000),
    "checkpoint.every_iterations": Range(1, 10**9),
    "checkpoint.keep": Range(1, 10**6),
    "outputs.turntable_frames": Range(1, MOST_FRAMES),
    "outputs.picture_size": Range(0, MOST_PIXELS),
    "logging.every_iterations": Range(1, 10**9),
    "runtime.images_at_once": Range(0, 65536),
    "runtime.iterations_per_call": Range(0, 10**6),
    "runtime.hosts_timeout_s": Range(1, 10**6),
}
FLOATS = {
    "camera.fov_deg": Range(0.001, 119.999),
    "camera.min_depth": Range(1e-6, _LENGTH),
    "camera.max_depth": Range(1e-6, _LENGTH),
    "camera.rot_center_depth": Range(1e-6, _LENGTH),
    "camera.xyz_rotation_range_deg": Range(1e-6, 360),
    "camera.xy_translation_range": Range(0, _LENGTH),
    "camera.z_translation_range": Range(0, _LENGTH),
    "gan.truncation": Range(0, 1),
    "sampling.view_scale": Range(1e-6, 1000),
    "prior.shift": Range(-1, 1),
    "prior.near": Range(1e-6, _LENGTH),
    "prior.far": Range(1e-6, _LENGTH),
    "loss.lam_perc": Range(0, 1e6),
    "loss.lam_smooth": Range(0, 1e6),
    "loss.lam_regular": Range(0, 1e6),
    "optimizer.learning_rate": Range(_LEAST, 1000),
    "optimizer.weight_decay": Range(0, 1e6),
    "optimizer.beta1": Range(0, 0.9999999),
    "optimizer.beta2": Range(0, 0.9999999),
    "optimizer.eps": Range(_LEAST, 1000),
    "inversion.learning_rate": Range(_LEAST, 1000),
    "lift.truncation": Range(0.01, 1),
    "lift.first_learning_rate": Range(1e-9, 1),
    "lift.encoder_learning_rate": Range(1e-9, 1),
    "lift.latent_learning_rate": Range(_LEAST, 1000),
    "lift.anchor_view": Range(0, 1e6),
    "lift.anchor_light": Range(0, 1e6),
    "lift.average": Range(0, 0.99999),
    "lift.overshoot": Range(0, 4),
    "refinement.learning_rate": Range(_LEAST, 1000),
    "refinement.hold_shape": Range(0, 1e6),
    "refinement.gain": Range(0.01, 1),
}
_STAGES = Range(1, 1000)
_STAGE_LISTS = ("schedule.stages", "refinement.lengths")
_LIGHT = 1000.0  # the largest number allowed in `sampling.rand_light`
_POWERS_OF_TWO = ("image_size", "gan.size")


def range_problems(values: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each number outside its range; the values must have the types of their fields."""
    faults = [fault for path, allowed in (WHOLE | FLOATS).items() if (fault := _fault(path, values[path], allowed))]
    return faults + _light(values["sampling.rand_light"]) + _all_stages(values)


def in_range(path: str, value: float | None) -> bool:
    """Whether a field's number is in its range; None stands for a field that is not set."""
    return not _fault(path, value, (WHOLE | FLOATS)[path])


def _fault(path: str, value: float | None, allowed: Range) -> str:
    if value is None or (allowed.low <= value <= allowed.high and not _breaks_power(path, value)):
        return ""
    return f"config.{path} is {shown(value)}: {_rule(path, value, allowed)}"


def _breaks_power(path: str, value: float) -> bool:
    return path in _POWERS_OF_TWO and bool(int(value) & (int(value) - 1))


def _rule(path: str, value: float, allowed: Range) -> str:
    low, high = (_written(bound) for bound in allowed)
    if path in _POWERS_OF_TWO:
        return f"it has to be a power of two from {low} to {high}"
    if isinstance(value, float) and not math.isfinite(value):
        return "it has to be finite"
    if value < 0 and allowed.low == 0:
        return "it cannot be negative"
    if value <= 0 < allowed.low:
        return "it has to be more than 0"
    return f"it lies from {low} to {high}"


def _written(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:.7g}"


def _light(light: tuple[Any, ...]) -> list[str]:
    fits = len(light) == 7 and all(
        isinstance(item, (int, float)) and not isinstance(item, bool) and abs(item) <= _LIGHT for item in light
    )
    if not fits:
        return [f"config.sampling.rand_light is {shown(light)}: it takes seven numbers from {-_LIGHT:g} to {_LIGHT:g}"]
    return [
        f"config.sampling.rand_light gives the empty range {light[i : i + 2]} of {name}"
        for i, name in ((0, "x"), (2, "y"), (4, "strength"))
        if light[i] > light[i + 1]
    ]


def _all_stages(values: Mapping[str, Any]) -> list[str]:
    faults = [fault for path in _STAGE_LISTS for fault in _stages(path, values[path])]
    refinement = values["refinement.lengths"]
    if not faults and not refinement[0][0]:
        faults.append(
            f"config.refinement.lengths is {shown(refinement)}: its first step 1 needs at least one iteration, "
            "since it gives what the samples of step 3 are drawn from"
        )
    elif not faults and values["refinement.new_encoder"] and not refinement[0][1]:
        faults.append(
            f"config.refinement.lengths is {shown(refinement)}: a new encoder (config.refinement.new_encoder) has "
            "to be trained, so its first step 2 needs at least one iteration"
        )
    return faults


def _stages(path: str, stages: tuple[Any, ...]) -> list[str]:
    if not stages or not all(_is_stage(stage) for stage in stages):
        return [
            f"config.{path} is {shown(stages)}: it takes triples of iteration counts such as "
            f"((600, 600, 400),), up to {_MOST_ITERATIONS} each"
        ]
    if len(stages) > _STAGES.high:
        return [f"config.{path} has {len(stages)} stages: it takes at most {_STAGES.high:g}"]
    return []


def _is_stage(stage: Any) -> bool:
    return isinstance(stage, tuple) and len(stage) == 3 and all(_is_count(n) for n in stage)


def _is_count(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= _MOST_ITERATIONS


def order_problems(values: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each pair of depths in the wrong order, or too close for float32 to tell them apart."""
    pairs = (("camera.min_depth", "camera.max_depth"), ("prior.near", "prior.far"))
    return [
        f"config.{less} has to be less than config.{more}"
        for less, more in pairs
        if not np.float32(values[less]) < np.float32(values[more])
    ]
