"""What tests of photos share: photos with a face in them."""

import pytest
from helpers.placed import placed
from PIL import Image


@pytest.fixture(scope="session")
def face_photo():
    """Returns a function that draws a bundled face of `side` pixels around (x, y) into a landscape of waves."""
    return lambda name="006", **where: placed(f"ictface/image/{name}.png", **where)


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
