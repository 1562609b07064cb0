"""Writes into a lifted model what an older program did not measure: where its objects are and, of faces, its landmarks.

    python benchmarks/quality/model_statistics.py people gan2shape_jax/assets/people/model.safetensors
    python benchmarks/quality/model_statistics.py people lifted.safetensors --views

What is there stays as it is, bit for bit; the trust record is told the model's new hash. With `--views`, V is taught by
turned samples first (`lift.view_training`), and all that V tells is measured anew. A lift does both by itself.
"""

import argparse
import dataclasses
import json
import pathlib

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import safe_open

from gan2shape_jax.config import load_config
from gan2shape_jax.io.files import atomic_bytes, sha256
from gan2shape_jax.io.weights import safetensors_bytes
from gan2shape_jax.lift import model_file, samples, view_training
from gan2shape_jax.photos.judge import beside, read_trust, trust_bytes
from gan2shape_jax.run import prepare
from gan2shape_jax.run.lift import measured_landmarks
from gan2shape_jax.run.plan import resolve


def main() -> None:
    """Measures what the model lacks, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", help="the model's configuration")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--views", action="store_true", help="teach V, too")
    options = parser.parse_args()
    config = load_config(f"{options.kind}:lift")
    maker = samples.maker_of(config, *prepare.load_frozen(resolve(config)))
    trust = read_trust(options.model, config.image_size)
    with safe_open(options.model, "np") as file:
        stored, texts = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    params = unflatten_dict(
        {key: np.float32(value) for key, value in stored.items() if not key.startswith("statistics/")}, sep="/"
    )
    seeing = dataclasses.replace(maker, settings=model_file.as_with_single_images(config, maker.settings))
    if options.views:
        params = view_training.taught(config, params, maker)
        for name, value in flatten_dict({"view": params["view"]}, sep="/").items():
            stored[name] = np.asarray(value).astype(stored[name].dtype)  # float16 where a lift found that enough
        statistics, errors = model_file.measure(params, seeing, config.lift.measured)
        statistics |= model_file.pose_edit_tensors(model_file.measured_pose_edit(config, params, maker))
        stored |= {f"statistics/{name}": np.asarray(value, np.float32) for name, value in statistics.items()}
        texts["errors"] = json.dumps(errors)
        stored.pop(model_file.LANDMARKS, None)
    if model_file.MASK not in stored:
        stored[model_file.MASK] = model_file.measure(params, seeing, config.lift.measured)[0]["mask"]
    if model_file.LANDMARKS not in stored and (points := measured_landmarks(config, params, maker)) is not None:
        stored[model_file.LANDMARKS] = points
    atomic_bytes(options.model, safetensors_bytes(stored, texts))
    if trust is not None:
        atomic_bytes(beside(options.model), trust_bytes(trust, sha256(options.model)))
    print(f"{options.model}: landmarks {np.round(stored.get(model_file.LANDMARKS, []), 4).tolist()}")


if __name__ == "__main__":
    main()
