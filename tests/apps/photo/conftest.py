"""What tests of photos share: the bundled GAN with its guide, and photos with a face in them."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.config import load_config
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.run import guide


@pytest.fixture(scope="session")
def bundled():
    """Returns the bundled guide, and what looks at crops."""
    checkpoint = pathlib.Path(load_config("ictface").gan.checkpoint)
    gan = stylegan2.load(checkpoint)
    found = guide.guide_of(checkpoint, *gan, say=lambda line: pytest.fail(line))
    return found, guide.sight_by(found, *gan, size=guide.CROPS)


@pytest.fixture(scope="session")
def face_photo():
    """Returns a function that draws a bundled face of `side` pixels around (x, y) into a landscape of waves."""

    def draw(name="006", *, width=300, height=220, x=190, y=100, side=96):
        across, down = np.meshgrid(np.arange(width), np.arange(height))
        photo = np.stack([90 + 40 * np.sin(across / 31), 110 + 30 * np.cos(down / 23), 80 + 0 * down], axis=-1)
        photo = np.clip(photo + np.random.default_rng(0).normal(0, 6, photo.shape), 0, 255).astype(np.uint8)
        with Image.open(asset(f"ictface/image/{name}.png")) as face:
            square = np.asarray(face.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
        photo[y - side // 2 : y + side // 2, x - side // 2 : x + side // 2] = square
        return photo

    return draw


@pytest.fixture
def photo(tmp_path, face_photo):
    Image.fromarray(face_photo()).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture
def short(tmp_path):
    """The file of a configuration whose refinement takes a moment."""
    path = tmp_path / "short.py"
    path.write_text(
        "from gan2shape_jax.config import load_config\n\n\ndef get_config():\n"
        "    config = load_config('ictface').unlock()\n"
        "    config.refinement.update(lengths=((1, 2, 2),), collect_iters=2, kept_out=1)\n"
        "    config.inversion.steps = 2\n    return config\n"
    )
    return path
