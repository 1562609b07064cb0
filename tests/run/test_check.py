"""`--check`: finds every problem at once, estimates, and never writes."""

import numpy as np
import pytest

from gan2shape_jax.config.fields import apply_overrides, load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.inputs.required_files import require_files, require_images, required_files_of
from gan2shape_jax.run import check
from gan2shape_jax.run.estimate import estimate
from gan2shape_jax.stylegan2 import Architecture


def _architecture(**changes):
    channels = (96, 96, 64, 48, 24)
    sizes = {"size": 64, "style_dim": 128, "mapping_layers": 8, "channels": channels}
    sizes |= {"discriminator_channels": channels} | changes
    return Architecture(**sizes)


def test_bundled_config_is_in_place_and_check_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert check.run_check(load_config("ictface")) == 0
    printed = capsys.readouterr().out
    assert "6 images of 64 pixels" in printed and "GiB of memory" in printed
    assert "everything is in place" in printed
    assert list(tmp_path.iterdir()) == []


def test_check_collects_the_problems_of_all_files(tmp_path, capsys):
    names = ["good.png", "empty.png", "text.png", "gone.png"]
    (tmp_path / "list.txt").write_text("\n".join(names))
    bundled = load_config("ictface")
    with open(f"{bundled.data.image_root}/001.png", "rb") as source:
        (tmp_path / "good.png").write_bytes(source.read())
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("text")
    np.savez(tmp_path / "view.npz", mean=np.zeros(6), cov=-np.eye(6))
    config = apply_overrides(
        bundled,
        {
            "data.image_list": str(tmp_path / "list.txt"),
            "data.image_root": str(tmp_path),
            "sampling.view_mvn": str(tmp_path / "view.npz"),
            "loss.lam_perc": "-1",
        },
    )
    assert check.run_check(config) == 1
    errors = capsys.readouterr().err
    for part in (
        "empty.png is empty",
        "text.png is not an image",
        "gone.png",
        "semi-definite",
        "lam_perc",
    ):
        assert part in errors, part
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("gan.size", "128", "size 64, but config.gan.size is 128"),
        ("gan.style_dim", "512", "style_dim 128, but config.gan.style_dim is 512"),
        ("gan.channel_multiplier", "1", "24 channels at 64 pixels"),
    ],
)
def test_checkpoint_of_another_size_is_found(field, value, message):
    config = apply_overrides(load_config("ictface"), {field: value})
    assert check.checkpoint_problems(load_config("ictface"), _architecture()) == []
    assert any(message in problem for problem in check.checkpoint_problems(config, _architecture()))


def test_mapping_network_shorter_than_asked_is_found():
    found = check.checkpoint_problems(load_config("ictface"), _architecture(mapping_layers=4))
    assert len(found) == 1 and "only 4 layers" in found[0]


def test_absent_files_are_listed_at_once_with_source_and_conversion(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config("car")
    with pytest.raises(UserError) as caught:
        require_files(config)
    message = str(caught.value)
    for wanted in required_files_of(config):
        assert wanted.path in message
    stem = "checkpoints/stylegan2/stylegan2-car-config-f"
    assert f"gan2shape-jax convert stylegan2 {stem}.pt {stem}.safetensors" in message
    assert "github.com/XingangPan/GAN2Shape/releases" in message


def test_files_that_are_there_are_not_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/car/latents").mkdir(parents=True)
    (tmp_path / "data/car/list.txt").write_text("a.png")
    with pytest.raises(UserError) as caught:
        require_files(load_config("car"))
    assert "config.data.mask_root" in str(caught.value)
    for field in ("image_list", "image_root", "latent_root"):
        assert f"config.data.{field}" not in str(caught.value)


def test_images_that_are_not_there_are_listed_at_once(tmp_path):
    (tmp_path / "list.txt").write_text("001.png\nx.png\ny.png\n")
    config = apply_overrides(load_config("ictface"), {"data.image_list": str(tmp_path / "list.txt")})
    with pytest.raises(UserError, match=r"2 of the 3 images .*x.png, .*y.png"):
        require_images(config)


def test_workdir_that_is_a_file_is_found(tmp_path):
    (tmp_path / "file").write_text("")
    config = apply_overrides(load_config("ictface"), {"workdir": str(tmp_path / "file")})
    assert any("is a file" in problem for problem in check.examine(config))


@pytest.mark.parametrize(
    "overrides",
    [
        {"image_size": "128"},
        {"schedule.stages": "((600, 600, 400), (600, 600, 400))"},
        {"sampling.batch_size": "32"},
        {"gan.size": "512"},
        {"loss.perceptual": "lpips"},
        {"data.latent_root": ""},
    ],
)
def test_more_work_is_estimated_to_take_longer(overrides):
    config = load_config("ictface")
    more = apply_overrides(config, overrides)
    assert estimate(more, 1).hours > estimate(config, 1).hours
    assert estimate(config, 3).hours > estimate(config, 2).hours > estimate(config, 1).hours
    assert estimate(more, 1).memory_gib >= estimate(config, 1).memory_gib


def test_check_reads_pretrained_weights(tmp_path):
    path = tmp_path / "networks.safetensors"
    path.write_bytes(b"no weights")
    config = apply_overrides(load_config("ictface"), {"networks.pretrained": str(path)})
    found = check.examine(config)
    assert len(found) == 1 and str(path) in found[0]
