"""Run by test_derivatives.py in a process of eight simulated devices; prints how far their gradients are off one's."""

import json
import re

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import AxisType, PartitionSpec  # noqa: E402

from helpers.rendered import CASES  # noqa: E402

_SPLIT = PartitionSpec("b")
_COLLECTIVE = re.compile(r"all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute")


def _errors(name: str) -> dict[str, float]:
    """Returns the largest relative error of value and gradients for each way to spread a batch over devices."""
    loss, arguments = CASES[name](batch=8)
    both = jax.value_and_grad(loss)

    def part(arguments):
        value, gradient = both(arguments)
        return value[None], gradient

    ways = {"explicit": (None, both), "auto": (AxisType.Auto, both)}
    ways["shard_map"] = None, jax.shard_map(part, in_specs=_SPLIT, out_specs=(_SPLIT, _SPLIT))
    if not name.startswith("drawn"):  # JAX cannot look faces up by what a map over a sharded axis brings
        ways["vmap"] = None, jax.vmap(both)
    ways["auto vmap"] = AxisType.Auto, jax.vmap(both)
    expected = jax.jit(both)(arguments)
    errors = {}
    for way, (kind, function) in ways.items():
        with jax.set_mesh(jax.make_mesh((8,), ("b",), *([(kind,)] if kind else []))):
            compiled = jax.jit(function).lower(jax.device_put(arguments, _SPLIT)).compile()
            value, gradient = compiled(jax.device_put(arguments, _SPLIT))
            assert way != "auto vmap" or not _COLLECTIVE.search(compiled.as_text()), way
            for leaf in jax.tree.leaves(gradient):
                assert way == "auto" or leaf.sharding.spec[0] == "b", (way, leaf.sharding)  # nothing was gathered
        pairs = zip(jax.tree.leaves((jnp.sum(value), gradient)), jax.tree.leaves(expected), strict=True)
        errors[way] = max(float(np.abs(np.asarray(a) - b).max() / np.abs(b).max()) for a, b in pairs)
    return errors


print("record", json.dumps({name: _errors(name) for name in CASES}))
