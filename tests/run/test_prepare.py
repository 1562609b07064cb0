"""Images with their masks and latents, ready for training."""

import numpy as np
from helpers.tiny import tiny_config

from gan2shape_jax.run import prepare


def test_a_latent_found_by_an_earlier_start_is_used_and_one_that_cannot_be_read_is_found_again(tmp_path, monkeypatch):
    config = tiny_config(tmp_path).copy_and_resolve_references().unlock()
    config.data.latent_root = ""
    architecture, frozen = prepare.load_frozen(config.lock())
    found = np.full((1, architecture.style_dim), 0.25, np.float32)
    path = tmp_path / "latents" / "001.npy"

    def latent(*, keep=True):
        return prepare.load_image(config, "001.png", architecture, frozen, path.parent, keep=keep).problem.latent

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "find_latent", lambda *_: found)
        np.testing.assert_array_equal(latent(keep=False), found)
        assert not path.parent.exists()
        np.testing.assert_array_equal(latent(), found)
        content = path.read_bytes()
        for damaged in (content[:-3], b""):
            path.write_bytes(damaged)
            np.testing.assert_array_equal(latent(), found)
            assert path.read_bytes() == content
    np.testing.assert_array_equal(latent(), found)  # from the file, without an inversion
