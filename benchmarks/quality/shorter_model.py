"""Drops the last bits of a lifted model's float16 numbers that no output needs, so that it packs smaller; in place.

    python benchmarks/quality/shorter_model.py head gan2shape_jax/assets/head/model.safetensors

Each network loses as many bits as move no output on 64 samples of the GAN by over a thousandth of its range.
"""

import argparse
import pathlib

import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors import safe_open

from gan2shape_jax.config import load_config
from gan2shape_jax.io.files import atomic_bytes
from gan2shape_jax.io.weights.tensors import safetensors_bytes
from gan2shape_jax.lift import model_file, samples
from gan2shape_jax.run import prepare


def main() -> None:
    """Rounds the model's networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", help="the model's configuration")
    parser.add_argument("model", type=pathlib.Path)
    options = parser.parse_args()
    config = load_config(f"{options.kind}:lift")
    maker = samples.maker_of(config, *prepare.load_frozen(config))
    images, _ = maker.images(range(64))
    with safe_open(options.model, "np") as file:
        stored, texts = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    halves = {key: value.view(np.uint16) for key, value in stored.items() if value.dtype == np.float16}
    params = unflatten_dict({key: np.float32(value) for key, value in stored.items()}, sep="/")
    for dropped in range(1, 7):
        up = np.uint16(1 << dropped >> 1)
        shorter = {key: ((value + up) >> dropped << dropped).view(np.float16) for key, value in halves.items()}
        rounded = unflatten_dict({key: np.float32(value) for key, value in (stored | shorter).items()}, sep="/")
        changes = model_file._changes(params, rounded, images, settings=maker.settings)
        stored |= {key: new for key, new in shorter.items() if changes[key.split("/")[0]] <= model_file._LARGEST_CHANGE}
    atomic_bytes(options.model, safetensors_bytes(stored, texts))


if __name__ == "__main__":
    main()
