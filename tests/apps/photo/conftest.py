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
