"""What tests of several applications share."""

import pytest


@pytest.fixture
def short(tmp_path):
    """The file of a configuration whose refinement takes a moment."""
    path = tmp_path / "short.py"
    path.write_text(
        "from gan2shape_jax.config import load_config\n\n\ndef get_config():\n"
        "    config = load_config('ictface').unlock()\n"
        "    config.refinement.update(stages=((1, 2, 2),), collect_iters=2, held_out=1)\n"
        "    config.inversion.steps = 2\n    return config\n"
    )
    return path
