"""The bundled configurations' values: what the published settings say, and that all are valid."""

import pathlib
import zlib

import pytest

from gan2shape_jax import config as configs
from gan2shape_jax.config import flatten, load_config, validation

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


def test_from_scratch_ictface_has_the_schedule_of_the_published_figures():
    values = flatten(load_config("ictface:scratch"))
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
    assert set(configs.names()) == {*_PUBLISHED, "ablation", "catface", "ictface", "horse", "own"}
    for name in [*configs.names(), "ictface:scratch", "ictface:quick", "ictface:joint", "ictface:predict"]:
        assert validation.problems(load_config(name)) == [], name


def test_the_bundled_faces_begin_with_the_bundled_model_unless_told_otherwise():
    default, scratch = flatten(load_config("ictface")), flatten(load_config("ictface:scratch"))
    differing = {field for field in default if default[field] != scratch[field]}
    assert differing == {"networks.pretrained", "workdir"} and scratch["networks.pretrained"] == ""
    model = pathlib.Path(default["networks.pretrained"])
    assert load_config("ictface:predict").networks.pretrained == str(model)
    assert not any(load_config(f"ictface:{name}").networks.pretrained for name in ("quick", "joint", "lift"))
    assert len(zlib.compress(model.read_bytes())) < 25e6  # of a wheel
