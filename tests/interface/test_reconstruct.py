"""Reconstruction through the public interface: configuration, the command line's bits, nothing on disk, resuming."""

import contextlib
import dataclasses
import functools
import inspect
import os

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.picture_files import opened
from helpers.tiny import asset, tiny_config

import gan2shape_jax as g2s
from gan2shape_jax import interface
from gan2shape_jax.config import load_config
from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.io.arrays import load_mvn
from gan2shape_jax.method import step3
from gan2shape_jax.results import load
from gan2shape_jax.run import experiment
from gan2shape_jax.stylegan2 import Architecture

_FACE, _MASK = asset("ictface/image/001.png"), asset("ictface/mask/001.png")
_DEPTH = np.load(asset("ictface/depth/001.npy"))[::2, ::2]
_ARRAYS = ("depth", "albedo", "view", "light", "mask", "input_depth", "reconstruction", "canonical", "true_depth")


def _config(folder, **fields):
    np.save(folder / "001.npy", _DEPTH)
    fields |= {"image_size": 32, "schedule__stages": ((3, 3, 4),), "outputs__preset": "mesh"}
    return tiny_config(folder, data__depth_root=str(folder), **fields)


@pytest.fixture(scope="module")
def config(tiny_run):
    return tiny_run.config


@pytest.fixture(scope="module")
def given(tiny_run):
    """What the command found or read, beside image and mask."""
    latent = np.load(tiny_run.folder / "latents" / "001.npy")
    return {"true_depth": np.where(_DEPTH > 0, _DEPTH, 1.1), "latent": latent}


@pytest.fixture(scope="module")
def gan(config):
    return g2s.load_gan(config.gan.checkpoint)


@pytest.fixture(scope="module")
def face(config, gan, given, tmp_path_factory):
    """Face 001 by the public interface, and what it wrote into the folder that it was called in."""
    folder = tmp_path_factory.mktemp("caller")
    image, mask = np.asarray(opened(_FACE).convert("RGB")), np.asarray(opened(_MASK).convert("L"))
    with contextlib.chdir(folder):
        result = g2s.reconstruct(image, gan, mask=mask, config=config, name="001", **given)
    return result, list(folder.rglob("*"))


def test_bits_are_those_of_the_command_line_and_nothing_is_written(face, tiny_run):
    (result, written), expected = face, load(tiny_run.folder / "results" / "001")
    assert written == []
    for name in _ARRAYS:
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name), err_msg=name)
    assert {name: expected.metrics[name] for name in result.metrics} == result.metrics
    warped = g2s.warp_depth(result.depth, result.view, result.camera)
    assert g2s.depth_errors(result.input_depth, warped, result.camera)["mae"] < 1e-5


@pytest.mark.heavy  # traces two schedules once more
def test_without_a_latent_the_gan_is_inverted_as_by_the_command(gan, tmp_path):
    config = _config(tmp_path, data__latent_root="")
    assert experiment.run_experiment(config) == 0
    expected = load(os.path.join(config.workdir, "results", "001"))
    assert np.load(os.path.join(config.workdir, "latents", "001.npy")).shape == (1, 128)
    result = g2s.reconstruct(opened(_FACE), gan, mask=opened(_MASK), config=config, name="001")
    np.testing.assert_array_equal(result.depth, expected.depth)


@pytest.mark.heavy  # traces a schedule once more
def test_a_run_broken_off_goes_on_from_its_checkpoint(face, config, gan, given, tmp_path):
    calls: list[g2s.Progress] = []

    def break_off(progress):
        calls.append(progress)
        if progress.step == "step3" and progress.iteration == 1:
            raise KeyboardInterrupt

    def again(**changes):
        arguments = {"mask": opened(_MASK), "config": config, "checkpoint_folder": tmp_path / "kept"} | given
        return g2s.reconstruct(opened(_FACE), gan, name="001", **(arguments | changes))

    with pytest.raises(KeyboardInterrupt):
        again(callback=break_off)
    first, broken_off = calls[0], calls[-1]
    assert (first.stage, first.step, first.iteration, first.iterations) == (0, "prior", 1, 4)
    calls.clear()
    result = again(callback=calls.append)
    np.testing.assert_array_equal(result.depth, face[0].depth)
    assert (broken_off.stage, broken_off.step, broken_off.iteration) == (1, "step3", 1)
    assert (calls[0].stage, calls[0].step, calls[0].iteration) == (1, "step3", 2)  # nothing is done twice
    fractions = [progress.fraction for progress in calls]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert calls[-1].loss is not None and np.isfinite(calls[-1].loss)
    for changes in ({"seed": 1}, {"mask": np.ones((64, 64))}):
        with pytest.raises(g2s.UserError, match="made with other values: image, configuration or seed"):
            again(**changes)


@pytest.mark.heavy  # traces a schedule once more
def test_a_loss_of_ones_own_trains(face, config, gan, given):
    def nearer(params, samples, context, *, weight, flip):
        loss, (metrics, extra) = step3.step3_loss(params, samples, context, flip=flip)
        away = jnp.mean(extra[0].depth)  # of the sheet
        return loss + weight * away, (metrics | {"away": away}, extra)

    own = {"step3": dataclasses.replace(step3.STEP3, loss=functools.partial(nearer, weight=100))}
    arguments = {"mask": opened(_MASK), "config": config, "name": "001"} | given
    result = g2s.reconstruct(opened(_FACE), gan, steps=own, **arguments)
    assert result.depth.mean() < face[0].depth.mean() - 1e-4
    assert "away" in result.history[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": None}, "there is no mask, and image has no alpha channel"),
        ({"mask": np.ones((8, 8))}, r"mask has the shape \(8, 8\)"),
        ({"latent": np.zeros(7)}, r"latent has the shape \(7,\): this GAN takes \(128,\) or \(10, 128\)"),
        ({"true_depth": np.zeros((64, 64))}, "true_depth has values down to 0"),
        ({"seed": -1}, "config.seed is -1"),
        (
            {"steps": {"step3": step3.STEP3}, "checkpoint_folder": "nowhere/kept"},
            "checkpoint_folder is given with steps: checkpoints cannot tell whether a step has changed",
        ),
        (
            {"steps": {"step4": step3.STEP3}},
            "steps has step4: it must hold Steps by the names prior, step1, step2, step",
        ),
    ],
)
def test_what_cannot_be_reconstructed_is_refused(changes, message):
    gan = g2s.load_gan(asset("ictface/gan.safetensors"))
    image = np.asarray(opened(_FACE).convert("RGB"))
    with pytest.raises(g2s.UserError, match=message):
        g2s.reconstruct(image, gan, **({"mask": opened(_MASK)} | changes))


def test_what_cannot_be_reconstructed_is_refused_at_once():
    gan = g2s.load_gan(asset("ictface/gan.safetensors"))
    image = np.asarray(opened(_FACE).convert("RGB"))
    with pytest.raises(ValueError, match="^gan is a str: it must be a Gan, as load_gan returns it"):
        inspect.unwrap(g2s.reconstruct)(image, "gan.safetensors")  # without this suite's check of types
    with pytest.raises(ValueError, match="^steps has step3: it must hold Steps by the names"):
        inspect.unwrap(g2s.reconstruct)(image, gan, steps={"step3": step3.step3_loss})


def _complete(config, size=64, seed=None, *, mapping_layers=8):
    levels = (8,) * (size.bit_length() - 2)
    sizes = {"mapping_layers": mapping_layers, "channels": levels, "discriminator_channels": levels}
    return interface._plan_of(config, Architecture(size=size, style_dim=32, **sizes), seed).config


@pytest.mark.parametrize("size", [32, 64])
def test_the_default_needs_no_file_of_the_user(size):
    config = _complete(None, size)
    assert (config.gan.size, config.gan.style_dim) == (size, 32)
    assert config.image_size == 64 and len(config.schedule.stages) == 2
    assert (config.networks.pretrained, config.loss.perceptual) == ("", "discriminator")
    mean, covariance = load_mvn(config.sampling.view_mvn, 6)
    assert mean.shape == (6,) and np.linalg.eigvalsh(covariance).min() > -1e-6


def test_the_default_suits_the_gan_and_needs_no_file_of_the_user():
    with pytest.raises(ArgumentError, match="config is needed for a GAN of 128 pixels, .* config='own' needs"):
        _complete(None, 128)
    assert _complete("own", 128).gan.size == 128


def test_a_named_configuration_keeps_its_values_and_the_callers_stays_as_it_is():
    config = _complete("ictface:quick", seed=7)
    assert config.seed == 7 and config.prior.iterations == load_config("ictface:quick").prior.iterations
    assert _complete("ictface:quick").seed == 0
    config = g2s.load_config("ictface")
    config.prior.iterations = 3
    before = config.to_dict()
    assert _complete(config, 128, 5).prior.iterations == 3
    assert config.to_dict() == before and config.is_locked


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("ictfaec", "did you mean ictface"),
        ("ictface:joint", "config.recipe is 'joint': an image is reconstructed by 'train' or 'refine'"),
        ("celeba:published", "config.sampling.view_mvn: checkpoints/.* does not exist"),
    ],
)
def test_unusable_configurations_are_refused(config, message):
    with pytest.raises(g2s.UserError, match=message):
        _complete(config)


@pytest.mark.parametrize("seed", ["1", 1.5, np.zeros(2)])
def test_unusable_seeds_are_refused(seed):
    with pytest.raises(ArgumentError, match="^seed"):
        _complete("ictface", seed=seed)


def test_other_configurations_and_seeds_are_refused():
    with pytest.raises(g2s.UserError, match="config.gan.F1_d is 8, but the mapping network of this GAN has only 4"):
        _complete("ictface", mapping_layers=4)
    with pytest.raises(ArgumentError, match="^config"):
        _complete({"seed": 1})
