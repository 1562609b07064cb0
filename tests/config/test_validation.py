"""Values that no run can use are refused in words."""

import warnings

import pytest

from gan2shape_jax.config import apply_overrides, load_config, schema
from gan2shape_jax.errors import ConfigError


@pytest.mark.parametrize(
    "overrides, message",
    [
        (
            {"schedule.flip1": "(True, False)", "schedule.flip3": "(False, False)"},
            "flip1 is on in stage 1 without flip3",
        ),
        ({"schedule.flip3": "(True,)"}, "schedule.flip3 .* each of the 2 stages"),
        ({"schedule.stages": "((1, 2),)"}, "triples"),
        ({"schedule.stages": "()"}, "triples"),
        ({"schedule.stages": "((1, 2, -3),)"}, "triples"),
        ({"sampling.rand_light": "(1, 2)"}, "seven numbers"),
        ({"sampling.rand_light": "(1, -1, 0, 1, 0, 1, 0)"}, "empty range .* of x"),
        ({"image_size": "96"}, "power of two"),
        ({"gan.size": "2048"}, "power of two"),
        ({"sampling.batch_size": "0"}, "from 1 to 4096"),
        ({"loss.lam_perc": "1e999"}, "is inf: it has to be from 0"),
        ({"optimizer.weight_decay": "-1"}, "is -1.0: it has to be from 0"),
        ({"camera.min_depth": "1.2"}, "less than config.camera.max_depth"),
        ({"prior.near": "1.1"}, "less than config.prior.far"),
        ({"prior.shape": "cube"}, "prior.shape is 'cube': it has to be one of ellipsoid"),
        ({"prior.shift": "1.5"}, "prior.shift is 1.5"),
        ({"prior.shift": "nan"}, "prior.shift is nan"),
        ({"loss.perceptual": "vgg"}, "discriminator, lpips"),
        ({"category": "My dog"}, "config.category is 'My dog'"),
        ({"mode": "joint"}, "set both alike"),
        ({"mode": "predict"}, "name the trained networks"),
        ({"data.crop": "0"}, "data.crop"),
        ({"networks.group_base": "7"}, "does not divide"),
        ({"gan.F1_d": "9"}, "F1_d"),
        ({"gan.truncation": "2"}, "truncation"),
        ({"workdir": ""}, "workdir is empty"),
        ({"runtime.images_at_once": "-1"}, "from 0 to 65536"),
        ({"runtime.images_at_once": "2", "schedule.reset_weight": "False"}, "starts from the one before it"),
        ({"runtime.precision": "float16"}, "float32, bfloat16"),
        ({"data.mask_source": "magic"}, "auto, file, alpha, parser"),
        ({"data.mask_source": "usual"}, "config.lift.usual_mask is empty"),
        ({"data.mask_source": "parser"}, "no parser finds objects of the category 'ictface'"),
        ({"mode": "lift", "lift.masks": "parser"}, "lift.masks is 'parser', but no parser finds"),
        ({"data.mask_source": "parser", "category": "car"}, "config.parsing.weights is empty"),
    ],
)
def test_values_no_run_can_use_are_refused(overrides, message):
    config = apply_overrides(load_config("ictface:scratch"), overrides)
    with pytest.raises(ConfigError, match=message):
        schema.validate(config)


def test_a_category_of_ones_own_is_taken_and_a_misspelt_one_is_asked_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema.validate(apply_overrides(load_config("ictface:scratch"), {"category": "dog"}))
    with pytest.warns(UserWarning, match="'cars', taken as a kind of your own: was 'car' meant"):
        schema.validate(apply_overrides(load_config("ictface:scratch"), {"category": "cars"}))


def test_more_flips_than_stages_are_ignored():
    config = apply_overrides(load_config("ictface:scratch"), {"schedule.stages": "((1, 1, 1),)"})
    assert schema.problems(config) == []
