"""The bundled cats: what belongs together is together."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from gan2shape_jax.config import load_config
from gan2shape_jax.io import data, masks
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.image_names import stem_of
from gan2shape_jax.io.weights.digest import sha256
from gan2shape_jax.run import check, lifted_model, loading


def test_every_variant_has_all_that_it_needs(tmp_path):
    for variant in ("", ":predict", ":scratch", ":lift"):
        config = load_config(f"catface{variant}").unlock()
        config.workdir = str(tmp_path / f"run{variant.replace(':', '_')}")
        assert check.examine(config.lock()) == [], variant


def test_model_and_guide_are_of_the_bundled_gan():
    digest = sha256(asset("catface/gan.safetensors"))
    for name in ("model", "guide"):
        with safe_open(asset(f"catface/{name}.safetensors"), "np") as file:
            assert file.metadata()["gan_sha256"] == digest, name
    config = load_config("catface")
    architecture, _ = loading.load_gan(config)
    lifted_model.require_fits(config, lifted_model.settings_of(config, architecture, original_size=64), gan=True)


def test_every_photograph_has_its_latent_and_they_share_a_mask():
    config = load_config("catface:scratch")
    names = data.read_names(config.data.image_list, config.data.image_root)
    assert len(names) == 8
    given = {path.name for path in pathlib.Path(asset("catface/image")).iterdir()}
    assert given == set(names)
    with Image.open(asset("catface/usual_mask.png")) as picture:
        assert picture.size == (64, 64)
    for name in names:
        item = data.load_item(config, name)
        assert item.latent.shape == (1, 128) and stem_of(name) == item.name
        assert 0.5 < item.mask.mean() < 0.9
        assert np.array_equal(item.mask, data.load_item(config, names[0]).mask)
    assert masks.required_source(config, names) == "usual"


def test_the_licence_of_the_photographs_is_told_with_the_weights():
    for name, key in (("gan", "license"), ("model", "gan_license")):
        with safe_open(asset(f"catface/{name}.safetensors"), "np") as file:
            assert "AnnikaV9/cat-dataset" in file.metadata()[key]
    assert "AnnikaV9" in pathlib.Path(asset("catface/LICENSE-cat-dataset")).read_text()
    with safe_open(asset("catface/model.safetensors"), "np") as file:
        assert json.loads(file.metadata()["fits"])["image_size"] == 64


@pytest.mark.parametrize(
    ("name", "lengths", "batches", "gain", "inversion_steps"),
    [
        ("catface", ((50, 300, 220),), 48, 1.0, 500),  # what docs/reports/cats.md was measured with
        ("ictface", ((30, 200, 150),), 40, 0.8, 300),  # what docs/reports/lift.md was measured with
    ],
)
def test_bundled_categories_refine_as_their_reports_say(name, lengths, batches, gain, inversion_steps):
    config = load_config(name)
    refinement = config.refinement
    assert (refinement.lengths, refinement.collect_iters, refinement.gain) == (lengths, batches, gain)
    assert config.inversion.steps == inversion_steps
