"""Writes into a lifted model what an older program did not measure: where its objects are and, of faces, its landmarks.

    python benchmarks/quality/model_statistics.py people gan2shape_jax/assets/people/model.safetensors

What is there stays as it is, bit for bit; the trust record is told the model's new hash. A lift writes this by itself.
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
from gan2shape_jax.run.lift import measured_landmarks
from gan2shape_jax.run.plan import resolve
from gan2shape_jax.run.trust import beside, read_trust, trust_bytes


def main() -> None:
    """Measures what the model lacks, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", help="the model's configuration")
    parser.add_argument("model", type=pathlib.Path)
    options = parser.parse_args()
    config = load_config(f"{options.kind}:lift")
    maker = samples.maker_of(config, *prepare.load_frozen(resolve(config)))
    trust = read_trust(options.model, config.image_size)
    with safe_open(options.model, "np") as file:
        stored, texts = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    params = unflatten_dict(
        {key: np.float32(value) for key, value in stored.items() if not key.startswith("statistics/")}, sep="/"
    )
    if model_file.MASK not in stored:
        seeing = dataclasses.replace(maker, settings=model_file.as_with_single_images(config, maker.settings))
        stored[model_file.MASK] = model_file.measure(params, seeing, config.lift.measured)[0]["mask"]
    if model_file.LANDMARKS not in stored and (points := measured_landmarks(config, params, maker)) is not None:
        stored[model_file.LANDMARKS] = points
    atomic_bytes(options.model, safetensors_bytes(stored, texts))
    if trust is not None:
        atomic_bytes(beside(options.model), trust_bytes(trust, sha256(options.model)))
    print(f"{options.model}: landmarks {np.round(stored.get(model_file.LANDMARKS, []), 4).tolist()}")


if __name__ == "__main__":
    main()
