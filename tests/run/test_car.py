"""`configs/car.py` at its real size with random weights in the converted formats: every step, twice.

Slow (minutes, about 10 GiB): `pytest -m slow`.
"""

import json
import pathlib

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image, ImageDraw

from gan2shape_jax import stylegan2
from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.method import perceptual
from gan2shape_jax.run import experiment
from gan2shape_jax.stylegan2 import Architecture

# config-f at 512 pixels with channel multiplier 2 (Karras et al., 2020), 4 to 512 pixels.
_CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64)


def _write_weights(folder: pathlib.Path) -> None:
    arch = Architecture(size=512, style_dim=512, mapping_layers=8, channels=_CHANNELS, discriminator_channels=_CHANNELS)
    stylegan2.save(folder / "gan.safetensors", arch, stylegan2.init_params(jax.random.key(0), arch))
    rng = np.random.default_rng(0)
    state = {
        name: (rng.standard_normal(shape) * np.sqrt(2 / max(np.prod(shape[1:]), 1))).astype(np.float32)
        for name, shape in perceptual.torch_shapes().items()
    }
    state["scaling_layer.scale"] = np.full_like(state["scaling_layer.scale"], 0.45)
    safetensors.numpy.save_file(perceptual.lpips_from_torch(state), folder / "lpips.safetensors")


def _write_data(folder: pathlib.Path) -> None:
    rng = np.random.default_rng(1)
    (folder / "list.txt").write_text("a.png\n")
    Image.fromarray(rng.integers(0, 255, (512, 512, 3), np.uint8)).save(folder / "a.png")
    (folder / "masks").mkdir()
    mask = Image.new("L", (512, 512))
    ImageDraw.Draw(mask).ellipse((60, 150, 450, 360), fill=255)
    mask.save(folder / "masks" / "a.png")
    (folder / "latents").mkdir()
    np.save(folder / "latents" / "a.npy", rng.standard_normal((1, 512)).astype(np.float32) * 0.1)
    np.savez(folder / "view.npz", mean=np.zeros(6), cov=np.eye(6) * 0.01)
    np.savez(folder / "light.npz", mean=np.zeros(4), cov=np.eye(4) * 0.01)


@pytest.mark.slow
def test_car_runs_every_step_at_its_real_size(tmp_path):
    _write_weights(tmp_path)
    _write_data(tmp_path)
    given = {"workdir": "run", "data.image_list": "list.txt", "data.image_root": "", "data.mask_root": "masks"}
    given |= {"data.latent_root": "latents", "gan.checkpoint": "gan.safetensors"}
    given |= {"loss.lpips_weights": "lpips.safetensors"}
    given |= {"sampling.view_mvn": "view.npz", "sampling.light_mvn": "light.npz"}
    given = {field: str(tmp_path / path) for field, path in given.items()}
    given |= {"prior.iterations": "2", "sampling.collect_iters": "2", "schedule.stages": str(4 * ((2, 2, 2),))}
    given |= {"logging.every_iterations": "1", "outputs.turntable_frames": "4"}
    config = apply_overrides(load_config("car"), given)
    assert (config.image_size, config.gan.size, config.gan.channel_multiplier) == (128, 512, 2)
    assert experiment.run(config) == 0
    result = tmp_path / "run" / "results" / "a"
    assert np.load(result / "depth.npy").shape == (128, 128)
    assert np.isfinite(np.load(result / "depth.npy")).all()
    assert (result / "mesh.glb").stat().st_size > 0 and (result / "turntable_gan.png").stat().st_size > 0
    assert set(json.loads((result / "metrics.json").read_text())) == {"reconstruction_l1", "inversion_l1"}
    steps = [(row.split(",")[1], row.split(",")[2]) for row in (result / "history.csv").read_text().splitlines()[1:]]
    assert {("0", "prior"), *((str(s), f"step{k}") for s in (1, 2, 3, 4) for k in (1, 2, 3))} == set(steps)
