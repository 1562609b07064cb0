"""A setting of `pipeline.npz`, which the published code has written: its configuration in this package's terms."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method.factors import ViewRange
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import NetworkSizes, Settings
from gan2shape_jax.method.state import Problem

TORCH_NAMES = {"depth": "netD", "albedo": "netA", "view": "netV", "light": "netL", "encoder": "netEnc"}


class Case(NamedTuple):
    """One setting of the golden file."""

    gold: dict
    settings: Settings
    params: dict
    frozen: FrozenModels
    problem: Problem
    flip1: bool
    flip3: bool


def nhwc(array):
    return jnp.asarray(np.moveaxis(array, 1, -1))


def settings_of(config, architecture):
    camera = Camera(
        image_size=int(config["image_size"]),
        fov_deg=float(config["fov"]),
        rot_center_depth=float(config["rot_center_depth"]),
        min_depth=float(config["min_depth"]),
        max_depth=float(config["max_depth"]),
    )
    scale = ViewRange(
        rotation_deg=float(config["xyz_rotation_range"]),
        xy=float(config["xy_translation_range"]),
        z=float(config["z_translation_range"]),
    )
    sizes = NetworkSizes(
        width=int(config["nf"]),
        group_base=int(config["gn_base"]),
        zdim=int(config["zdim"]),
        encoder_width=int(config["enc_nf"]),
    )
    return Settings(
        camera=camera,
        view_range=scale,
        networks=sizes,
        architecture=architecture,
        batch_size=int(config["batchsize"]),
        F1_d=int(config["F1_d"]),
        relative_enc=bool(config["relative_enc"]),
        use_mask=bool(config["use_mask"]),
        add_mean_V=bool(config["add_mean_V"]),
        add_mean_L=bool(config["add_mean_L"]),
        view_scale=float(config["view_scale"]),
        rand_light=tuple(map(float, config["rand_light"])),
        perceptual="discriminator",
        lam_perc=0.0,  # the file was made with the perceptual term zero
        lam_smooth=float(config["lam_smooth"]),
        lam_regular=float(config["lam_regular"]),
        learning_rate=1e-4,
        weight_decay=5e-4,
        beta1=0.9,
        beta2=0.999,
        eps=1e-8,
        collect_iters=1,
        crop=None,
        original_size=int(config["image_size"]),
        sampling="half",
        unit_normals=False,
        skip_first_batch=True,
    )
