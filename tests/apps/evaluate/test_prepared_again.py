"""Images of finished runs, prepared once more."""

import numpy as np

from gan2shape_jax.apps.evaluate.runs import prepared_again
from gan2shape_jax.run import loading
from tests.helpers.tiny import tiny_config


def test_a_runs_latent_is_taken_and_its_folder_left_alone(tmp_path):
    config = tiny_config(tmp_path).copy_and_resolve_references().unlock()
    config.data.latent_root = ""
    architecture, frozen = loading.load_frozen(config)
    kept = tmp_path / "latents"
    kept.mkdir()
    latent = np.full((1, architecture.style_dim), 0.25, np.float32)
    np.save(kept / "001.npy", latent)
    (kept / "001.json").write_text('{"configuration": "another"}')
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    prepared = prepared_again(config.lock(), "001.png", architecture, frozen, kept)
    np.testing.assert_array_equal(prepared.problem.latent, latent)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
