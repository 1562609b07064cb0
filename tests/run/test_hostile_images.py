"""A list of images whose files are made to do harm: each is a problem of its own image, and the others are read."""

import os
import warnings

import numpy as np
import pytest
from helpers import hostile_arrays, hostile_pictures
from helpers.tiny import asset, tiny_config
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.method import prior
from gan2shape_jax.run.check import examine

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")

_SIDE, _WIDTH = 64, 128  # of the images, of the latents of the bundled GAN
_FACE = asset("ictface/image/001.png")
_MASK = asset("ictface/mask/001.png")


def _picture(path, pixels) -> None:
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, "PNG")


_IMAGES = {
    "eps": lambda path: path.write_bytes(hostile_pictures.EPS),
    "bomb": lambda path: path.write_bytes(hostile_pictures.black(60_000, 4)),
    "text": lambda path: path.write_text("x"),
}
_MASKS = {
    "black": lambda path: _picture(path, np.zeros((_SIDE, _SIDE))),
    "dot": lambda path: _picture(path, np.pad([[255]], ((9, 54), (9, 54)))),
    "line": lambda path: _picture(path, np.pad(np.full((40, 1), 255), ((9, 15), (9, 54)))),
    "oblong": lambda path: _picture(path, np.full((9, 40), 255)),
    "pdf": lambda path: path.write_bytes(b"%PDF-1.7"),
    "zeros": lambda path: path.write_bytes(bytes(99)),
}
_LATENTS = {
    "archive": lambda path: path.write_bytes(hostile_arrays.npz({"latent.npy": hostile_arrays.npy(np.zeros(_WIDTH))})),
    "wide": lambda path: np.save(path, np.zeros((1, _WIDTH + 1))),
    "huge": lambda path: np.save(path, np.full((1, _WIDTH), 1e38)),
    "unknown": lambda path: np.save(path, np.full((1, _WIDTH), np.nan)),
    "words": lambda path: np.save(path, np.full((1, _WIDTH), "a")),
    "objects": lambda path: np.save(path, np.full((1, _WIDTH), None), allow_pickle=True),
    "announced": lambda path: path.write_bytes(hostile_arrays.announced("(1, 1000000, 1000000)")),
    "layers": lambda path: np.save(path, np.zeros((1, 3, _WIDTH))),
}
_DEPTHS = {
    "negative": lambda path: np.save(path, np.full((_SIDE, _SIDE), -1.0)),
    "infinite": lambda path: np.save(path, np.full((_SIDE, _SIDE), np.inf)),
    "complex": lambda path: np.save(path, np.ones((_SIDE, _SIDE), complex)),
    "other": lambda path: np.save(path, np.ones((9, 9))),
    "one": lambda path: np.save(path, np.ones(())),
}


def _folders(tmp_path) -> tuple[dict[str, str], dict[str, str]]:
    """Makes honest files for every image but one each; returns the folders, and the kind of file that is not honest."""
    kinds = {
        "image": (".png", _IMAGES),
        "mask": (".png", _MASKS),
        "latent": (".npy", _LATENTS),
        "depth": (".npy", _DEPTHS),
    }
    names = {f"{kind}-{name}": kind for kind, (_, makers) in kinds.items() for name in makers} | {"honest": ""}
    roots = {}
    for kind, (ending, makers) in kinds.items():
        root = tmp_path / kind
        root.mkdir()
        roots[kind] = str(root)
        for name, wrong in names.items():
            path = root / f"{name}{ending}"
            if wrong == kind:
                makers[name.split("-")[1]](path)
            elif kind in ("image", "mask"):
                path.symlink_to(_FACE if kind == "image" else _MASK)
            else:
                np.save(path, np.zeros((1, _WIDTH)) if kind == "latent" else np.full((_SIDE, _SIDE), 1.0))
    return roots, names


@pytest.fixture
def config(tmp_path):
    roots, names = _folders(tmp_path)
    config = tiny_config(
        tmp_path,
        names=[f"{name}.png" for name in names],
        data__image_root=roots["image"],
        data__mask_root=roots["mask"],
        data__latent_root=roots["latent"],
        data__depth_root=roots["depth"],
    )
    return config, names


def test_each_is_a_problem_of_its_image_and_the_check_goes_on(config):
    config, names = config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problems = examine(config)
    told = "\n".join(problems)
    assert [name for name in names if name != "honest" and name not in told] == []
    assert "honest" not in told


@pytest.mark.parametrize("shape", prior.SHAPES)
@pytest.mark.parametrize("category", ["face", "car", "cat", "church"])
def test_any_mask_gives_a_finite_prior_or_an_error_in_words(shape, category):
    draw = np.random.default_rng(0)
    empty = np.zeros((_SIDE, _SIDE), np.float32)
    masks = [np.full_like(empty, value) for value in (0, 1e-30, 0.699, 0.7, 0.70001, 1)]
    for size in (1, 2, 3, 10, 63):
        for place in (0, _SIDE - size, (_SIDE - size) // 2):
            for height in (1, size):
                mask = empty.copy()
                mask[place : place + height, place : place + size] = 1
                masks += [mask, mask.T * np.float32(0.7)]
    masks += [draw.random((_SIDE, _SIDE)).astype(np.float32), np.indices((_SIDE, _SIDE)).sum(0) % 2 * np.float32(1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for mask in masks:
            try:
                depths = {"near": 0.91, "far": 1.02, "middle": 1.0, "least": 0.9}
                depth = prior.prior_depth(mask, shape=shape, category=category, shift=0.0, pixel=0.0028, **depths)
            except UserError as error:
                assert "mask" in str(error)
            else:
                assert np.isfinite(depth).all()
