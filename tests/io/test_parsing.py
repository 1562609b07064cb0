"""Masks of objects by scene parsers (parity, folding, labels, weight files) and by GrabCut, where they usually are."""

import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from helpers import reference_weights
from helpers.parity_record import LARGEST, largest, share_off

from gan2shape_jax.apps.convert.networks import perception
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import grabcut, parsing
from gan2shape_jax.io.categories import parsers

_TINY = parsing.ParserArchitecture("pspnet", 5, 2, (2, 1, 1, 1))


def _state(arch, seed=0):
    return {name: reference_weights.drawn(name, shape, seed) for name, shape in perception.torch_shapes(arch).items()}


def _params(arch, seed=0):
    return jax.tree.map(jnp.asarray, perception.params_from_torch(arch, _state(arch, seed)))


# The masks in the file, by category.
_MASKS = {"face": "mask_face", "synface": "mask_synface", "car": "mask_7", "cat": "mask_8", "church": "mask_1"}


_LOGIT_ERROR = 1e-3  # of the largest logit
_NAMES = {"bisenet": "BiSeNet", "pspnet_voc": "PSPNet (VOC)", "pspnet_ade20k": "PSPNet (ADE20K)"}


@pytest.mark.heavy
@pytest.mark.parametrize(
    "prefix, category, step", [("bisenet", "face", 8), ("pspnet_voc", "car", 16), ("pspnet_ade20k", "church", 16)]
)
def test_golden_parser(golden, parity, prefix, category, step):
    archive = golden("parsing.npz")
    parser = parsers()[category]
    names = [str(name) for name in archive[f"{prefix}/names"]]
    scores = archive[f"{prefix}/logits_every{step}"][0].transpose(1, 2, 0)
    arch = parsing.ParserArchitecture(
        parser.family, scores.shape[-1], blocks=(2, 2, 2, 2) if parser.family == "bisenet" else (3, 4, 6, 3)
    )
    assert parser.fits(arch)
    # Names and shapes are the original's: nothing is missing, and what is left over is of no use.
    wanted = perception.torch_shapes(arch)
    assert set(names) - set(wanted) == set(perception.ignored_names(dict.fromkeys(names))) - set(wanted)
    assert set(wanted) <= set(names)
    params = _params(arch, int(archive["seed"]))
    image = archive["image"].transpose(0, 2, 3, 1)

    @jax.jit
    def run(params, image):
        pictures = parsing.prepare(image, parser.side, normalize=parser.normalize)
        return parsing.logits(params, pictures, arch)[0]

    actual = np.asarray(run(params, image))
    name, file, observed = _NAMES[prefix], "parsing.npz", actual[::step, ::step]
    parity(f"{name}, logits", np.linalg.norm(observed - scores) / np.linalg.norm(scores), 1e-3, file)
    parity(
        f"{name}, largest logit error",
        largest(observed, scores) / np.abs(scores).max(),
        _LOGIT_ERROR,
        file,
        "of the largest logit",
    )
    labels, best = archive[f"{prefix}/labels"][0, 0], np.sort(actual, axis=-1)
    # Where the two best labels tie but for the error that logits may have, either is right.
    apart = best[..., -1] - best[..., -2] > 2 * _LOGIT_ERROR * np.abs(scores).max()
    assert apart.mean() > 0.9
    parity(f"{name}, labels", share_off((actual.argmax(-1) == labels)[apart]), 0, file, "share of pixels")
    for kind, key in _MASKS.items():
        if f"{prefix}/{key}" in archive:
            mask = parsing.mask_of_labels(labels.astype(np.uint8), parsers()[kind], image.shape[1])
            off = largest(mask, archive[f"{prefix}/{key}"][0, 0])
            parity(f"mask of a {kind} from {name}'s labels", off, 2e-3, file, LARGEST)


def test_face_masks_count_the_head_half_and_cloth_not_at_all():
    labels = np.arange(19, dtype=np.uint8).repeat(19).reshape(19, 19)
    mask = parsing.mask_of_labels(labels, parsers()["face"], 19)[:, 0]
    wanted = np.where(np.arange(19) <= 13, 1.0, 0.5)
    wanted[[0, 16]] = 0  # background, cloth
    np.testing.assert_array_equal(mask, wanted)
    plain = parsing.mask_of_labels(labels, parsers()["synface"], 19)[:, 0]
    np.testing.assert_array_equal(plain, (np.arange(19) >= 1) & (np.arange(19) <= 14))


def test_tensors_that_differ_are_listed_with_variances_that_are_negative():
    state = _state(_TINY)
    variance = next(name for name in state if name.endswith("running_var"))
    state[variance] = -np.ones_like(state[variance])
    state["stranger"] = np.zeros(3)
    with pytest.raises(UserError, match=f"unknown: stranger; with a negative variance: {variance}"):
        perception.params_from_torch(_TINY, state)


def _saved(path, arch, params, **changes):
    header = parsing.header_of(arch) | changes
    safetensors.numpy.save_file({k: np.asarray(v) for k, v in params.items()}, path, header)
    return path


def test_weight_files_are_read_back_and_others_refused(tmp_path):
    arch, path = _TINY, tmp_path / "parser.safetensors"
    params = _params(arch)
    actual, read = parsing.load_parser(_saved(path, arch, params))
    assert actual == arch
    chex.assert_trees_all_equal(dict(params), read)
    with pytest.raises(UserError, match="no such file; .*gan2shape-jax convert"):
        parsing.load_parser(tmp_path / "absent.safetensors")
    for changes, message in (
        ({"format": "other"}, "does not hold a parser"),
        ({"architecture": "{}"}, "does not describe a parser"),
        ({"architecture": "3"}, "does not describe a parser"),
        ({"architecture": json.dumps(dataclasses.asdict(arch) | {"classes": 6})}, "misshapen: .*output/bias"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            parsing.load_parser(_saved(path, arch, params, **changes))
        assert str(path) in str(caught.value)
    with pytest.raises(UserError, match="missing: stem0/kernel; unknown: stem9/kernel"):
        parsing.load_parser(_saved(path, arch, {k.replace("stem0/k", "stem9/k"): v for k, v in params.items()}))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="cannot be read"):
        parsing.load_parser(path)


_SIDE = 32


def _picture(centre, radius, seed=0):
    """A bright ball before a dark wall, both with grain; and its mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:_SIDE, :_SIDE]
    mask = np.hypot(y - centre[0], x - centre[1]) < radius
    grain = 0.05 * rng.normal(size=(_SIDE, _SIDE, 3))
    return np.clip(np.where(mask[..., None], [0.7, 0.4, 0.1], [-0.6, -0.5, -0.2]) + grain, -1, 1), mask


def _overlap(actual, mask):
    actual = actual > 0.5
    return (actual & mask).sum() / (actual | mask).sum()


def test_an_object_is_found_from_the_middle_whatever_was_found_before():
    middle, every = grabcut.middle(_SIDE), [_picture(centre, 9) for centre in ((16, 16), (13, 19))]
    masks = [grabcut.grabcut_mask(image, middle) for image, _ in every]
    for actual, (_, mask) in zip(masks, every, strict=True):
        assert actual.shape == (_SIDE, _SIDE) and actual.min() >= 0 and actual.max() <= 1
        assert _overlap(actual, mask) > 0.9
    np.testing.assert_array_equal(grabcut.grabcut_mask(every[0][0], middle), masks[0])


@pytest.mark.parametrize("image", [np.zeros((_SIDE, _SIDE, 3)), np.ones((_SIDE, _SIDE, 3))])
def test_a_plain_picture_has_the_mean_mask(image):
    usual = grabcut.middle(_SIDE)
    actual = grabcut.grabcut_mask(image, usual)
    assert 0.05 < actual.mean() < 0.97


@pytest.mark.parametrize("value", [0, 1])  # neither says where
def test_where_nothing_stands_out_the_object_is_where_it_usually_is(value):
    nothing = np.full_like(grabcut.middle(_SIDE), value)
    np.testing.assert_array_equal(grabcut.grabcut_mask(_picture((16, 16), 9)[0], nothing), nothing)


def test_where_objects_usually_are_is_learned_from_pictures():
    pictures = [_picture((12 + i % 3, 18 + i % 2), 8, seed=i) for i in range(4)]
    usual = grabcut.estimate_mean_mask(np.stack([image for image, _ in pictures]))
    mean = np.mean([mask for _, mask in pictures], axis=0)
    assert np.abs(usual - mean).mean() < 0.05
