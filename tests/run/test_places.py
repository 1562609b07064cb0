"""Folders that a run writes to: `--check` and the run refuse the same ones, in the same words, and make nothing."""

import importlib.util
import pathlib

import pytest
from helpers.command_line import overrides
from helpers.tiny import tiny_config

from gan2shape_jax.main import main
from gan2shape_jax.run import experiment, instance, places

pytestmark = pytest.mark.hostile


@pytest.mark.parametrize(
    "field, path, message",
    [
        ("workdir", "file", "config.workdir file is a file: name a folder"),
        ("workdir", "file/below", "config.workdir file/below lies below"),
        ("workdir", "/dev/null", "config.workdir /dev/null is a file"),
        ("workdir", "dangling", "a link that leads nowhere"),
        ("workdir", "/proc/nothing", "has 0.0 GiB free"),
        ("workdir", "", "config.workdir is empty"),
        ("workdir", "line\nbreak", "control character"),
        ("checkpoint.folder", "file/below", "config.checkpoint.folder file/below lies below"),
        ("checkpoint.folder", "foo://bar", "it is a folder of this machine, or one of object storage (gs://BUCKET/..."),
        ("checkpoint.folder", "gs://", "it is a folder of this machine"),
        ("checkpoint.folder", "s3://bucket/run", "needs the library s3fs: pip install s3fs"),
    ],
)
def test_check_and_run_refuse_a_folder_in_the_same_words(field, path, message, tmp_path, monkeypatch, capsys):
    def computes(config, names):
        raise AssertionError("computed before the refusal")

    monkeypatch.setattr(instance, "run", computes)
    monkeypatch.setattr(experiment.required_files, "require_files", lambda config, names: None)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("s3fs", "tensorflow") else found(name)
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


def test_object_storage_whose_library_is_installed_is_accepted(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "gcsfs" or None)
    places.require_places(tiny_config(tmp_path, checkpoint__folder="gs://bucket/run"))
