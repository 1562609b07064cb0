"""Run by test_derivatives.py in a process of two simulated devices; prints how far their gradients are off one's."""

import functools
import json

import jax

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import PartitionSpec  # noqa: E402

from helpers.rendered import CASES  # noqa: E402


def _error(loss, arguments) -> float:
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("images",))
    split = PartitionSpec("images")

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=split, out_specs=(split, split))
    def on_two(arguments):
        value, gradient = jax.value_and_grad(loss)(arguments)
        return value[None], gradient

    values, gradients = on_two(arguments)
    value, gradient = jax.jit(jax.value_and_grad(loss))(arguments)
    assert values.shape == (2,) and len(jax.devices()) == 2
    pairs = [(jnp.sum(values), value), *zip(*map(jax.tree.leaves, (gradients, gradient)), strict=True)]
    return max(float(np.abs(np.asarray(a) - b).max() / np.abs(b).max()) for a, b in pairs)


print("record", json.dumps({name: _error(*case(batch=4)) for name, case in CASES.items()}))
