"""`--check`: finds every problem at once, in the words of the run, and never writes."""

import importlib.util
import pathlib

import numpy as np
import pytest
from helpers.command_line import overrides
from helpers.tiny import tiny_config

from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.image_lists import names_of
from gan2shape_jax.io.required_files import require_files, require_images, required_files_of
from gan2shape_jax.main import main
from gan2shape_jax.run import check, experiment


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """A run that the checkout holds, as after the README's first command, is none of these tests' business."""
    monkeypatch.chdir(tmp_path)


def test_bundled_config_is_in_place_and_check_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert check.run_check(load_config("ictface")) == 0
    printed = capsys.readouterr().out
    assert "6 images of 64 pixels, on cpu; " in printed
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


def test_absent_files_are_listed_at_once_with_source_and_conversion(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config("car")
    with pytest.raises(UserError) as caught:
        require_files(config)
    message = str(caught.value)
    for required in required_files_of(config):
        assert required.path in message
    stem = "checkpoints/stylegan2/stylegan2-car-config-f"
    assert f"gan2shape-jax convert {stem}.pt {stem}.safetensors" in message
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
        require_images(config, names_of(config))


def test_check_reads_pretrained_weights(tmp_path):
    path = tmp_path / "networks.safetensors"
    path.write_bytes(b"no weights")
    config = apply_overrides(load_config("ictface"), {"networks.pretrained": str(path)})
    problems = check.examine(config)
    assert len(problems) == 1 and str(path) in problems[0]


@pytest.mark.parametrize(
    "field, path, message",
    [
        ("workdir", "file", "config.workdir file is a file: name a folder"),
        ("workdir", "/dev/null", "config.workdir /dev/null is a file"),
        ("workdir", "dangling", "a link that leads nowhere"),
        ("workdir", "", "config.workdir is empty"),
        ("workdir", "line\nbreak", "control character"),
        ("checkpoint.folder", "file/below", "config.checkpoint.folder file/below lies below"),
        ("checkpoint.folder", "foo://bar", "it is a folder of this machine, or one of object storage (gs://BUCKET/..."),
        ("checkpoint.folder", "s3://bucket/run", "needs the library s3fs: pip install s3fs"),
    ],
)
def test_check_and_run_refuse_a_folder_in_the_same_words(field, path, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiment.required_files, "require_files", lambda config, names: None)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("s3fs", "tensorflow") else find(name)
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    pathlib.Path("dangling").symlink_to("gone")
    words = ["--config=ictface", *overrides(tiny_config(tmp_path)), f"--config.{field}={path}"]
    before = sorted(tmp_path.iterdir())
    told = []
    for command in ([*words, "--check"], words):
        assert main(command) in (1, 2)
        told.append(next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")))
    assert told[0] == told[1] and message in told[0]
    assert sorted(tmp_path.iterdir()) == before
