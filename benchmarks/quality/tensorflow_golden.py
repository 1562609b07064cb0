"""What NVIDIA's stylegan2-ada-pytorch computes from TensorFlow's network pickles: numbers that a test compares ours to.

    git clone https://github.com/NVlabs/stylegan2-ada-pytorch
    python benchmarks/quality/tensorflow_golden.py stylegan2-ada-pytorch tests/golden/stylegan2_tensorflow.npz

Writes small pickles with random weights (tests/helpers/tensorflow_files.py), loads each with `load_network_pkl` of
their `legacy.py`, and saves what the networks compute: w, pictures with and without truncation, logits. Needs PyTorch
(`pip install -e '.[parity]'`), click and requests. Their code is under the NVIDIA Source Code License; only numbers
computed from random weights are kept.
"""

import argparse
import pathlib
import sys
import tempfile

import numpy as np

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=pathlib.Path, help="of stylegan2-ada-pytorch")
    parser.add_argument("target", type=pathlib.Path, help="the .npz to write")
    options = parser.parse_args()
    sys.path.insert(0, str(_ROOT / "tests"))
    from helpers import tensorflow_files

    arrays: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            name: tensorflow_files.save(pathlib.Path(folder) / f"{name}.pkl", tensorflow_files.networks(case))
            for name, case in tensorflow_files.CASES.items()
        }
        sys.path.insert(0, str(options.checkout))
        for name, path in paths.items():
            computed = _computed(path, *tensorflow_files.inputs(tensorflow_files.CASES[name]))
            arrays |= {f"{name}/{key}": value for key, value in computed.items()}
    np.savez_compressed(options.target, **arrays)
    print(f"{options.target}: {len(arrays)} arrays, {options.target.stat().st_size / 1024:.0f} KiB")


def _computed(path: pathlib.Path, z: np.ndarray, pictures: np.ndarray) -> dict[str, np.ndarray]:
    import legacy
    import torch

    with path.open("rb") as file:
        networks = legacy.load_network_pkl(file)
    generator, discriminator = networks["G_ema"].eval(), networks["D"].eval()
    with torch.no_grad():
        z, pictures = torch.from_numpy(z), torch.from_numpy(pictures)

        def draw(psi):
            return generator(z, None, truncation_psi=psi, noise_mode="const", force_fp32=True)

        w = generator.mapping(z, None)[:, 0]
        logits = discriminator(pictures, None, force_fp32=True)
        found = {"w": w, "image": draw(1), "truncated": draw(0.5), "logits": logits}
    return {key: value.numpy() for key, value in found.items()}


if __name__ == "__main__":
    main()
