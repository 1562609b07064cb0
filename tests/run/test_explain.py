"""From networks to a result and its folder."""

from helpers import bump
from helpers.tiny import tiny_config

from gan2shape_jax.run import explain

_ALWAYS = {"mesh.obj", "mesh.glb", "depth.npy", "albedo.png", "metrics.json"}
_STRIPS = {"turntable.png", "turntable_albedo.png", "relight.png"}
_ANIMATIONS = {"turntable.gif", "turntable.mp4"}


def test_a_preset_determines_which_pictures_are_written(tmp_path):
    optional = {"overview.png"} | _STRIPS | _ANIMATIONS
    for preset, written in (
        ("mesh", set()),
        ("overview", {"overview.png"}),
        ("standard", {"overview.png"} | _STRIPS),
        ("all", optional),
    ):
        config = tiny_config(tmp_path, outputs__preset=preset, outputs__turntable_frames=2, outputs__animation=True)
        explain.write(bump.result(), tmp_path / preset, config)
        found = {path.name for path in (tmp_path / preset).iterdir()}
        assert found & optional == written and found >= _ALWAYS, preset
