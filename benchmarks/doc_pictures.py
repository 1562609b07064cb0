"""Draws the pictures of the docs from finished runs of `development_faces.py`.

    python benchmarks/doc_pictures.py --out results/development --faces 005 006 008

Writes `docs/pictures/overview_FACE.jpg` and copies the plot of SIDE against iterations.
"""

import argparse
import pathlib
import shutil
import tempfile

import jax

from gan2shape_jax import experiment, loading, models, weights
from gan2shape_jax.config import load_config
from gan2shape_jax.outputs import draw_gan_views, draw_overview, load_result
from gan2shape_jax.state import initial_state

ROOT = pathlib.Path(__file__).resolve().parents[1]
_WIDTH = 1100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--faces", nargs="+", default=["005", "006", "008"])
    options = parser.parse_args()
    pictures = ROOT / "docs" / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    config = load_config("ictface").unlock()
    for field in ("image", "mask", "depth"):
        config.data[f"{field}_root"] = str(ROOT / "benchmarks" / "data" / "ictface" / field)
    config.data.latent_root = str(ROOT / "benchmarks" / "data" / "ictface" / "latents")
    architecture, fixed = loading.load_frozen(config)
    for face in options.faces:
        folder = options.out / "runs" / face / face
        with tempfile.TemporaryDirectory() as latents:
            prepared = loading.prepare_image(config, f"{face}.png", architecture, fixed, pathlib.Path(latents))
        fresh = models.init_params(jax.random.key(0), prepared.settings)
        params = weights.load_networks(folder / "networks.safetensors", fresh, prepared.settings)
        project = experiment.projector(initial_state(params, prepared.settings), prepared, fixed)
        result = load_result(folder)
        picture = draw_overview(result, gan=draw_gan_views(result, project))
        picture = picture.convert("RGB").resize((_WIDTH, round(picture.height * _WIDTH / picture.width)))
        picture.save(pictures / f"overview_{face}.jpg", quality=88)
    shutil.copy(options.out / "development_faces.png", pictures / "side_over_iterations.png")


if __name__ == "__main__":
    main()
