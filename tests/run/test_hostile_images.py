"""A list of images whose files are made to do harm: each is a problem of its own image, and the others are read."""

import os
import warnings

import numpy as np
import pytest
from helpers import hostile_arrays, hostile_pictures
from helpers.tiny import SIZE, asset, tiny_config
from PIL import Image

from gan2shape_jax.config import load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.method import prior
from gan2shape_jax.run.check import examine

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")

_SIDE, _WIDTH = 64, 128  # of the images and masks, of the latents of the bundled GAN


def _save(array):
    return lambda path: np.save(path, array, allow_pickle=True)


_HONEST = {
    "image": lambda path: path.symlink_to(asset("ictface/image/001.png")),
    "mask": lambda path: path.symlink_to(asset("ictface/mask/001.png")),
    "latent": _save(np.zeros((1, _WIDTH))),
    "depth": _save(np.full((SIZE, SIZE), 1.0)),
}
_HARMFUL = {
    "image-eps": lambda path: path.write_bytes(hostile_pictures.EPS),
    "image-bomb": lambda path: path.write_bytes(hostile_pictures.black(60_000, 4)),
    "image-pipe": os.mkfifo,
    "mask-black": lambda path: Image.fromarray(np.zeros((_SIDE, _SIDE), np.uint8)).save(path),
    "mask-oblong": lambda path: Image.fromarray(np.full((9, 40), 255, np.uint8)).save(path),
    "mask-pdf": lambda path: path.write_bytes(b"%PDF-1.7"),
    "latent-archive": lambda path: path.write_bytes(hostile_arrays.npz({"a.npy": hostile_arrays.npy(np.zeros(9))})),
    "latent-wide": _save(np.zeros((1, _WIDTH + 1))),
    "latent-unknown": _save(np.full((1, _WIDTH), np.nan)),
    "latent-objects": _save(np.full((1, _WIDTH), None)),
    "latent-announced": lambda path: path.write_bytes(hostile_arrays.announced("(1, 1000000, 1000000)")),
    "latent-layers": _save(np.zeros((1, 3, _WIDTH))),
    "depth-negative": _save(np.full((SIZE, SIZE), -1.0)),
    "depth-complex": _save(np.ones((SIZE, SIZE), complex)),
    "depth-other": _save(np.ones((9, 9))),
}


def test_each_is_a_problem_of_its_image_and_the_check_goes_on(tmp_path):
    for kind, honest in _HONEST.items():
        (tmp_path / kind).mkdir()
        for name in (*_HARMFUL, "honest"):
            make = _HARMFUL[name] if name.startswith(f"{kind}-") else honest
            make(tmp_path / kind / f"{name}{'.png' if kind in ('image', 'mask') else '.npy'}")
    roots = {f"data__{kind}_root": str(tmp_path / kind) for kind in _HONEST}
    config = tiny_config(tmp_path, names=[f"{name}.png" for name in (*_HARMFUL, "honest")], **roots)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problems = "\n".join(examine(config))
    assert [name for name in _HARMFUL if name not in problems] == []
    assert "honest" not in problems


@pytest.mark.parametrize("shape", prior.SHAPES)
def test_any_mask_gives_a_finite_prior_or_an_error_in_words(shape):
    empty = np.zeros((_SIDE, _SIDE), np.float32)
    masks = [np.full_like(empty, value) for value in (0, 1e-30, 0.699, 0.7, 0.70001, 1)]
    for size in (1, 2, 10, 63):
        for place in (0, _SIDE - size, (_SIDE - size) // 2):
            for height in (1, size):
                mask = empty.copy()
                mask[place : place + height, place : place + size] = 1
                masks += [mask, mask.T * np.float32(0.7)]
    masks += [np.random.default_rng(0).random((_SIDE, _SIDE)).astype(np.float32)]
    config = load_config("ictface:scratch").unlock()
    config.prior.shape = shape
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for index, mask in enumerate(masks):
            config.category = ("face", "car", "cat", "church")[index % 4]
            try:
                depth = prior.prior_depth(config, mask)
            except UserError as error:
                assert "mask" in str(error)
            else:
                assert np.isfinite(depth).all()
