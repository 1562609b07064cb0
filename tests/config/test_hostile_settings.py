"""Settings in YAML and runs' `config.json` made to do harm: refused in words, at once and in little memory."""

import json
import os

import pytest
from helpers import hostile_texts
from helpers.measured_reading import read_all

from gan2shape_jax.config import load_config, to_json
from gan2shape_jax.config.saved import read_config
from gan2shape_jax.errors import ConfigError, UserError
from gan2shape_jax.main import main

pytestmark = pytest.mark.hostile

_HONEST = to_json(load_config("ictface"))
_YAML, _JSON = hostile_texts.yaml_files(), hostile_texts.json_files(_HONEST)
# What a run could well have.
_USABLE = {
    "yaml crop: 384 is 10",
    "yaml lam_perc: 0.5 is 2",
    "yaml step1: 700 is 2",
    "config.json data is 14",
    "config.json data is 15",
    "config.json data.crop is 0",
    "config.json data.image_root is 6",
    "config.json data.image_root is 7",
    "config.json schedule is 14",
    "config.json schedule is 15",
    "config.json schedule is 16",
    "config.json other fields",
}


@pytest.fixture(scope="module")
def readings(tmp_path_factory):
    """What came of every file, by reader and description."""
    folder = tmp_path_factory.mktemp("settings")
    cases = {}
    for reader, files, ending in (("yaml", _YAML, ".yml"), ("config.json", _JSON, ".json")):
        for index, (name, content) in enumerate(files.items()):
            path = folder / f"{index:04}{ending}"
            path.write_bytes(content)
            cases[f"{reader} {name}"] = (reader, path)
    return read_all(cases, folder)


def test_there_are_many_of_them():
    assert len(_YAML) >= 150 and len(_JSON) >= 150


def test_no_file_does_harm(readings):
    assert {name: found.harm for name, found in readings.items() if found.harm} == {}


def test_what_is_none_of_the_kind_is_refused_by_name_and_in_few_words(readings):
    read = {name for name, found in readings.items() if found.outcome == "read" and "mutated" not in name}
    assert read == _USABLE
    refused = {name: found.told for name, found in readings.items() if found.outcome == "refused"}
    assert [name for name, told in refused.items() if "/settings" not in told] == []
    assert [name for name, told in refused.items() if len(told) > 4000] == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("kind", ["a named pipe", "a device", "a folder"])
def test_special_files_are_not_opened(kind, tmp_path):
    for name in ("a.yml", "config.json"):
        path = tmp_path / name
        if kind == "a named pipe":
            os.mkfifo(path)
        elif kind == "a device":
            path.symlink_to("/dev/zero")
        else:
            path.mkdir()
    with pytest.raises(ConfigError, match=rf"a\.yml is {kind}, not a file"):
        load_config(str(tmp_path / "a.yml"))
    with pytest.raises(UserError, match=rf"config\.json is {kind}, not a file"):
        read_config(tmp_path / "config.json")


def test_names_that_no_file_can_have_are_said_of_any_configuration(tmp_path):
    for text in ("x" * 256, "a/" + "é" * 128, "a\0b"):
        tree = json.loads(_HONEST)
        tree["data"]["image_list"] = text
        (tmp_path / "config.json").write_text(json.dumps(tree))
        with pytest.raises(
            UserError, match="config.data.image_list is .*: (no file has so long a name|it holds the control character)"
        ):
            read_config(tmp_path / "config.json")


@pytest.mark.parametrize("field", ["data.image_list", "data.mask_root", "sampling.view_mvn", "workdir"])
def test_the_check_says_what_no_file_can_be_called(field, capsys):
    assert main(["--config=ictface", "--check", f"--config.{field}={'x' * 300}"]) == 2
    told = capsys.readouterr().err
    assert f"config.{field}" in told and "no file has so long a name" in told and "Traceback" not in told


def test_a_configuration_that_no_run_could_have_had_is_refused(tmp_path):
    tree = json.loads(_HONEST)
    tree["image_size"] = 2**20
    (tmp_path / "config.json").write_text(json.dumps(tree))
    with pytest.raises(UserError, match=r"config\.json: config.image_size is 1048576: it has to be a power of two"):
        read_config(tmp_path / "config.json")


def test_an_honest_configuration_comes_back(tmp_path):
    for name in ("ictface", "celeba", "synface_pretrain"):
        (tmp_path / "config.json").write_text(to_json(load_config(name)))
        assert to_json(read_config(tmp_path / "config.json")) == to_json(load_config(name))
