"""Latents that a run has found: kept whole, or found again."""

import numpy as np
import pytest
from helpers.harm import HARMS, JSON_OF_ANOTHER_FORM, do

from gan2shape_jax.run.kept_latents import keep, kept

pytestmark = pytest.mark.hostile

LATENT = np.arange(8, dtype=np.float32)[None]


@pytest.fixture
def latents(tmp_path):
    keep(tmp_path / "latents", "a/b", LATENT, "this")
    return tmp_path / "latents"


def _kept(latents, configuration="this"):
    return kept(latents, "a/b", 8, configuration)


def test_a_latent_is_kept_bit_for_bit(latents):
    np.testing.assert_array_equal(_kept(latents), LATENT)
    assert kept(latents, "other", 8, "this") is None


@pytest.mark.parametrize("kind", HARMS)
def test_a_damaged_latent_is_set_aside(latents, kind, capsys):
    do(latents / "a" / "b.npy", kind)
    assert _kept(latents) is None
    told = capsys.readouterr().err
    assert (kind == "delete") or ("b.npy is damaged" in told and "the GAN is inverted again" in told)
    assert (kind == "delete") or (latents.parent / "damaged" / "latents" / "a" / "b.npy").is_file()
    keep(latents, "a/b", LATENT, "this")
    np.testing.assert_array_equal(_kept(latents), LATENT)


@pytest.mark.parametrize("text", JSON_OF_ANOTHER_FORM)
def test_a_latent_whose_record_is_damaged_is_set_aside(latents, text):
    (latents / "a" / "b.json").write_text(text, encoding="latin-1")
    assert _kept(latents) is None and not (latents / "a" / "b.npy").exists()


def test_another_configurations_latent_is_not_taken(latents, capsys):
    assert _kept(latents, "another") is None
    assert "was found with another configuration" in capsys.readouterr().err


def test_a_latent_of_an_earlier_version_is_taken_and_gets_a_checksum(latents):
    (latents / "a" / "b.json").unlink()
    np.testing.assert_array_equal(_kept(latents), LATENT)
    do(latents / "a" / "b.npy", "flip")
    assert _kept(latents) is None


def test_half_a_latent_of_an_earlier_version_is_set_aside(latents):
    (latents / "a" / "b.json").unlink()
    do(latents / "a" / "b.npy", "truncate")
    assert _kept(latents) is None
