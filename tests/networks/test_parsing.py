"""Masks of objects by scene parsers (parity, folding, labels, weight files)."""

import dataclasses
import json

import chex
import jax
import numpy as np
import pytest
import safetensors.numpy
from helpers import reference_weights
from helpers.parity_record import LARGEST, largest, share_off

from gan2shape_jax.apps.convert import networks
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.categories import parsers
from gan2shape_jax.io.data import PARSER_FORMAT, load_parser
from gan2shape_jax.networks import parsing

_TINY = parsing.ParserArchitecture("pspnet", 5, 2, (2, 1, 1, 1))


def _state(arch, seed=0):
    return {name: reference_weights.drawn(name, shape, seed) for name, shape in networks.torch_shapes(arch).items()}


def _params(arch, seed=0):
    return jax.device_put(networks.parser_params(arch, _state(arch, seed)))


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
    wanted = networks.torch_shapes(arch)
    assert set(names) - set(wanted) == set(networks.ignored_names(dict.fromkeys(names))) - set(wanted)
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
            mask = parsing.mask_of_labels(labels.astype(np.uint8), parsers()[kind].values, image.shape[1])
            off = largest(mask, archive[f"{prefix}/{key}"][0, 0])
            parity(f"mask of a {kind} from {name}'s labels", off, 2e-3, file, LARGEST)


def test_face_masks_count_the_head_half_and_cloth_not_at_all():
    labels = np.arange(19, dtype=np.uint8).repeat(19).reshape(19, 19)
    mask = parsing.mask_of_labels(labels, parsers()["face"].values, 19)[:, 0]
    wanted = np.where(np.arange(19) <= 13, 1.0, 0.5)
    wanted[[0, 16]] = 0  # background, cloth
    np.testing.assert_array_equal(mask, wanted)
    plain = parsing.mask_of_labels(labels, parsers()["synface"].values, 19)[:, 0]
    np.testing.assert_array_equal(plain, (np.arange(19) >= 1) & (np.arange(19) <= 14))


def test_tensors_that_differ_are_listed_with_variances_that_are_negative():
    state = _state(_TINY)
    variance = next(name for name in state if name.endswith("running_var"))
    state[variance] = -np.ones_like(state[variance])
    state["stranger"] = np.zeros(3)
    with pytest.raises(UserError, match=f"unknown: stranger; with a negative variance: {variance}"):
        networks.parser_params(_TINY, state)


def _saved(path, arch, params, **changes):
    header = {"format": PARSER_FORMAT, "architecture": json.dumps(dataclasses.asdict(arch))} | changes
    safetensors.numpy.save_file({k: np.asarray(v) for k, v in params.items()}, path, header)
    return path


def test_weight_files_are_read_back_and_others_refused(tmp_path):
    arch, path = _TINY, tmp_path / "parser.safetensors"
    params = _params(arch)
    actual, read = load_parser(_saved(path, arch, params))
    assert actual == arch
    chex.assert_trees_all_equal(dict(params), read)
    with pytest.raises(UserError, match="no such file; .*gan2shape-jax convert"):
        load_parser(tmp_path / "absent.safetensors")
    for changes, message in (
        ({"format": "other"}, "does not hold a parser"),
        ({"architecture": "{}"}, "does not hold a parser"),
        ({"architecture": "3"}, "does not hold a parser"),
        ({"architecture": json.dumps(dataclasses.asdict(arch) | {"classes": 6})}, "misshapen: .*output/bias"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            load_parser(_saved(path, arch, params, **changes))
        assert str(path) in str(caught.value)
    with pytest.raises(UserError, match="missing: stem0/kernel; unknown: stem9/kernel"):
        load_parser(_saved(path, arch, {k.replace("stem0/k", "stem9/k"): v for k, v in params.items()}))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="cannot be read"):
        load_parser(path)
