"""`--check`: finds every problem at once, in the words of the run, whatever files are made of; it never writes."""

import dataclasses
import functools
import os
import pathlib
import shutil
import warnings

import numpy as np
import pytest
from helpers import hostile_arrays, hostile_pictures
from helpers.command_line import overrides
from helpers.tiny import SIZE, asset, tiny_config
from PIL import Image

from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.config.schema import gan_problems
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.output_folders import RUN, mark
from gan2shape_jax.io.required_files import required_files_of
from gan2shape_jax.main import main
from gan2shape_jax.method import prior
from gan2shape_jax.plan import inputs
from gan2shape_jax.run import experiment, joint, preflight
from gan2shape_jax.run.preflight import examine
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import shared

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_check_collects_the_problems_of_all_files(tmp_path, capsys):
    (tmp_path / "list.txt").write_text("good.png\nempty.png\ntext.png\ngone.png")
    bundled = load_config("ictface")
    shutil.copy(f"{bundled.data.image_root}/001.png", tmp_path / "good.png")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("text")
    np.savez(tmp_path / "view.npz", mean=np.zeros(6), cov=-np.eye(6))
    arguments = {"data.image_list": str(tmp_path / "list.txt"), "data.image_root": str(tmp_path)}
    arguments |= {"sampling.view_mvn": str(tmp_path / "view.npz"), "prior.near": "1.1"}
    with pytest.warns(UserWarning, match="dropped config.data.latent_root"):
        config = apply_overrides(bundled, arguments)
    assert preflight.run_preflight(config) == 1
    errors = capsys.readouterr().err
    parts = (
        "empty.png is empty",
        "text.png is not an image",
        "gone.png",
        "semi-definite",
        "config.prior.near must be less",
    )
    assert [part for part in parts if part not in errors] == []
    assert "Traceback" not in errors


def test_absent_files_are_listed_at_once_with_source_and_conversion(tmp_path, capsys):
    assert main(["--config=car:published"]) == 1 and not any(tmp_path.iterdir())
    message = capsys.readouterr().err
    for required in required_files_of(load_config("car:published")):
        assert required.path in message
    assert "gan2shape-jax get car\n" in message and "github.com/XingangPan/GAN2Shape/releases" in message
    stem = pathlib.Path("checkpoints/stylegan2/stylegan2-car-config-f")  # if somebody has fetched it already
    stem.parent.mkdir(parents=True)
    stem.with_suffix(".pt").touch()
    assert main(["--config=car:published"]) == 1
    assert f"gan2shape-jax convert {stem}.pt {stem}.safetensors" in capsys.readouterr().err
    assert main(["--config=horse:published", "--check"]) == 1
    printed = capsys.readouterr()
    assert "gan2shape-jax get horse\n" in printed.out + printed.err


@pytest.mark.parametrize(
    ("field", "path", "message"),
    [
        ("workdir", "file", "config.workdir file cannot be a folder"),
        ("workdir", "/dev/null", "config.workdir /dev/null cannot be a folder"),
        ("workdir", "dangling", "dangling leads nowhere"),
        ("workdir", "", "config.workdir is empty"),
        ("workdir", "line\nbreak", "control character"),
        ("checkpoint.folder", "file/below", "config.checkpoint.folder file/below cannot be a folder"),
        ("checkpoint.folder", "s3://bucket/run", "it must be a folder of this machine, or one that machines share"),
    ],
)
def test_check_and_run_refuse_a_folder_in_the_same_words(tmp_path, monkeypatch, capsys, field, path, message):
    monkeypatch.setattr("gan2shape_jax.io.required_files.require_files", lambda config, names: None)
    (tmp_path / "file").write_text("")
    pathlib.Path("dangling").symlink_to("gone")
    base = ["--config=ictface", *overrides(tiny_config(tmp_path))]
    before = sorted(tmp_path.iterdir())
    told = []
    for more in (["--check"], []):
        assert main([*base, f"--config.{field}={path}", *more]) in (1, 2)
        told.append(next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")))
    assert told[0] == told[1] and message in told[0]
    assert sorted(tmp_path.iterdir()) == before


_CHANNELS = (96, 96, 64, 48, 24)
_GAN = Architecture(size=64, style_dim=128, mapping_layers=8, channels=_CHANNELS, discriminator_channels=_CHANNELS)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("gan.size", "128", "size 64, but config.gan.size is 128"),
        ("gan.style_dim", "512", "style_dim 128, but config.gan.style_dim is 512"),
        ("gan.channel_multiplier", "1", "24 channels at 64 pixels"),
    ],
)
def test_a_field_that_contradicts_the_gan_is_named(field, value, message):
    problems = gan_problems(apply_overrides(load_config("ictface"), {field: value}), _GAN)
    assert any(message in problem for problem in problems), field


def test_a_gan_that_the_configuration_does_not_describe_is_named():
    assert gan_problems(load_config("ictface"), _GAN) == []
    (problem,) = gan_problems(load_config("ictface"), dataclasses.replace(_GAN, mapping_layers=4))
    assert "only 4 layers" in problem


def test_a_damaged_gan_matters_to_prediction_only_where_it_is_loaded(tmp_path):
    path = tmp_path / "gan.safetensors"
    path.write_bytes(b"damaged")
    fields = {"gan__checkpoint": str(path), "recipe": "predict", "networks__pretrained": "absent.safetensors"}
    with_pictures = preflight.examine(tiny_config(tmp_path, outputs__gan_images=True, **fields))
    assert [str(path) in problem for problem in with_pictures] == [False, True]
    without = preflight.examine(tiny_config(tmp_path, outputs__gan_images=False, **fields))
    assert without == with_pictures[:1]
    for mode in ({"recipe": "predict", "gan__checkpoint": "absent", "data__latent_root": ""}, {}):
        (problem,) = preflight.examine(tiny_config(tmp_path, networks__pretrained=str(path), **mode))
        assert str(path) in problem


def test_a_latent_of_other_layers_and_a_mask_that_no_prior_fits_are_named(tmp_path):
    np.save(tmp_path / "001.npy", np.zeros((1, 4, 128), np.float32))
    config = tiny_config(tmp_path, data__latent_root=str(tmp_path))
    assert ["has 4 layers: this generator takes 8" in problem for problem in preflight.examine(config)] == [True]
    Image.fromarray(np.pad(np.full((1, 1), 255, np.uint8), ((0, 63), (0, 63)))).save(tmp_path / "001.png")
    config = tiny_config(tmp_path, data__mask_root=str(tmp_path))
    (problem,) = preflight.examine(config)
    refusal = _refusal(lambda: prior.prior_depth(config, inputs.data.load_item(config, "001.png").mask))
    assert refusal in problem and not pathlib.Path(config.workdir).exists()


def _refusal(action) -> str:
    with pytest.raises(UserError) as refusal:
        action()
    return str(refusal.value)


_JOINT = {"recipe": "joint", "names": ("001.png", "005.png", "006.png")}


@pytest.mark.parametrize("crop", [None, 48])
def test_sizes_that_one_joint_run_cannot_crop_together_are_told_as_the_run_tells_them(crop, tmp_path):
    for name in _JOINT["names"]:
        with Image.open(f"{load_config('ictface').data.image_root}/{name}") as picture:
            picture.resize((80, 80) if name == "006.png" else picture.size).save(tmp_path / name)
    config = tiny_config(tmp_path, data__image_root=str(tmp_path), data__crop=crop, sampling__collect_iters=3, **_JOINT)
    refusal = _refusal(lambda: shared.require_one_size({"001": 64, "005": 64, "006": 80}))
    assert preflight.examine(config) == ([refusal] if crop else [])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule__batches_per_iteration": 4}, "4 batches an iteration need as many images"),
        ({"sampling__collect_iters": 2}, "set at least 3"),
    ],
)
def test_a_joint_run_that_its_settings_do_not_allow_is_refused_as_the_run_refuses_it(tmp_path, fields, message):
    config = tiny_config(tmp_path, **_JOINT, **({"sampling__collect_iters": 3} | fields))
    (problem,) = preflight.examine(config)
    assert message in problem
    assert problem == _refusal(functools.partial(joint.require_enough_for, config, list(_JOINT["names"])))


def test_a_joint_run_that_its_list_or_folder_does_not_allow_is_told_as_the_run_tells_it(tmp_path):
    config = tiny_config(tmp_path, **_JOINT, sampling__collect_iters=3)
    mark(tmp_path / "run", RUN)
    (tmp_path / "run" / "joint.json").write_text('{"images": ["other.png"]}')
    (problem,) = preflight.examine(config)
    assert (
        "holds networks made with other values: images (was ['other.png'], is" in problem
        and "--config.recipe=predict" in problem
    )
    assert problem == _refusal(functools.partial(experiment.run_experiment, config))
    (tmp_path / "run" / "joint.json").write_text("{")
    assert preflight.examine(config) == []  # the run writes it again


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
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


@pytest.mark.parametrize("shape", ["ellipsoid", "whole_ellipsoid", "shifted_ellipsoid", "flat"])
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
