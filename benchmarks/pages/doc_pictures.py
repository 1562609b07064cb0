"""Draws the pictures of the docs from finished runs of `development_faces.py`.

    python benchmarks/pages/doc_pictures.py --out results/development --faces 006

Writes `docs/pictures/rotate_FACE.jpg` and `relight_FACE.jpg`.
"""

import argparse
import pathlib
import tempfile

from PIL import Image

from gan2shape_jax.apps import edit
from gan2shape_jax.run.folder import results_root

PICTURES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "pictures"
_WIDTH = 1100
# The pictures of docs/how-to/editing.md, by the options of `gan2shape-jax edit` that the page gives.
_EDITS = {
    "rotate": "--yaw -40 -20 0 20 40",
    "relight": "--light -0.9 0 --light -0.5 0.4 --light 0 0.8 --light 0.5 0.4 --light 0.9 0 --strength 0.5",
}


def _save(picture: Image.Image, name: str) -> None:
    small = picture.convert("RGB").resize((_WIDTH, round(picture.height * _WIDTH / picture.width)))
    small.save(PICTURES / f"{name}.jpg", quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--faces", nargs="+", default=["006"])
    options = parser.parse_args()
    for face in options.faces:
        for name, words in _EDITS.items():
            with tempfile.TemporaryDirectory() as scratch:
                picture = pathlib.Path(scratch) / "edit.png"
                if code := edit.main(
                    [str(results_root(options.out / "runs" / face) / face), *words.split(), "--out", str(picture)]
                ):
                    raise SystemExit(code)
                _save(Image.open(picture), f"{name}_{face}")


if __name__ == "__main__":
    main()
