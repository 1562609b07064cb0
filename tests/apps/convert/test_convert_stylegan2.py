"""The conversion of checkpoints: sizes from shapes, strictness, output, and the command."""

import hashlib
import re

import chex
import jax
import numpy as np
import pytest
from helpers.tiny_stylegan2 import synthesize
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.convert.command import main
from gan2shape_jax.apps.convert.stylegan2 import convert, read_checkpoint
from gan2shape_jax.config import load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.checkpoints import read_checkpoint as read_content
from gan2shape_jax.plan import inputs
from gan2shape_jax.stylegan2 import inversion

torch = pytest.importorskip("torch")


def _write(path, states) -> None:
    torch.save(jax.tree.map(lambda value: torch.tensor(np.array(value)), states), path)


@pytest.fixture
def states(golden_path):
    return {k: dict(v) for k, v in read_content(golden_path("stylegan2.pt")).items()}


def _convert(path, states):
    _write(path, states)
    return convert(path)


def test_sizes_come_from_the_shapes(golden_path, tmp_path, states):
    arch, params = convert(golden_path("stylegan2.pt"))
    g = states["g_ema"]
    assert arch.size == g[f"noises.noise_{arch.layers - 1}"].shape[-1]
    assert arch.style_dim == g["style.1.weight"].shape[0]
    assert f"style.{arch.mapping_layers}.weight" in g
    assert f"style.{arch.mapping_layers + 1}.weight" not in g
    assert arch.channels[0] == g["input.input"].shape[1]
    assert arch.discriminator_channels[-1] == states["d"]["convs.0.0.weight"].shape[0]
    coarser = {"convs.0.0.weight": np.ones((48, 3, 1, 1)), "convs.0.1.bias": np.zeros(48)}
    for name, value in states["d"].items():
        if not name.startswith(("convs.0.", "convs.1.")):
            coarser[re.sub(r"(?<=^convs\.)\d", lambda actual: str(int(actual[0]) - 1), name)] = value
    other, _ = _convert(tmp_path / "x.pt", states | {"d": coarser})
    assert other.discriminator_channels == arch.discriminator_channels[:-1] and other.channels == arch.channels
    again, same = _convert(tmp_path / "x.pt", states)
    assert again == arch
    chex.assert_trees_all_equal(params, same)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_prefixes_of_data_parallel_training_and_other_keys_are_ignored(tmp_path, states, prefix):
    arch, params = _convert(tmp_path / "x.pt", states)
    wrapped = {k: {prefix + n: v for n, v in s.items()} for k, s in states.items()}
    other, same = _convert(tmp_path / "y.pt", wrapped | {"g_optim": {"x": np.zeros(3)}})
    assert other == arch
    chex.assert_trees_all_equal(params, same)


def test_a_generator_alone_draws_and_is_inverted(tmp_path, states):
    """As most people share it: `g_ema` with or without the mean latent, or its bare dictionary."""
    _, whole = _convert(tmp_path / "whole.pt", states)
    mean = np.arange(whole["generator"]["mapping"]["1"]["bias"].size, dtype=np.float32)
    alone = states["g_ema"]
    contents = {"bare": alone, "ema": {"g_ema": alone}, "mean": {"g_ema": alone, "latent_avg": mean}}
    for name, content in contents.items():
        _write(tmp_path / f"{name}.pt", content)
        converted = read_checkpoint(tmp_path / f"{name}.pt")
        assert "No discriminator" in converted.notes and not converted.arch.discriminator_channels
        stylegan2.save(tmp_path / f"{name}.safetensors", converted.arch, converted.params)
        arch, params = stylegan2.load(tmp_path / f"{name}.safetensors")
        assert params.pop("discriminator") == {} and arch.stored_mean == (name == "mean")
        if name == "mean":
            np.testing.assert_array_equal(params["generator"].pop("mean_w"), mean)
        chex.assert_trees_all_equal(params["generator"], whole["generator"])
    _write(tmp_path / "d.pt", {"d": states["d"]})
    both = read_checkpoint(tmp_path / "ema.pt", discriminator=tmp_path / "d.pt")
    chex.assert_trees_all_equal(both.params, whole)
    key, latent = jax.random.key(0), np.ones((1, arch.style_dim), np.float32)
    image = synthesize(whole["generator"], latent, arch=arch)

    def away(steps):
        actual = inversion.invert(key, params["generator"], image, arch=arch, disc_params={}, steps=steps)
        return np.abs(synthesize(whole["generator"], actual, arch=arch) - image).mean()

    assert away(20) < 0.7 * away(0)


def test_what_the_method_misses_of_a_generator_alone_is_a_sentence(tmp_path, states, capsys):
    _write(tmp_path / "ema.pt", {"g_ema": states["g_ema"]})
    target = tmp_path / "gan.safetensors"
    assert main([str(tmp_path / "ema.pt"), str(target), "--no-sheet"]) == 0
    arch = stylegan2.read_header(target)[0]
    config = load_config("ictface:scratch").unlock()
    config.gan.update(checkpoint=str(target), size=arch.size, style_dim=arch.style_dim)
    with pytest.raises(UserError, match=r"has no discriminator.*--discriminator"):
        inputs.load_gan(config)
    assert "No discriminator" in capsys.readouterr().out


def test_a_pointer_is_named(tmp_path):
    (tmp_path / "lfs.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(UserError, match="pointer of Git LFS"):
        convert(tmp_path / "lfs.pt")


def test_missing_extra_misshapen_and_broken_tensors_are_all_listed(tmp_path, states):
    g, d = states["g_ema"], states["d"]
    del g["convs.0.activate.bias"], d["final_linear.1.weight"]
    g["stylish"] = np.zeros(3)
    g["style.2.bias"] = np.zeros(7)
    d["convs.1.conv1.1.bias"] = np.full_like(d["convs.1.conv1.1.bias"], np.nan)
    with pytest.raises(UserError) as error:
        _convert(tmp_path / "bad.pt", states)
    parts = (
        "bad.pt",
        "missing: g_ema.convs.0.activate.bias, d.final_linear.1.weight",
        "unknown: g_ema.stylish",
        "misshapen: g_ema.style.2.bias is (7,) instead of (",
        "NaN or infinity: d.convs.1.conv1.1.bias",
    )
    assert [part for part in parts if part not in str(error.value)] == []


@pytest.mark.parametrize(
    "place", ["g_ema.style.1.weight", "g_ema.input.input", "g_ema.convs.0.conv.weight", "d.convs.2.conv2.1.weight"]
)
def test_a_tensor_that_tells_a_size_may_not_be_missing(tmp_path, states, place):
    key, _, name = place.partition(".")
    with pytest.raises(UserError, match=f"missing: {place}") as error:
        _convert(tmp_path / "bad.pt", states | {key: {n: v for n, v in states[key].items() if n != name}})
    assert "misshapen" not in str(error.value) and "unknown" not in str(error.value)


def test_checkpoints_of_other_kinds_are_refused(tmp_path, states):
    with pytest.raises(UserError, match="no 'g_ema' .the generator."):
        _convert(tmp_path / "bad.pt", {"d": states["d"]})
    with pytest.raises(UserError, match="bad.pt"):
        _convert(tmp_path / "bad.pt", {"g_ema": {"x": np.zeros(2)}, "d": {"y": np.zeros(2)}})
    states["d"]["convs.1.skip.0.kernel"] = np.eye(4)
    with pytest.raises(UserError, match="low-pass filter convs.1.skip.0.kernel"):
        _convert(tmp_path / "bad.pt", states)


def test_noise_maps_are_made_where_a_file_has_none(tmp_path, states):
    states["g_ema"] = {k: v for k, v in states["g_ema"].items() if not k.startswith("noises")}
    _write(tmp_path / "x.pt", states)
    first, two = read_checkpoint(tmp_path / "x.pt"), read_checkpoint(tmp_path / "x.pt")
    assert "seed" in first.notes
    noise = first.params["generator"]["noise"]
    chex.assert_trees_all_equal(noise, two.params["generator"]["noise"])
    assert 0.8 < np.std(noise[str(first.arch.layers - 1)]) < 1.2


def test_the_command_writes_weights_and_samples(tmp_path, golden_path, capsys):
    source, target = golden_path("stylegan2.pt"), tmp_path / "gan.safetensors"
    samples = tmp_path / "grid.png"
    assert main([str(source), str(target), "--sheet", str(samples), "--license-note", "ours"]) == 0
    arch, header = stylegan2.read_header(target)
    assert header["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert header["license"] == "ours"
    loaded, params = stylegan2.load(target)
    wanted, converted = convert(source)
    assert arch == loaded == wanted
    chex.assert_trees_all_equal(params, converted)
    with Image.open(samples) as image:
        assert image.size == (6 * arch.size, 6 * arch.size) and image.mode == "RGB"
        assert np.asarray(image).std() > 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gan.safetensors", "grid.png"]
    assert str(arch.size) in capsys.readouterr().out


def test_networks_that_no_pictures_here_come_from_are_told_by_what_they_are(tmp_path, states):
    g = states["g_ema"]
    const, first = g["input.input"], g["style.1.weight"]
    for changes, message in (
        ({"embed.weight": np.ones((10, 8))}, r"has classes \(embed.weight\), .* NVIDIA's PyTorch .*--class"),
        ({"style.label_emb.0.weight": np.ones((8, 8))}, "has classes"),
        ({"style.1.weight": np.concatenate([first, first], axis=1)}, "has classes .*takes 64 numbers where latents"),
        ({"input.input": const[..., :2]}, r"not square \(its constant input is 4 x 2, as that of StyleGAN-Human\)"),
    ):
        with pytest.raises(UserError, match=message.replace("64", str(2 * first.shape[1]))):
            _convert(tmp_path / "x.pt", states | {"g_ema": g | changes})
