"""Configurations do not mix in a folder, even where `config.json` is damaged or lost."""

import json
import pathlib

import pytest
from helpers.harm import JSON_OF_ANOTHER_FORM, do
from helpers.tiny import tiny_config

from gan2shape_jax.errors import UserError
from gan2shape_jax.run import same_config
from gan2shape_jax.run.run_folder import RunFolder
from gan2shape_jax.run.same_config import config_hash, harm_of_config, harm_of_versions, require_same_config

pytestmark = pytest.mark.hostile


@pytest.fixture
def config(tmp_path):
    config = tiny_config(tmp_path)
    RunFolder.open(config)
    return config


def _root(config):
    return pathlib.Path(config.workdir)


def test_the_hash_tells_apart_what_changes_results_and_nothing_else(tmp_path):
    this = config_hash(tiny_config(tmp_path))
    assert config_hash(tiny_config(tmp_path, seed=7)) != this
    for free in ({"checkpoint__keep": 5}, {"workdir": "elsewhere"}, {"data__image_list": "longer.txt"}):
        assert config_hash(tiny_config(tmp_path, **free)) == this


def test_the_same_configuration_is_told(config, tmp_path):
    assert require_same_config(config) and not harm_of_config(config) and not harm_of_versions(_root(config))
    with pytest.raises(UserError, match=r"seed \(was 0, is 7\)"):
        require_same_config(tiny_config(tmp_path, seed=7))


@pytest.mark.parametrize("text", JSON_OF_ANOTHER_FORM)
def test_json_of_another_form_tells_no_configuration(config, text):
    if text == "{}":
        return  # see the next test: it is a configuration without fields
    (_root(config) / "config.json").write_text(text, encoding="latin-1")
    assert not require_same_config(config) and "config.json" in harm_of_config(config)
    (_root(config) / "versions.json").write_text(text, encoding="latin-1")
    assert not require_same_config(config)


@pytest.mark.parametrize("changed", ['"seed": 1,', '"seed": "x",'])
def test_a_changed_value_is_damage_where_the_checksum_is_another(config, changed):
    path = _root(config) / "config.json"
    path.write_text(path.read_text().replace('"seed": 0,', changed))
    assert not require_same_config(config) and "another checksum" in harm_of_config(config)


def test_without_a_checksum_a_changed_value_is_another_configuration(config):
    """As in folders of earlier versions."""
    versions = _root(config) / "versions.json"
    content = json.loads(versions.read_text())
    versions.write_text(json.dumps({key: content[key] for key in content if key not in ("checksum", "config.json")}))
    assert not harm_of_versions(_root(config))
    path = _root(config) / "config.json"
    path.write_text(path.read_text().replace('"seed": 0,', '"seed": 1,'))
    with pytest.raises(UserError, match=r"seed \(was 1, is 0\)"):
        require_same_config(config)


@pytest.mark.parametrize("kind", ["truncate", "empty", "garble", "flip"])
def test_damaged_versions_are_found_and_keep_nothing_from_going_on(config, kind):
    do(_root(config) / "versions.json", kind)
    assert "versions.json" in harm_of_versions(_root(config))
    assert require_same_config(config) and not harm_of_config(config)


def test_a_lost_configuration_is_written_again(config):
    (_root(config) / "config.json").unlink()
    assert not require_same_config(config) and not harm_of_config(config)
    same_config.write(config, _root(config))
    assert require_same_config(config)
