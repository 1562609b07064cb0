"""The bundled configurations: their values, how they are named, changed, documented, refused."""

import ast
import itertools
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan2shape_jax import config as configs
from gan2shape_jax import validation
from gan2shape_jax.config import ConfigError, apply_overrides, flatten, load_config

_ROOT = pathlib.Path(__file__).parent.parent
_FACE_LIGHT = (-0.9, 0.9, -0.3, 0.8, -0.1, 0.7, -0.4)
_LIGHT = (-1, 1, -0.2, 0.8, -0.1, 0.6, -0.6)
_JOINT = {"schedule.joint": True, "schedule.reset_weight": False, "mode": "joint"}
_JOINT |= {
    "schedule.independent": True,
    "schedule.share_weight": True,
    "sampling.collect_iters": 800,
}
_JOINT |= {"networks.pretrained": "", "sampling.batch_size": 8, "gan.relative_enc": True}

# What the published YAML files say, by our names; stages as (first lengths, later lengths, count).
_PUBLISHED = {
    "car": {
        "stages": ((700, 700, 600), (200, 500, 400), 4),
        "category": "car",
        "gan.size": 512,
        "gan.channel_multiplier": 2,
        "gan.F1_d": 2,
        "gan.relative_enc": False,
        "sampling.batch_size": 8,
        "sampling.view_scale": 1.0,
        "sampling.view_mvn": "checkpoints/view_light/view_mvn.pth",
        "schedule.use_mask": True,
        "schedule.independent": False,
        "schedule.share_weight": True,
        "gan.checkpoint": "checkpoints/stylegan2/stylegan2-car-config-f.safetensors",
        "data.image_list": "data/car/list.txt",
        "prior.far": 1.02,
        "networks.pretrained": "",
        "checkpoint.keep": 2,
    },
    "church": {
        "stages": ((700, 700, 600), (200, 500, 400), 4),
        "category": "church",
        "gan.size": 256,
        "gan.channel_multiplier": 2,
        "gan.F1_d": 2,
        "gan.relative_enc": False,
        "sampling.batch_size": 8,
        "schedule.use_mask": True,
        "schedule.independent": False,
        "gan.checkpoint": "checkpoints/stylegan2/stylegan2-church-config-f.safetensors",
        "data.image_root": "data/church",
        "prior.near": 0.91,
        "prior.far": 1.0,
    },
    "cat": {
        "stages": ((600, 600, 400), (200, 500, 300), 4),
        "flip3": (True, False, False, False),
        "category": "cat",
        "data.crop": 170,
        "data.image_list": "data/cat/list_200-215.txt",
        "gan.size": 256,
        "gan.channel_multiplier": 1,
        "gan.F1_d": 2,
        "gan.relative_enc": True,
        "sampling.batch_size": 16,
        "sampling.view_scale": 1.2,
        "schedule.share_weight": True,
        "networks.pretrained": "checkpoints/gan2shape/cat_pretrain.pth",
        "gan.checkpoint": "checkpoints/stylegan2/stylegan2-catface-config-e.safetensors",
        "sampling.light_mvn": "checkpoints/view_light/cat_light_mvn.pth",
        "checkpoint.keep": 1,
    },
    "celeba": {
        "stages": ((600, 600, 400), (200, 500, 300), 4),
        "flip3": (True, False, False, False),
        "category": "face",
        "data.crop": None,
        "data.image_list": "data/celeba/list_200-399.txt",
        "gan.size": 128,
        "gan.channel_multiplier": 1,
        "gan.F1_d": 2,
        "gan.relative_enc": True,
        "sampling.batch_size": 16,
        "sampling.view_scale": 1.2,
        "schedule.share_weight": False,
        "networks.pretrained": "checkpoints/gan2shape/celeba_pretrain.pth",
        "gan.checkpoint": "checkpoints/stylegan2/stylegan2-celeba-config-e.safetensors",
        "checkpoint.keep": 1,
    },
    "synface": {
        "stages": ((500, 500, 200), None, 1),
        "flip3": (True,),
        "category": "synface",
        "image_size": 64,
        "data.crop": 170,
        "data.depth_root": "data/synface/test/depth",
        "gan.size": 128,
        "gan.channel_multiplier": 1,
        "gan.F1_d": 8,
        "gan.relative_enc": True,
        "sampling.batch_size": 16,
        "sampling.view_scale": 1.2,
        "sampling.rand_light": _FACE_LIGHT,
        "networks.pretrained": "checkpoints/gan2shape/synface_pretrain.pth",
    },
    "celeba_pretrain": _JOINT
    | {
        "stages": ((1500, 1500, 1500), (700, 1000, 1000), 4),
        "flip1": (False, True, True, True),
        "flip3": (True,) * 4,
        "category": "face",
        "gan.size": 128,
        "data.image_list": "data/celeba/list_0-199.txt",
    },
    "cat_pretrain": _JOINT
    | {
        "stages": ((1500, 1500, 1500), (700, 1000, 1000), 4),
        "flip1": (False, True, True, True),
        "flip3": (True,) * 4,
        "category": "cat",
        "gan.size": 256,
        "data.crop": 170,
        "data.image_list": "data/cat/list_0-199.txt",
    },
    "synface_pretrain": _JOINT
    | {
        "stages": ((1500, 1500, 1500), (700, 1000, 1000), 8),
        "flip1": (False, *(True,) * 7),
        "flip3": (True,) * 8,
        "category": "synface",
        "image_size": 64,
        "gan.F1_d": 8,
        "data.crop": 170,
        "data.image_list": "data/synface/train/list_200.txt",
        "sampling.rand_light": _FACE_LIGHT,
        "sampling.collect_iters": 1000,
        "sampling.batch_size": 12,
        "checkpoint.keep": 10,
    },
}
# The same in all of them, unless a table above says otherwise.
_COMMON = {
    "image_size": 128,
    "camera.fov_deg": 10,
    "camera.min_depth": 0.9,
    "camera.max_depth": 1.1,
    "camera.rot_center_depth": 1.0,
    "camera.xyz_rotation_range_deg": 60,
    "camera.xy_translation_range": 0.1,
    "camera.z_translation_range": 0,
    "gan.style_dim": 512,
    "gan.truncation": 1,
    "loss.lam_perc": 0.5,
    "loss.lam_smooth": 0.01,
    "loss.lam_regular": 0.01,
    "loss.perceptual": "lpips",
    "optimizer.learning_rate": 1e-4,
    "optimizer.weight_decay": 5e-4,
    "optimizer.beta1": 0.9,
    "optimizer.beta2": 0.999,
    "optimizer.eps": 1e-8,
    "prior.near": 0.91,
    "prior.iterations": 1000,
    "sampling.collect_iters": 100,
    "sampling.add_mean_V": True,
    "sampling.add_mean_L": True,
    "sampling.rand_light": _LIGHT,
    "schedule.use_mask": False,
    "schedule.reset_weight": True,
    "schedule.joint": False,
    "schedule.independent": True,
    "networks.zdim": 256,
    "networks.encoder_width": 32,
    "reference": False,
}


@pytest.mark.parametrize("name", _PUBLISHED)
def test_config_says_what_the_published_one_says(name):
    facts = _COMMON | _PUBLISHED[name]
    first, later, count = facts.pop("stages")
    facts["schedule.stages"] = (first, *[later] * (count - 1))
    facts["schedule.flip1"] = facts.pop("flip1", (False,) * count)
    facts["schedule.flip3"] = facts.pop("flip3", (False,) * count)
    values = flatten(load_config(name))
    assert {key: values[key] for key in facts} == facts


def test_ictface_has_the_schedule_of_the_published_figures():
    values = flatten(load_config("ictface"))
    facts = {
        "image_size": 64,
        "networks.width": 32,
        "networks.group_base": 8,
        "networks.zdim": 256,
        "networks.encoder_width": 32,
        "sampling.batch_size": 8,
        "sampling.collect_iters": 100,
        "sampling.view_scale": 1.2,
        "sampling.rand_light": _FACE_LIGHT,
        "loss.perceptual": "discriminator",
        "loss.lam_perc": 0.5,
        "gan.relative_enc": True,
        "gan.F1_d": 8,
        "schedule.stages": ((600, 600, 400), (200, 500, 300)),
        "schedule.flip1": (False, False),
        "schedule.flip3": (True, False),
        "schedule.use_mask": False,
    }
    assert {key: values[key] for key in facts} == facts


def test_all_named_configs_are_known_valid_and_tested():
    assert set(configs.names()) == {*_PUBLISHED, "ictface"}
    for name in [*configs.names(), "ictface:quick", "ictface:joint", "ictface:predict"]:
        assert validation.problems(load_config(name)) == [], name


def test_every_field_is_documented_and_nothing_else():
    described = configs.describe_fields()
    assert described.keys() == flatten(load_config("base")).keys()
    assert [field for field, text in described.items() if len(text) < 10] == []


def test_category_configs_add_no_field():
    fields = flatten(load_config("base")).keys()
    for name in configs.names():
        assert flatten(load_config(name)).keys() == fields, name


@pytest.mark.parametrize(
    "spec", ["configs/ictface.py:quick", "ictface:quick", str(_ROOT / "configs/ictface.py:quick")]
)
def test_ways_to_name_a_config_agree_in_any_folder(spec, tmp_path, monkeypatch):
    expected = flatten(load_config("ictface:quick"))
    monkeypatch.chdir(tmp_path)
    assert flatten(load_config(spec)) == expected
    assert expected["schedule.stages"] == ((60, 60, 40),)


def test_bundled_assets_exist_wherever_the_program_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config("ictface")
    names = pathlib.Path(config.data.image_list).read_text().split()
    assert len(names) == 6 and names[:3] == ["001.png", "005.png", "006.png"]
    for name, (root, ending) in itertools.product(
        names, [("image", ".png"), ("mask", ".png"), ("depth", ".npy"), ("latent", ".pt")]
    ):
        assert (pathlib.Path(config.data[f"{root}_root"]) / name).with_suffix(ending).is_file()


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


@given(st.text(max_size=20), st.sampled_from(sorted(flatten(load_config("base")))))
def test_any_text_is_a_value_or_a_config_error(text, field):
    base = load_config("base")
    try:
        value = flatten(apply_overrides(base, {field: text}))[field]
    except ConfigError:
        return
    before = flatten(base)[field]
    assert type(value) is type(before) or field == "data.crop"


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
        ({"sampling.batch_size": "0"}, "more than 0"),
        ({"loss.lam_perc": "1e999"}, "finite"),
        ({"optimizer.weight_decay": "-1"}, "negative"),
        ({"camera.min_depth": "1.2"}, "less than config.camera.max_depth"),
        ({"prior.near": "1.1"}, "less than config.prior.far"),
        ({"loss.perceptual": "vgg"}, "discriminator, lpips"),
        ({"category": "dog"}, "config.category is 'dog'"),
        ({"mode": "joint"}, "set both alike"),
        ({"mode": "predict"}, "name the trained networks"),
        ({"data.crop": "0"}, "data.crop"),
        ({"networks.group_base": "7"}, "does not divide"),
        ({"gan.F1_d": "9"}, "F1_d"),
        ({"gan.truncation": "2"}, "truncation"),
        ({"workdir": ""}, "workdir is empty"),
    ],
)
def test_values_no_run_can_use_are_refused(overrides, message):
    config = apply_overrides(load_config("ictface"), overrides)
    with pytest.raises(ConfigError, match=message):
        validation.validate(config)


def test_more_flips_than_stages_are_ignored():
    config = apply_overrides(load_config("ictface"), {"schedule.stages": "((1, 1, 1),)"})
    assert validation.problems(config) == []


@pytest.mark.parametrize(
    "spec, message",
    [
        ("ictfac", "did you mean ictface"),
        ("ictface:quik", "no variant 'quik' .it has quick"),
        ("car:quick", "it has none"),
        ("no/such.py", "no config file no/such.py"),
        ("../gan2shape_jax/errors", "there is no config"),
    ],
)
def test_unknown_config_is_an_error_with_a_hint(spec, message):
    with pytest.raises(ConfigError, match=message):
        load_config(spec)


@pytest.mark.parametrize(
    "text, message",
    [
        ("1 / 0", "does not run: ZeroDivisionError"),
        ("get_config = (", "does not run: SyntaxError"),
        ("a = 1", "no function get_config"),
        ("def get_config():\n    return {}", "no ml_collections.ConfigDict"),
    ],
)
def test_broken_config_file_is_a_config_error(text, message, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(str(path))


def test_configs_are_locked_and_json_is_stable():
    config = load_config("ictface")
    with pytest.raises(AttributeError):
        config.no_such_field = 1
    assert configs.to_json(config) == configs.to_json(load_config("configs/ictface.py"))


def test_packaging_lists_every_package():
    import configparser

    setup = configparser.ConfigParser()
    setup.read(_ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    there = set()
    for top, prefix in (
        ("gan2shape_jax", ""),
        ("configs", "gan2shape_jax."),
        ("tools", "gan2shape_jax."),
    ):
        folders = {path.parent.relative_to(_ROOT) for path in (_ROOT / top).rglob("*.py")}
        there |= {prefix + ".".join(folder.parts) for folder in folders}
    assert listed == there


def test_tools_import_only_what_an_installed_wheel_has():
    for path in (_ROOT / "tools").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not [name for name in names if name.split(".")[0] in ("tools", "configs")], path
