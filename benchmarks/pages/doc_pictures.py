"""Draws the pictures of the docs from finished runs of `development_faces.py`.

    python benchmarks/pages/doc_pictures.py --out results/development --faces 002 005 006 008 --edit 006

Writes `docs/pictures/overview_FACE.jpg`, `rotate_FACE.jpg` and `relight_FACE.jpg`, and copies the plot of SIDE against
iterations.
"""

import argparse
import pathlib
import tempfile

import jax
from PIL import Image

from gan2shape_jax.apps import edit
from gan2shape_jax.config import load_config
from gan2shape_jax.method import models
from gan2shape_jax.results import draw_gan_views, draw_overview, load
from gan2shape_jax.run import inference, prepare
from gan2shape_jax.run.folder import results_root
from gan2shape_jax.run.plan import resolve
from gan2shape_jax.training import network_files

ROOT = pathlib.Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
_WIDTH = 1100
# The pictures of docs/how-to/edit.md, by the options of `gan2shape-jax edit` that the page gives.
_EDITS = {
    "rotate": "--yaw -40 -20 0 20 40",
    "relight": "--light -0.9 0 --light -0.5 0.4 --light 0 0.8 --light 0.5 0.4 --light 0.9 0 --strength 0.5",
}


def _save(picture: Image.Image, name: str) -> None:
    small = picture.convert("RGB").resize((_WIDTH, round(picture.height * _WIDTH / picture.width)))
    small.save(PICTURES / f"{name}.jpg", quality=88)


def _overviews(out: pathlib.Path, faces: list[str]) -> None:
    config = load_config("ictface:scratch").unlock()
    for field in ("image", "mask", "depth"):
        config.data[f"{field}_root"] = str(ROOT / "benchmarks" / "quality" / "data" / "ictface" / field)
    config.data.latent_root = str(ROOT / "benchmarks" / "quality" / "data" / "ictface" / "latents")
    architecture, frozen = prepare.load_frozen(resolve(config))
    for face in faces:
        folder = results_root(out / "runs" / face) / face
        with tempfile.TemporaryDirectory() as latents:
            prepared = prepare.load_image(resolve(config), f"{face}.png", architecture, frozen, pathlib.Path(latents))
        fresh = models.init_params(jax.random.key(0), prepared.settings)
        params = network_files.load_networks(folder / "networks.safetensors", fresh, prepared.settings)
        project = inference.projector(params, prepared, frozen)
        result = load(folder)
        _save(draw_overview(result, gan=draw_gan_views(result, project)), f"overview_{face}")


def _edits(out: pathlib.Path, faces: list[str]) -> None:
    for face in faces:
        for name, options in _EDITS.items():
            with tempfile.TemporaryDirectory() as scratch:
                picture = pathlib.Path(scratch) / "edit.png"
                code = edit.main(
                    [str(results_root(out / "runs" / face) / face), *options.split(), "--out", str(picture)]
                )
                if code:
                    raise SystemExit(code)
                _save(Image.open(picture), f"{name}_{face}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--faces", nargs="*", default=["005", "006", "008"], help="for the overviews")
    parser.add_argument("--edit", nargs="*", default=["006"], help="for rotation and relighting")
    options = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    if options.faces:
        _overviews(options.out, options.faces)
    _edits(options.out, options.edit)


if __name__ == "__main__":
    main()
