"""What `--check` accepts a run accepts, and the other way round."""

import dataclasses
import pathlib

import numpy as np
import pytest
from helpers.tiny import tiny_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.config.gan_checks import gan_problems
from gan2shape_jax.config.validation import validate
from gan2shape_jax.errors import UserError
from gan2shape_jax.run import check, loading
from gan2shape_jax.stylegan2 import Architecture

_CHANNELS = (96, 96, 64, 48, 24)
_GAN = Architecture(size=64, style_dim=128, mapping_layers=8, channels=_CHANNELS, discriminator_channels=_CHANNELS)


def _with_width(multiplier: int) -> Architecture:
    return dataclasses.replace(_GAN, channels=(512, 512, 512, 512, 256 * multiplier))


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("gan.size", "128", "size 64, but config.gan.size is 128"),
        ("gan.style_dim", "512", "style_dim 128, but config.gan.style_dim is 512"),
        ("gan.channel_multiplier", "1", "24 channels at 64 pixels"),
    ],
)
def test_checkpoint_of_another_size_is_told(field, value, message):
    config = apply_overrides(load_config("ictface"), {field: value})
    assert gan_problems(load_config("ictface"), _GAN) == []
    assert any(message in problem for problem in gan_problems(config, _GAN))


def test_mapping_network_shorter_than_asked_is_told():
    problems = gan_problems(load_config("ictface"), dataclasses.replace(_GAN, mapping_layers=4))
    assert len(problems) == 1 and "only 4 layers" in problems[0]


def _run_takes_the_gan(config) -> bool:
    """Whether a run gets past its configuration and its GAN, as `main` and `experiment` ask for them."""
    try:
        validate(config)
        loading.load_gan(config)
    except UserError:
        return False
    return True


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.fixed_dictionaries(
        {
            "gan.size": st.sampled_from([64, 64, 64, 32, 48]),
            "gan.style_dim": st.sampled_from([128, 128, 128, 512, 0]),
            "gan.channel_multiplier": st.sampled_from([0, 1, 2, 4, -1]),
            "gan.F1_d": st.sampled_from([-1, 0, 1, 4, 6, 8, 9]),
            "gan.truncation": st.sampled_from([1.0, 0.5, 1.5]),
        }
    ),
    architecture=st.sampled_from([_GAN, _with_width(1), _with_width(2), dataclasses.replace(_GAN, mapping_layers=5)]),
)
def test_check_and_run_agree_about_the_gan(fields, architecture, tmp_path, monkeypatch):
    monkeypatch.setattr(stylegan2, "load", lambda path: (architecture, {}))
    config = apply_overrides(tiny_config(tmp_path), {field: str(value) for field, value in fields.items()})
    assert (check.examine(config) == []) == _run_takes_the_gan(config)


def test_a_damaged_gan_matters_to_prediction_only_where_it_is_loaded(tmp_path):
    path = tmp_path / "gan.safetensors"
    path.write_bytes(b"damaged")
    fields = {"gan__checkpoint": str(path), "mode": "predict", "networks__pretrained": "absent.safetensors"}
    with_pictures = check.examine(tiny_config(tmp_path, outputs__gan_images=True, **fields))
    assert [str(path) in problem for problem in with_pictures] == [False, True]
    without = check.examine(tiny_config(tmp_path, outputs__gan_images=False, **fields))
    assert without == with_pictures[:1]


def test_networks_that_prediction_cannot_use_are_told_without_a_gan(tmp_path):
    path = tmp_path / "networks.safetensors"
    path.write_bytes(b"damaged")
    fields = {"gan__checkpoint": "absent", "data__latent_root": "", "networks__pretrained": str(path)}
    problems = check.examine(tiny_config(tmp_path, mode="predict", **fields))
    assert len(problems) == 1 and str(path) in problems[0]


def test_a_latent_of_another_number_of_layers_is_told(tmp_path):
    np.save(tmp_path / "001.npy", np.zeros((1, 4, 128), np.float32))
    config = tiny_config(tmp_path, data__latent_root=str(tmp_path))
    assert ["has 4 layers: this generator takes 10" in problem for problem in check.examine(config)] == [True]


def test_a_mask_that_no_prior_fits_is_told(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[0, 0] = 255
    Image.fromarray(mask).save(tmp_path / "001.png")
    config = tiny_config(tmp_path, data__mask_root=str(tmp_path))
    (problem,) = check.examine(config)
    item = loading.data.load_item(config, "001.png")
    with pytest.raises(UserError) as refusal:
        loading.prior_of(config, item)
    assert str(refusal.value) in problem and pathlib.Path(config.workdir).exists() is False
