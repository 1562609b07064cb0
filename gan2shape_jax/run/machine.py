"""Whether this machine can handle a run, by a crude estimate; used by both `--check` and the run itself.

Estimates are off by a factor of two or more (see `estimate`), so a run is refused only if it exceeds the machine by
far, and `config.runtime.allow_large` permits even that. Exceeding it by less causes a warning.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence

import jax
from ml_collections import ConfigDict

from gan2shape_jax.config import flatten, set_field
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.writable import nearest_folder
from gan2shape_jax.run.cluster import alone
from gan2shape_jax.run.estimate import Estimate, estimate

__all__ = ["Machine", "estimate_here", "require_room", "this_machine"]

# By what factor the estimate must exceed what is available for a run to be refused. The scale was measured on a CPU;
# for GPU and TPU it is a guess.
_CLEARLY_CPU, _CLEARLY_ELSE, _CLEARLY_DISK = 4.0, 8.0, 2.0
# Fields that determine how much memory a run takes, with their minimum values.
_OF_MEMORY = {
    "runtime.images_at_once": 1,
    "schedule.batches_per_iteration": 1,
    "outputs.picture_size": 64,
    "sampling.batch_size": 1,
    "networks.width": 16,
}
_OF_DISK = {"checkpoint.keep": 1}
_LOWER_SEVERAL = "lower several fields of config.networks and config.sampling"
_MAKE_ROOM = "make room, or name another folder"
_ANYWAY = "or try nevertheless with config.runtime.allow_large=True"
# Where Linux says how much memory a container or a job may use; cgroup version 2, then 1.
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclasses.dataclass(frozen=True)
class Machine:
    """The devices in use: their kind ('cpu', 'gpu', 'tpu'), their number, and GiB per device, None if unknown."""

    device: str
    devices: int
    memory_gib: float | None


def this_machine() -> Machine:
    """Returns the machine that JAX computes on here; starts JAX."""
    kind, devices = jax.default_backend(), jax.local_devices()
    if kind == "cpu":
        return Machine(kind, 1, _main_memory())
    told = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    known = [limit for limit in told if limit]
    return Machine(kind, len(devices), min(known) / 2**30 if known else None)


def estimate_here(config: ConfigDict, images: int, machine: Machine) -> Estimate:
    """Returns the estimate for a number of images on this machine."""
    return estimate(config, images, device=machine.device, cores=os.cpu_count() or 1, devices=machine.devices)


def require_room(config: ConfigDict, unfinished: Sequence[str]) -> None:
    """Refuses a run whose estimate exceeds memory or disk by far; warns if it does so by less.

    If several hosts share the run, memory is not checked: JAX must not start before they have connected.

    Args:
      config: the run's configuration; validated, including its output folders.
      unfinished: names of the images that are still to be reconstructed.

    Raises:
      UserError: says which field to lower, and to what.
    """
    if not unfinished:
        return
    refusals = [_disk_fault(config, len(unfinished))]
    if alone(config):
        refusals.append(_memory_fault(config, len(unfinished), this_machine()))
    if any(refusals):
        raise UserError("\n".join(filter(None, refusals)))


def _memory_fault(config: ConfigDict, images: int, machine: Machine) -> str:
    """Returns why the machine's memory is far too small, or ''."""
    there = machine.memory_gib
    needed = estimate_here(config, images, machine).memory_gib
    if there is None or needed <= there:
        return ""
    told = f"about {needed:,.0f} GiB of memory are estimated for this run, {_place(machine)} has {there:,.1f}"
    fields = {**_OF_MEMORY, "sampling.collect_iters": images if config.mode == "joint" else 1}
    advice = _lower(config, fields, lambda c: estimate_here(c, images, machine).memory_gib <= there)
    clearly = _CLEARLY_CPU if machine.device == "cpu" else _CLEARLY_ELSE
    return _refusal(config, told, advice or _LOWER_SEVERAL, needed / there, clearly)


def _disk_fault(config: ConfigDict, images: int) -> str:
    """Returns why the disk for the results is far too small, or ''."""
    free = shutil.disk_usage(nearest_folder(config.workdir)).free / 2**30
    needed = estimate(config, images).disk_gib
    if needed <= free:
        return ""
    told = f"config.workdir {config.workdir} has {free:,.1f} GiB free, about {needed:,.1f} are estimated for this run"
    advice = _lower(config, _OF_DISK, lambda c: estimate(c, images).disk_gib <= free)
    return _refusal(config, told, advice or _MAKE_ROOM, needed / max(free, 1e-9), _CLEARLY_DISK)


def _refusal(config: ConfigDict, told: str, advice: str, times: float, clearly: float) -> str:
    """Returns a refusal if the machine is clearly exceeded; otherwise warns and returns ''."""
    if times > clearly and not config.runtime.allow_large:
        return f"{told}: {advice}, {_ANYWAY}"
    warnings.warn(f"{told}, and it may run out of that: {advice}", stacklevel=2)
    return ""


def _place(machine: Machine) -> str:
    return "this machine" if machine.device == "cpu" else f"a {machine.device.upper()} of this machine"


def _lower(config: ConfigDict, fields: Mapping[str, int], fits: Callable[[ConfigDict], bool]) -> str:
    """Returns which fields would each make the run fit if lowered, and to what; '' if none would on its own."""
    values, told = flatten(config), []
    for field, least in fields.items():
        if values[field] > least and fits(_with(config, field, least)):
            most = _greatest(config, field, least, values[field], fits)
            told.append(f"config.{field} from {values[field]} to {most}")
    return f"lower {' or '.join(told)}" if told else ""


def _greatest(config: ConfigDict, field: str, low: int, high: int, fits: Callable[[ConfigDict], bool]) -> int:
    """Returns the greatest value that fits, from `low`, which fits, up to but excluding `high`, which does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(_with(config, field, middle)) else (low, middle)
    return low


def _with(config: ConfigDict, field: str, value: int) -> ConfigDict:
    changed = config.copy_and_resolve_references().unlock()
    set_field(changed, field, value)
    return changed


def _main_memory() -> float | None:
    """Returns the GiB of memory that this process may use at most; None if the system does not tell."""
    limits = []
    try:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # not on this system
        pass
    for path in _CGROUP_LIMITS:
        try:
            limits.append(int(pathlib.Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min(limits) / 2**30 if limits else None
