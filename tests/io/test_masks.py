"""Where object masks come from: files, alpha channels, parsers, and their order."""

import dataclasses
import json
import pathlib
import warnings
from unittest import mock

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import arrays, data
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.categories import parsers
from gan2shape_jax.io.image_files import open_square
from gan2shape_jax.io.image_lists import names_of
from gan2shape_jax.io.required_files import require_files, required_files_of
from gan2shape_jax.networks import parsing
from gan2shape_jax.run import preflight

_RNG = np.random.default_rng(0)
_DISC = np.hypot(*(np.mgrid[:64, :64] - 32)) < 20


def _weights(path: pathlib.Path, category: str, label: int) -> pathlib.Path:
    """A parser of one channel that sees one label everywhere."""
    parser = parsers()[category]
    arch = parsing.ParserArchitecture(parser.family, parser.classes, 1, (1, 1, 1, 1))
    params = {k: np.zeros(shape, np.float32) for k, shape in parsing.parameter_shapes(arch).items()}
    params["output/bias"][label] = 1
    safetensors.numpy.save_file(
        params, path, {"format": data.PARSER_FORMAT, "architecture": json.dumps(dataclasses.asdict(arch))}
    )
    return path


@pytest.fixture
def folder(tmp_path):
    """Four images: opaque, with a disc in the alpha channel, half transparent everywhere, bright on the right."""
    pixels = _RNG.integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "plain.png")
    alpha = np.where(_DISC, 255, 0).astype(np.uint8)
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "cut.png")
    Image.fromarray(np.dstack([pixels, np.full((64, 64), 200, np.uint8)])).save(tmp_path / "veil.png")
    bright = np.zeros((64, 64, 3), np.uint8)
    bright[:, 32:] = 255
    Image.fromarray(bright).save(tmp_path / "bright.png")
    (tmp_path / "list.txt").write_text("plain.png\ncut.png\nveil.png\nbright.png\n")
    return tmp_path


def _config(folder, **fields):
    argument = dict.fromkeys(("data.latent_root", "data.depth_root", "data.mask_root"), "")
    argument |= {"data.image_list": str(folder / "list.txt"), "data.image_root": str(folder)}
    argument |= {name.replace("__", "."): str(value) for name, value in fields.items()}
    return apply_overrides(load_config("ictface:scratch"), argument)


def test_alpha_channel_is_the_mask(folder):
    inner = np.asarray(Image.fromarray(_DISC[16:48, 16:48]).convert("F").resize((64, 64), Image.Resampling.BOX))
    for source in ("auto", "alpha"):
        for crop, expected in ((None, _DISC), (32, inner / 255)):
            item = data.load_item(_config(folder, data__mask_source=source, data__crop=crop), "cut.png")
            np.testing.assert_allclose(item.mask, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["plain.png", "veil.png", "bright.png"])
def test_images_without_a_real_alpha_channel_are_refused_by_name(folder, name):
    with pytest.raises(UserError, match=f"{name} has no alpha channel"):
        data.load_item(_config(folder, data__mask_source="alpha"), name)
    with pytest.raises(UserError, match=f"{name} has no object mask.*mask_root=FOLDER"):
        data.load_item(_config(folder), name)


def test_alpha_of_other_modes(folder):
    gray = Image.fromarray(np.where(_DISC, 255, 0).astype(np.uint8))
    Image.merge("LA", (gray, gray)).save(folder / "la.png")
    gray.convert("P").save(folder / "palette.png", transparency=0)
    for name in ("la.png", "palette.png"):
        np.testing.assert_array_equal(np.asarray(open_square(folder / name).alpha) > 127, _DISC)


def test_a_masks_alpha_channel_is_the_mask(folder):
    alpha, noise = np.where(_DISC, 255, 0).astype(np.uint8), _RNG.integers(0, 256, (64, 64, 3), np.uint8)
    white = np.full((64, 64, 3), 255, np.uint8)
    for colours in (noise, white, 0 * white):  # a cut-out, and what is drawn on nothing
        Image.fromarray(np.dstack([colours, alpha])).save(folder / "m.png")
        np.testing.assert_array_equal(data.load_mask(folder / "m.png", 64), _DISC)
        np.testing.assert_array_equal(arrays.mask_of(Image.open(folder / "m.png"), 64, 64, None), _DISC)
    opaque = np.dstack([np.where(_DISC[..., None], white, 0), np.full((64, 64), 255)]).astype(np.uint8)
    Image.fromarray(opaque).save(folder / "m.png")
    np.testing.assert_array_equal(data.load_mask(folder / "m.png", 64), _DISC)
    Image.fromarray(np.dstack([noise, 0 * alpha])).save(folder / "m.png")
    opened = Image.open(folder / "m.png")
    for read, *argument in ((data.load_mask, folder / "m.png", 64), (arrays.mask_of, opened, 64, 64, None)):
        with pytest.raises(UserError, match=r"mask.* is transparent everywhere"):
            read(*argument)


def test_an_inverted_mask_is_warned_of(folder):
    outside = np.where(_DISC, 0, 255).astype(np.uint8)
    Image.fromarray(outside).save(folder / "m.png")
    Image.fromarray(np.dstack([np.zeros((64, 64, 3), np.uint8), outside])).save(folder / "cut.png")
    for read, name in (
        (lambda: data.load_mask(folder / "m.png", 32), r"object mask .*m\.png"),
        (lambda: data.load_item(_config(folder), "cut.png"), r"the alpha channel of .*cut\.png"),
        (lambda: arrays.mask_of(outside, 64, 64, None), "mask"),
    ):
        with pytest.warns(UserWarning, match=f"^{name} covers the border and not the middle"):
            read()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("001", "005"):  # faces that reach three sides
            data.load_mask(pathlib.Path(asset(f"ictface/mask/{name}.png")), 64)
        arrays.mask_of(_DISC, 64, 64, None)


def test_a_crop_that_cuts_the_object_away_is_refused(folder):
    ring = np.where(_DISC, 0, 255).astype(np.uint8)
    Image.fromarray(np.dstack([np.zeros((64, 64, 3), np.uint8), ring])).save(folder / "ring.png")
    with pytest.raises(UserError, match="ring.png shows no object inside"):
        data.load_item(_config(folder, data__crop=16), "ring.png")


@pytest.mark.filterwarnings("ignore:.*partly transparent")
def test_auto_takes_the_file_then_alpha_then_the_parser(folder):
    """A list may mix images: each takes the first source that it has."""
    (folder / "masks").mkdir()
    square = np.zeros((64, 64), np.uint8)
    square[10:20, 10:20] = 255
    Image.fromarray(square).save(folder / "masks" / "plain.png")
    weights = _weights(folder / "car.safetensors", "car", 7)
    config = _config(folder, category="car", data__mask_root=folder / "masks", parsing__weights=weights)
    np.testing.assert_array_equal(data.load_item(config, "plain.png").mask, square > 0)
    np.testing.assert_array_equal(data.load_item(config, "cut.png").mask, _DISC)
    assert (data.load_item(config, "veil.png").mask == 1).all()
    strict = apply_overrides(config, {"data.mask_source": "file"})
    with pytest.raises(UserError, match="the object mask of cut.png is missing: .*masks/cut.png"):
        data.load_item(strict, "cut.png")
    parsed = apply_overrides(config, {"data.mask_source": "parser"})
    assert (data.load_item(parsed, "plain.png").mask == 1).all()


def test_normalisation_is_the_published_one(folder, monkeypatch):
    """What it does to a picture is compared with the published code by `test_golden_parser`."""
    find = mock.Mock(return_value=np.zeros((32, 32), np.uint8))
    monkeypatch.setattr(parsing, "find_labels", find)
    for category in ("car", "horse"):
        fields = {"parsing__weights": _weights(folder / "parser.safetensors", category, 0)}
        config = _config(folder, category=category, **fields)
        data.parse_mask(config, np.zeros((32, 32, 3), np.float32))
    assert [call.kwargs["normalize"] for call in find.call_args_list] == [True, False]


def test_parser_that_finds_no_object_names_the_image(folder):
    weights = _weights(folder / "car.safetensors", "car", 8)  # sees cats only
    config = _config(folder, category="car", data__mask_source="parser", parsing__weights=weights)
    with pytest.raises(UserError, match="PSPNet of VOC .* finds no car in plain.png.*mask_root"):
        data.load_item(config, "plain.png")
    # Where no mask is needed, a picture without an object is no reason to stop.
    free = apply_overrides(config, {"data.mask_source": "auto", "networks.pretrained": "w.pth"})
    with pytest.warns(UserWarning, match="finds no car in plain.png"):
        assert (data.load_item(free, "plain.png").mask == 1).all()


def test_the_mean_mask_is_the_last_that_auto_takes(folder):
    Image.fromarray(np.where(_DISC, 255, 0).astype(np.uint8)).save(folder / "usual.png")
    config = _config(folder, lift__masks="mean", lift__mean_mask=folder / "usual.png")
    np.testing.assert_array_equal(data.load_item(config, "cut.png").mask, _DISC)
    np.testing.assert_array_equal(data.load_item(config, "plain.png").mask, _DISC)
    required = {wanted.field: wanted.present for wanted in required_files_of(config)}
    assert required["lift.mean_mask"] and "data.mask_root" not in required
    (folder / "usual.png").unlink()
    with pytest.raises(UserError, match=r"config\.lift\.mean_mask: .*usual\.png"):
        require_files(config)


@pytest.mark.parametrize(
    ("name", "file", "home"),
    [
        ("car:published", "pspnet_voc", "hszhao/semseg"),
        ("church:published", "pspnet_ade20k", "hszhao/semseg"),
        ("cat:published_joint", "pspnet_voc", "hszhao/semseg"),
        ("celeba:published_joint", "bisenet", "face-parsing.PyTorch"),
        ("synface:published_joint", "bisenet", "face-parsing.PyTorch"),
    ],
)
def test_absent_parser_weights_are_asked_for_with_source_and_command(tmp_path, monkeypatch, name, file, home):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        require_files(load_config(name))
    path = f"checkpoints/parsing/{file}"
    command = f"gan2shape-jax convert {path}.pth {path}.safetensors"
    parts = (f"config.parsing.weights: {path}.safetensors", command, home, "--config.data.mask_root=FOLDER")
    assert [part for part in parts if part not in str(caught.value)] == []


def test_what_is_asked_for_depends_on_the_source(folder):
    def requested(**fields):
        config = _config(folder, **fields)
        wanted = {first.field for first in required_files_of(config, names_of(config))}
        return wanted & {"data.mask_root", "parsing.weights"}

    car = {"category": "car", "parsing__weights": "w.safetensors"}
    assert (
        requested(**car) == requested(**car, data__mask_root="masks", data__mask_source="parser") == {"parsing.weights"}
    )
    assert requested(**car, data__mask_root="masks") == requested(**car, data__mask_source="file") == {"data.mask_root"}
    assert requested(**car, data__mask_source="alpha") == requested(**car, networks__pretrained="w.pth") == set()
    assert requested() == {"data.mask_root"}  # ictface has no parser
    (folder / "list.txt").write_text("cut.png\nveil.png\n")  # all have an alpha channel
    assert requested(**car) == set()


@pytest.mark.filterwarnings("ignore:.*partly transparent")
def test_check_looks_at_the_parsers_weights_and_does_not_run_it(folder, monkeypatch):
    monkeypatch.setattr(parsing, "find_labels", None)
    weights = folder / "car.safetensors"
    weights.write_bytes(b"no weights")
    config = _config(folder, category="car", parsing__weights=weights, workdir=folder / "run")
    actual = preflight.examine(config)
    assert len(actual) == 1 and "car.safetensors cannot be read" in actual[0]
    _weights(weights, "church", 1)
    assert ["150 labels" in problem for problem in preflight.examine(config)] == [True]
    _weights(weights, "car", 7)
    assert preflight.examine(config) == []
    weights.unlink()
    assert ["gan2shape-jax convert" in problem for problem in preflight.examine(config)] == [True]
