"""Writes into a lifted model where its objects are, if an older program made it; renews the hash in its trust record.

    python benchmarks/quality/model_mask.py head gan2shape_jax/assets/head/model.safetensors

Networks and statistics stay as they are, bit for bit. A lift writes this by itself.
"""

import argparse
import dataclasses
import pathlib

import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors import safe_open

from gan2shape_jax.config import load_config
from gan2shape_jax.io.files import atomic_bytes, sha256
from gan2shape_jax.io.weights.tensors import safetensors_bytes
from gan2shape_jax.lift import model_file, samples
from gan2shape_jax.run import prepare
from gan2shape_jax.run.plan import resolve
from gan2shape_jax.run.trust import beside, read_trust, trust_bytes


def main() -> None:
    """Measures where the model's objects are, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", help="the model's configuration")
    parser.add_argument("model", type=pathlib.Path)
    options = parser.parse_args()
    config = load_config(f"{options.kind}:lift")
    maker = samples.maker_of(config, *prepare.load_frozen(resolve(config)))
    settings = dataclasses.replace(maker.settings, mirrored=any(config.schedule.flip3))
    trust = read_trust(options.model, config.image_size)
    with safe_open(options.model, "np") as file:
        stored, texts = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    params = unflatten_dict(
        {key: np.float32(value) for key, value in stored.items() if not key.startswith("statistics/")}, sep="/"
    )
    statistics, _ = model_file.measure(params, dataclasses.replace(maker, settings=settings), config.lift.measured)
    stored[model_file.MASK] = statistics["mask"]
    atomic_bytes(options.model, safetensors_bytes(stored, texts))
    if trust is not None:
        atomic_bytes(beside(options.model), trust_bytes(trust, sha256(options.model)))
    print(f"{options.model}: objects have {statistics['mask'].mean():.3f} of the canonical square")


if __name__ == "__main__":
    main()
