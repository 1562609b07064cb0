"""Checks on the entries of a result's record, `result.json`, which need not have been written by this program."""

import dataclasses
from typing import Any, TypeVar

from gan2shape_jax.geometry.camera import Camera

__all__ = ["camera_of", "metrics_of", "of_type"]

_WITH_WORDS = "trust"
_GROUPS = ("prior", "start", "samples_l1", "kept_out_l1", _WITH_WORDS)  # of metrics
_LARGEST = 1024  # pixels per side: four times what a run takes
_T = TypeVar("_T")


def camera_of(values: Any) -> Camera:
    """Returns the camera that a record describes; raises `TypeError` or `ValueError` if it describes none."""
    camera = Camera(**of_type(dict, values))
    for field in dataclasses.fields(camera):
        whole = field.name == "image_size"
        if type(getattr(camera, field.name)) not in ((int,) if whole else (int, float)):
            raise TypeError(f"camera.{field.name} is {getattr(camera, field.name)!r}")
    ordered = 0 < camera.near < camera.far and camera.min_depth < camera.max_depth
    if not (1 <= camera.image_size <= _LARGEST and 0 < camera.fov_deg < 180 and ordered):
        raise ValueError(f"there is no {camera}")
    return camera


def metrics_of(values: Any) -> dict[str, Any]:
    """Returns metrics if they are numbers, unknown, groups of these, or words on trust; else raises `TypeError`."""
    for name, entry in of_type(dict, values).items():
        numbers = of_type(dict, entry).values() if name in _GROUPS else [entry]
        kinds = (int, float, str) if name == _WITH_WORDS else (int, float)
        if not all(number is None or isinstance(number, kinds) for number in numbers):
            raise TypeError(f"the metric {name!r} is no number")
    return values


def of_type(kind: type[_T], value: Any) -> _T:
    """Returns the value if it is of that type; raises `TypeError` otherwise."""
    if not isinstance(value, kind):
        raise TypeError(f"{str(value)[:40]!r} stands where {kind.__name__} is wanted")
    return value
