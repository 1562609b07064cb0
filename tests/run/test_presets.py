"""`config.outputs.preset`: which of a result's pictures are made."""

import pytest
from helpers import bump
from helpers.tiny import tiny_config

from gan2shape_jax.run.results import write_result

_ALWAYS = {"mesh.obj", "mesh.glb", "depth.npy", "albedo.png", "metrics.json"}
_STRIPS = {"turntable.png", "turntable_albedo.png", "relight.png"}
_ANIMATIONS = {"turntable.gif", "turntable.mp4"}


@pytest.mark.parametrize(
    ("preset", "made"),
    [
        ("mesh", _ALWAYS),
        ("overview", _ALWAYS | {"overview.png"}),
        ("standard", _ALWAYS | {"overview.png"} | _STRIPS),
        ("all", _ALWAYS | {"overview.png"} | _STRIPS | _ANIMATIONS),
    ],
)
def test_a_preset_makes_what_it_says_and_no_more(preset, made, tmp_path):
    config = tiny_config(tmp_path, outputs__preset=preset, outputs__turntable_frames=2, outputs__animation=True)
    write_result(bump.result(), tmp_path / "face", None, config, {}, seed=0)
    found = {path.name for path in (tmp_path / "face").iterdir()}
    assert found & (_ALWAYS | {"overview.png"} | _STRIPS | _ANIMATIONS) == made
