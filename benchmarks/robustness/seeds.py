"""Writes the valid weight files that `fuzz_weights.py` starts from: one of each family and form, as small as possible.

    python benchmarks/robustness/seeds.py tests/io/weights/corpus

Needs PyTorch (`pip install -e '.[parity]'`). The files are already in the repository.
"""

import argparse
import pathlib
import sys

_ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(_ROOT), str(_ROOT / "tests")]

import jax  # noqa: E402
import numpy as np  # noqa: E402

from gan2shape_jax import stylegan2  # noqa: E402
from gan2shape_jax.io import parsing  # noqa: E402
from gan2shape_jax.method import models  # noqa: E402
from gan2shape_jax.stylegan2 import Architecture  # noqa: E402
from gan2shape_jax.training import network_files  # noqa: E402

_GAN = Architecture(size=8, style_dim=2, mapping_layers=1, channels=(1, 1), discriminator_channels=(1, 1))
_PARSER = parsing.Architecture("bisenet", 2, 1, (1, 1, 1, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=pathlib.Path, help="the folder, which has one of each kind of file")
    corpus = parser.parse_args().corpus
    for kind in ("torch_zip", "torch_legacy", "nvidia", "tensorflow", "safetensors", "onnx"):
        (corpus / kind).mkdir(parents=True, exist_ok=True)
    write_torch(corpus)
    write_nvidia(corpus / "nvidia" / "honest-stylegan2")
    write_tensorflow(corpus / "tensorflow" / "honest-stylegan2")
    write_safetensors(corpus / "safetensors")
    from helpers.hostile import graphs

    (corpus / "onnx" / "honest-mean").write_bytes(graphs.honest())


def write_torch(corpus: pathlib.Path) -> None:
    import torch

    from tools.convert_stylegan2 import rosinality, tensors

    def drawn(shapes, dtype=torch.float32):
        return {name: torch.ones(shape, dtype=dtype) for name, shape in shapes.items()}

    tables = rosinality.tables(_GAN)
    checkpoints = {
        "stylegan2": {key: drawn(tensors.expected_shapes(table)) for key, table in tables.items()},
        "bisenet": drawn(parsing.torch_shapes(_PARSER)),
        "half": {"state_dict": drawn(parsing.torch_shapes(_PARSER), torch.bfloat16), "epoch": 3},
        "statistics": {"mean": torch.zeros(4), "cov": torch.eye(4).T},
        "expanded": {"latent": torch.ones(1, 1, 2).expand(1, 4, 2), "args": [1, 2.5, "x", None, (True,)]},
    }
    for name, content in checkpoints.items():
        for form in ("torch_zip", "torch_legacy"):
            path = corpus / form / f"honest-{name}"
            torch.save(content, path, _use_new_zipfile_serialization=form == "torch_zip")


def write_nvidia(path: pathlib.Path) -> None:
    from helpers import nvidia_files, nvidia_generator

    nvidia_files.WIDTH = 2
    generator, discriminator = nvidia_files.networks(channels=(2, 2))
    assert isinstance(generator, nvidia_generator.Generator)
    nvidia_files.save(path, generator, discriminator)


def write_tensorflow(path: pathlib.Path) -> None:
    from helpers.tensorflow_files import Case, networks, save

    save(path, networks(Case(8, 4, 2, style=2, layers=1)))


def write_safetensors(folder: pathlib.Path) -> None:
    from helpers.hostile.small_settings import small_settings

    params = stylegan2.weights.init_params(jax.random.key(0), _GAN)
    stylegan2.save(folder / "honest-stylegan2", _GAN, params, license_note="none", notes="for tests")
    arrays = {name: np.ones(shape, np.float32) for name, shape in parsing.parameter_shapes(_PARSER).items()}
    from safetensors.numpy import save

    (folder / "honest-parser").write_bytes(save(arrays, parsing.header_of(_PARSER)))
    networks = models.init_params(jax.random.key(0), small_settings())
    (folder / "honest-networks").write_bytes(network_files.small_networks_bytes(networks))


if __name__ == "__main__":
    main()
