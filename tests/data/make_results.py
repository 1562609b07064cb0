"""Makes `tests/data/saved`, two finished results of a tiny run at 32 pixels, which tests read and copy.

PYTHONPATH=.:tests python tests/data/make_results.py
"""

import pathlib
import shutil
import tempfile

import numpy as np
from helpers.tiny import tiny_config

from gan2shape_jax.io.bundled import asset
from gan2shape_jax.run import experiment

_NAMES = ("001", "005")
_SIZE = 32
_OUT = pathlib.Path(__file__).parent / "saved"


def main() -> None:
    """Runs the program in a temporary folder and keeps its results."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        for name in _NAMES:
            depth = np.load(asset(f"ictface/depth/{name}.npy"))
            parts = len(depth) // _SIZE
            np.save(folder / f"{name}.npy", depth.reshape(_SIZE, parts, _SIZE, parts).mean((1, 3)).astype(np.float32))
        config = tiny_config(
            folder,
            names=[f"{name}.png" for name in _NAMES],
            image_size=_SIZE,
            data__depth_root=str(folder),
            prior__iterations=300,
            schedule__stages=((60, 60, 60),),
            inversion__steps=100,
            outputs__preset="mesh",
            logging__every_iterations=40,
        )
        assert experiment.run_experiment(config) == 0
        shutil.rmtree(_OUT, ignore_errors=True)
        for name in _NAMES:
            shutil.copytree(folder / "run" / "results" / name, _OUT / name)


if __name__ == "__main__":
    main()
