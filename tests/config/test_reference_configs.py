"""Every bundled category config against the published settings, value by value (tests/reference_facts.py)."""

import pytest
from helpers.reference_facts import REFERENCE, stages

from gan2shape_jax.config import flatten, load_config
from gan2shape_jax.method.prior import ellipsoid
from gan2shape_jax.results.sweeps import max_yaw_deg

# The field of ours that each of the original's options means.
_FIELDS = {
    "checkpoint_dir": "workdir",
    "save_checkpoint_freq": "checkpoint.every_iterations",
    "keep_num_checkpoint": "checkpoint.keep",
    "use_logger": "logging.tensorboard",
    "log_freq": "logging.every_iterations",
    "joint_train": "schedule.joint",
    "independent": "schedule.independent",
    "reset_weight": "schedule.reset_weight",
    "share_weight": "schedule.share_weight",
    "use_mask": "schedule.use_mask",
    "image_size": "image_size",
    "category": "category",
    "crop": "data.crop",
    "img_list_path": "data.image_list",
    "img_root": "data.image_root",
    "latent_root": "data.latent_root",
    "min_depth": "camera.min_depth",
    "max_depth": "camera.max_depth",
    "rot_center_depth": "camera.rot_center_depth",
    "fov": "camera.fov_deg",
    "xyz_rotation_range": "camera.xyz_rotation_range_deg",
    "xy_translation_range": "camera.xy_translation_range",
    "z_translation_range": "camera.z_translation_range",
    "prior_near": "prior.near",
    "prior_far": "prior.far",
    "add_mean_L": "sampling.add_mean_L",
    "add_mean_V": "sampling.add_mean_V",
    "view_scale": "sampling.view_scale",
    "collect_iters": "sampling.collect_iters",
    "batchsize": "sampling.batch_size",
    "view_mvn_path": "sampling.view_mvn",
    "light_mvn_path": "sampling.light_mvn",
    "lr": "optimizer.learning_rate",
    "lam_perc": "loss.lam_perc",
    "lam_smooth": "loss.lam_smooth",
    "lam_regular": "loss.lam_regular",
    "relative_enc": "gan.relative_enc",
    "channel_multiplier": "gan.channel_multiplier",
    "gan_size": "gan.size",
    "F1_d": "gan.F1_d",
    "pretrain": "networks.pretrained",
}
# Options with a field of ours that says the same otherwise, looked at below.
_OTHERWISE = {
    "num_stage",
    "stage_len_dict",
    "stage_len_dict2",
    "flip1_cfg",
    "flip3_cfg",
    "load_gt_depth",
    "gan_ckpt",
    "rand_light",
}
# Options that the original's code does not read, or that mean nothing here (docs/how-to/migrating.md).
_WITHOUT = {"model_name", "save_results", "num_scale", "tex_cube_size"}
# What the original takes where these files say nothing.
_SILENT = {"crop": None, "pretrain": "", "view_scale": 1.0, "prior_near": 0.91, "prior_far": 1.02}


@pytest.mark.parametrize("name", REFERENCE)
def test_every_published_value_is_ours(name):
    facts = _SILENT | REFERENCE[name]
    values = flatten(load_config(name))
    assert facts.keys() == (_FIELDS.keys() | _OTHERWISE | _WITHOUT) & facts.keys(), "an option without a comparison"
    assert {option: values[field] for option, field in _FIELDS.items()} == {option: facts[option] for option in _FIELDS}


@pytest.mark.parametrize("name", REFERENCE)
def test_what_is_said_otherwise_comes_to_the_same(name):
    facts, values = REFERENCE[name], flatten(load_config(name))
    assert values["schedule.stages"] == stages(facts)
    assert list(values["schedule.flip1"]) == facts["flip1_cfg"]
    assert list(values["schedule.flip3"]) == facts["flip3_cfg"]
    assert list(values["sampling.rand_light"]) == facts["rand_light"]
    assert values["gan.checkpoint"] == facts["gan_ckpt"].replace(".pt", ".safetensors")
    depths = facts["img_root"].replace("image", "depth") if facts["load_gt_depth"] else ""
    assert values["data.depth_root"] == depths
    assert values["mode"] == ("joint" if facts["joint_train"] else "instance")


@pytest.mark.parametrize("name", REFERENCE)
def test_what_the_published_code_fixes_is_ours(name):
    """Widths, Adam and the latents' length: constants in gan2shape/model.py."""
    values = flatten(load_config(name))
    facts = {
        "gan.style_dim": 512,
        "gan.truncation": 1.0,
        "networks.width": 0,
        "networks.group_base": 0,
        "networks.zdim": 256,
        "networks.encoder_width": 32,
        "prior.iterations": 1000,
        "optimizer.beta1": 0.9,
        "optimizer.beta2": 0.999,
        "optimizer.weight_decay": 5e-4,
        "optimizer.eps": 1e-8,
        "loss.perceptual": "lpips",
    }
    assert {field: values[field] for field in facts} == facts


def test_horses_are_cars_with_another_gan_and_other_data():
    car, horse = flatten(load_config("car")), flatten(load_config("horse"))
    changed = {field for field in car if car[field] != horse[field]} - {"data.mask_root"}
    assert changed == {
        "workdir",
        "category",
        "gan.checkpoint",
        "gan.size",
        "data.image_list",
        "data.image_root",
        "data.latent_root",
    }
    assert horse["gan.size"] == 256  # stylegan2-horse-config-f, https://github.com/NVlabs/stylegan2


def test_horses_turn_and_start_as_cars_do():
    import numpy as np

    mask = np.zeros((64, 64), np.float32)
    mask[20:50, 10:60] = 1
    assert max_yaw_deg("horse") == max_yaw_deg("car") == 45
    np.testing.assert_array_equal(ellipsoid(mask, category="horse"), ellipsoid(mask, category="car"))
