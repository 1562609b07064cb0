"""What training would take: memory and time on these devices, measured on noise with the real programs."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.errors import UserError

from .loop import Plan
from .training import Updates, everywhere, fresh_state, make_updates, mesh_for, on_devices

__all__ = ["check"]

_REPEATS = 2


def check(plan: Plan, *, say: Callable[[str], None]) -> None:
    """Compiles and runs every update, and says how much an iteration and the whole training take.

    Raises:
      UserError: it does not fit into memory.
    """
    settings, arch = plan.settings, plan.arch
    mesh = mesh_for(settings.batch)
    updates = make_updates(arch, settings, mesh)
    state = everywhere(fresh_state(arch, settings, plan.start), mesh)
    noise = np.random.default_rng(0).integers(0, 256, (settings.batch, arch.size, arch.size, 3), dtype=np.uint8)
    batch = on_devices(noise, np.arange(settings.batch), mesh)
    key, number = jax.random.key(0), jnp.int32(1)
    say(
        f"{arch.size} pixels, batch {settings.batch} on {mesh.size} x {jax.devices()[0].device_kind}; generator "
        f"{_millions(state.generator)}, discriminator {_millions(state.discriminator)} million weights"
    )
    whole, most = 0.0, 0
    for name, each in _shares(plan).items():
        begun = time.perf_counter()
        compiled = getattr(updates, name).lower(state, batch, key, number).compile()
        compiling = time.perf_counter() - begun
        facts = compiled.memory_analysis()
        needed = facts.argument_size_in_bytes + facts.temp_size_in_bytes if facts else 0
        most = max(most, needed)
        _require_memory(needed, plan)
        seconds = np.inf
        for _ in range(_REPEATS):
            begun = time.perf_counter()
            state, _told = jax.block_until_ready(compiled(state, batch, key, number))
            seconds = min(seconds, time.perf_counter() - begun)
        whole += seconds * each
        say(
            f"  {name.replace('_', ' ')}: {seconds:.3f} s, {needed / 2**20:.0f} MiB a device, every "
            f"{round(1 / each)} iterations; compiled in {compiling:.0f} s"
        )
    total = datetime.timedelta(seconds=round(whole * plan.iterations))
    say(
        f"an iteration: {whole:.3f} s, {settings.batch / whole:.1f} photos a second; {plan.images} photos: {total}, "
        f"snapshots not counted; {most / 2**20:.0f} MiB a device at most"
    )


def _shares(plan: Plan) -> dict[str, float]:
    """Returns how often each update runs per iteration."""
    shares = dict.fromkeys(Updates._fields, 1.0)
    shares["gradient_penalty"] = 1 / plan.settings.r1_every
    shares["path_lengths"] = 1 / plan.settings.path_every if plan.settings.path_weight else 0.0
    return {name: share for name, share in shares.items() if share}


def _millions(params: object) -> str:
    return f"{sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6:.1f}"


def _require_memory(needed: int, plan: Plan) -> None:
    facts = jax.devices()[0].memory_stats() or {}
    limit = facts.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > limit:
        fits = max(1, int(plan.settings.batch * limit / needed))
        raise UserError(
            f"--batch {plan.settings.batch} takes {needed / 2**30:.1f} GiB a device, which has {limit / 2**30:.1f}: "
            f"try --batch {fits}, or a smaller --channels"
        )
