"""What `--check` accepts a run accepts, and the other way round."""

import dataclasses
import functools
import pathlib

import numpy as np
import pytest
from helpers.tiny import tiny_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.config.validation import gan_problems, validate
from gan2shape_jax.errors import UserError
from gan2shape_jax.run import check, joint, prepare
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import shared

_CHANNELS = (96, 96, 64, 48, 24)
_GAN = Architecture(size=64, style_dim=128, mapping_layers=8, channels=_CHANNELS, discriminator_channels=_CHANNELS)


def _with_width(multiplier: int) -> Architecture:
    return dataclasses.replace(_GAN, channels=(512, 512, 512, 512, 256 * multiplier))


def test_a_gan_that_the_configuration_does_not_describe_is_named():
    assert gan_problems(load_config("ictface"), _GAN) == []
    for field, value, message in (
        ("gan.size", "128", "size 64, but config.gan.size is 128"),
        ("gan.style_dim", "512", "style_dim 128, but config.gan.style_dim is 512"),
        ("gan.channel_multiplier", "1", "24 channels at 64 pixels"),
    ):
        problems = gan_problems(apply_overrides(load_config("ictface"), {field: value}), _GAN)
        assert any(message in problem for problem in problems), field
    (problem,) = gan_problems(load_config("ictface"), dataclasses.replace(_GAN, mapping_layers=4))
    assert "only 4 layers" in problem


def _run_takes_the_gan(config) -> bool:
    """Whether a run gets past its configuration and its GAN, as `main` and `experiment` ask for them."""
    try:
        validate(config)
        prepare.load_gan(config)
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
    fields = {"gan__checkpoint": "absent", "data__latent_root": "", "networks__pretrained": str(path)}
    (problem,) = check.examine(tiny_config(tmp_path, mode="predict", **fields))
    assert str(path) in problem


def test_a_latent_of_other_layers_and_a_mask_that_no_prior_fits_are_named(tmp_path):
    np.save(tmp_path / "001.npy", np.zeros((1, 4, 128), np.float32))
    config = tiny_config(tmp_path, data__latent_root=str(tmp_path))
    assert ["has 4 layers: this generator takes 10" in problem for problem in check.examine(config)] == [True]
    Image.fromarray(np.pad(np.full((1, 1), 255, np.uint8), ((0, 63), (0, 63)))).save(tmp_path / "001.png")
    config = tiny_config(tmp_path, data__mask_root=str(tmp_path))
    (problem,) = check.examine(config)
    refusal = _refusal(lambda: prepare.prior_of(config, prepare.data.load_item(config, "001.png")))
    assert refusal in problem and not pathlib.Path(config.workdir).exists()


def _refusal(action) -> str:
    with pytest.raises(UserError) as refusal:
        action()
    return str(refusal.value)


_JOINT = {"mode": "joint", "schedule__joint": True, "names": ("001.png", "005.png", "006.png")}


@pytest.mark.parametrize("crop", [None, 48])
def test_sizes_that_one_joint_run_cannot_crop_together_are_told_as_the_run_tells_them(crop, tmp_path):
    for name in _JOINT["names"]:
        with Image.open(f"{load_config('ictface').data.image_root}/{name}") as picture:
            picture.resize((80, 80) if name == "006.png" else picture.size).save(tmp_path / name)
    config = tiny_config(tmp_path, data__image_root=str(tmp_path), data__crop=crop, sampling__collect_iters=3, **_JOINT)
    refusal = _refusal(lambda: shared.require_one_size({"001": 64, "005": 64, "006": 80}))
    assert check.examine(config) == ([refusal] if crop else [])


def test_a_joint_run_that_its_list_or_folder_does_not_allow_is_told_as_the_run_tells_it(tmp_path):
    for fields, message in (
        ({"schedule__batches_per_iteration": 4}, "4 batches an iteration need as many images"),
        ({"sampling__collect_iters": 2}, "give at least 3"),
    ):
        config = tiny_config(tmp_path, **_JOINT, **({"sampling__collect_iters": 3} | fields))
        (problem,) = check.examine(config)
        assert message in problem
        assert problem == _refusal(functools.partial(joint.require_startable, config, list(_JOINT["names"])))
    config = tiny_config(tmp_path, **_JOINT, sampling__collect_iters=3)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "images.txt").write_text("other.png\n")
    assert ["holds a joint run on the images" in problem for problem in check.examine(config)] == [True]
    (tmp_path / "run" / "images.txt").unlink()
    (tmp_path / "run" / "joint.json").write_text("{")
    assert check.examine(config) == []  # the run writes it again
