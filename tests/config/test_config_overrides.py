"""Changing fields from text: types, misspelt names, values of the wrong kind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan2shape_jax.config import apply_overrides, flatten, load_config
from gan2shape_jax.errors import ConfigError


@pytest.mark.parametrize(
    "field, text, value",
    [
        ("schedule.use_mask", "true", True),
        ("schedule.use_mask", "False", False),
        ("gan.size", "128", 128),
        ("loss.lam_perc", "1", 1.0),
        ("loss.lam_perc", "1e-3", 1e-3),
        ("data.crop", "170", 170),
        ("data.crop", "None", None),
        ("workdir", "12", "12"),
        ("data.latent_root", "", ""),
        ("schedule.stages", "[[1,2,3]]", ((1, 2, 3),)),
        ("schedule.flip3", "(True,False)", (True, False)),
    ],
)
def test_override_takes_the_type_of_its_field(field, text, value):
    changed = flatten(apply_overrides(load_config("ictface"), {field: text}))[field]
    assert changed == value and type(changed) is type(value)


def test_override_changes_nothing_else_and_not_the_original():
    original = load_config("ictface")
    before = flatten(original)
    after = flatten(apply_overrides(original, {"gan.F1_d": "3"}))
    assert flatten(original) == before
    assert after == before | {"gan.F1_d": 3}


@pytest.mark.parametrize(
    "field, nearest",
    [
        ("schedule.use_msk", "schedule.use_mask"),
        ("use_mask", "schedule.use_mask"),
        ("data.images_root", "data.image_root"),
        ("optimizer.lr", "optimizer.learning_rate"),
        ("sampling.batchsize", "sampling.batch_size"),
    ],
)
def test_misspelt_field_names_the_nearest(field, nearest):
    with pytest.raises(ConfigError, match=f"nearest field is config.{nearest} "):
        apply_overrides(load_config("ictface"), {field: "1"})


@pytest.mark.parametrize(
    "field, text",
    [
        ("gan.size", "big"),
        ("gan.size", "1.5"),
        ("gan.size", "True"),
        ("gan.size", "None"),
        ("loss.lam_perc", "many"),
        ("loss.lam_perc", "nan"),
        ("schedule.use_mask", "2"),
        ("schedule.flip1", "True"),
        ("schedule.stages", "600"),
        ("data.crop", "half"),
    ],
)
def test_mistyped_value_is_refused(field, text):
    with pytest.raises(ConfigError, match=f"config.{field} is .*not '{text}'"):
        apply_overrides(load_config("ictface"), {field: text})


def test_group_of_fields_cannot_be_set():
    with pytest.raises(ConfigError, match="group of fields"):
        apply_overrides(load_config("ictface"), {"gan": "1"})


@settings(deadline=None)  # a loaded machine is no failure
@given(st.text(max_size=20), st.sampled_from(sorted(flatten(load_config("base")))))
def test_any_text_is_a_value_or_a_config_error(text, field):
    base = load_config("base")
    try:
        value = flatten(apply_overrides(base, {field: text}))[field]
    except ConfigError:
        return
    before = flatten(base)[field]
    assert type(value) is type(before) or field == "data.crop"
