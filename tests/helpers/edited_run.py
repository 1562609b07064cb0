"""A run with one result for the tests of editing: untrained networks, as a run keeps them, a made-up shape."""

import pathlib

import jax
import numpy as np

from gan2shape_jax.method import models
from gan2shape_jax.plan.identity import identity_of
from gan2shape_jax.results import save_result
from gan2shape_jax.run.folder import RunFolder
from gan2shape_jax.training import network_files
from helpers.plain_result import plain_result
from helpers.tiny import asset, images_of, tiny_config

SIZE = 32  # below the GAN's 64 pixels, so that the two sizes are told apart
OVER_GAN = 64


def write_run(folder: pathlib.Path, **fields) -> pathlib.Path:
    """A run's folder with one result: untrained networks, a made-up shape; returns the result's folder."""
    gan = {"gan__checkpoint": asset("ictface/gan.safetensors"), "gan__size": OVER_GAN}
    config = tiny_config(folder, data__depth_root="", schedule__use_mask=True, **gan | fields)
    run = RunFolder.at(config)
    run.describe(config, identity_of(config))
    ((prepared,), _) = images_of(config)
    example = prepared.example
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) * 2 - 1
    depth = (1.05 - 0.08 * np.clip(1 - (x - 0.1) ** 2 - y**2, 0, None)).astype(np.float32)
    reference = dict.fromkeys(
        ("signed_image", "signed_albedo", "canonical", "reconstruction"), np.asarray(example.image[0])
    )
    reference |= {"depth": depth, "input_depth": depth, "mask": np.where(depth < 1.04, 0.9, 0.1)}
    reference |= {"view": np.array([0.02, -0.2, 0.01, 0.001, 0, 0]), "light": np.array([0.4, 0.6, 0.3, -0.2])}
    reference["original_size"] = 0 if config.data.crop is None else prepared.settings.original_size
    reference |= {"input_mask": example.mask, "gan_image": example.gan_image[0], "category": "face"}
    save_result(plain_result("001", SIZE, **reference | {"camera": prepared.settings.camera}), run.result("001"))
    params = models.init_params(jax.random.key(3), prepared.settings)
    (run.result("001") / "networks.safetensors").write_bytes(network_files.networks_bytes(params, small=True))
    return run.result("001")
