"""The bundled configurations: how they are named, documented, locked; broken files are refused."""

import itertools
import pathlib

import pytest

from gan2shape_jax.config import documentation, flatten, load_config, names, to_json
from gan2shape_jax.config.validation import problems
from gan2shape_jax.errors import ConfigError
from gan2shape_jax.main import main

_ROOT = pathlib.Path(__file__).parents[2]


def test_every_field_is_documented_and_nothing_else():
    described = documentation.describe_fields()
    assert described.keys() == flatten(load_config("base")).keys()
    assert [field for field, text in described.items() if len(text) < 10] == []


def test_category_configs_add_no_field():
    fields = flatten(load_config("base")).keys()
    for name in names():
        assert flatten(load_config(name)).keys() == fields, name


@pytest.mark.parametrize("spec", ["configs/ictface.py:quick", "ictface:quick", str(_ROOT / "configs/ictface.py:quick")])
def test_ways_to_name_a_config_agree_in_any_folder(spec, tmp_path, monkeypatch):
    expected = flatten(load_config("ictface:quick"))
    monkeypatch.chdir(tmp_path)
    assert flatten(load_config(spec)) == expected
    assert expected["schedule.stages"] == ((60, 60, 40),)


def test_bundled_assets_exist_wherever_the_program_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config("ictface")
    names = pathlib.Path(config.data.image_list).read_text().split()
    assert len(names) == 6 and names[:3] == ["001.png", "005.png", "006.png"]
    for name, (root, ending) in itertools.product(
        names, [("image", ".png"), ("mask", ".png"), ("depth", ".npy"), ("latent", ".pt")]
    ):
        assert (pathlib.Path(config.data[f"{root}_root"]) / name).with_suffix(ending).is_file()


@pytest.mark.parametrize(
    "spec, message",
    [
        ("ictfac", "did you mean ictface"),
        ("ictface:quik", "no variant 'quik' .it has scratch, quick"),
        ("car:quick", "it has none"),
        ("no/such.py", "no config file no/such.py"),
        ("../gan2shape_jax/errors", "there is no config"),
    ],
)
def test_unknown_config_is_an_error_with_a_hint(spec, message):
    with pytest.raises(ConfigError, match=message):
        load_config(spec)


@pytest.mark.parametrize("name", names())
def test_every_configuration_can_be_lifted(name):
    config = load_config(f"{name}:lift")
    assert config.mode == "lift" and problems(config) == []
    assert config.workdir.endswith("_lift") and config.gan.checkpoint == load_config(name).gan.checkpoint
    assert config.gan.relative_enc and not config.gan.regularize_offset


@pytest.mark.parametrize("name", names())
def test_every_lift_can_go_on_from_its_networks(name):
    config, lift = load_config(f"{name}:relift"), load_config(f"{name}:lift")
    (fault,) = problems(config)
    assert "name the networks.safetensors of a lift" in fault
    config = config.unlock()
    config.networks.pretrained = "networks.safetensors"
    assert problems(config) == []
    assert config.workdir == lift.workdir.removesuffix("_lift") + "_relift"
    assert config.lift.anchored_stages == 0 < config.lift.own_encoder_iterations
    assert config.schedule.flip3[0] == lift.schedule.flip3[0] and config.mode == "lift"


def test_a_change_is_carried_on_only_from_networks_that_there_were():
    config = load_config("ictface:lift").unlock()
    config.lift.overshoot = 1.0
    (fault,) = problems(config)
    assert "config.lift.overshoot is 1.0, but config.networks.pretrained is empty" in fault
    config.networks.pretrained = "networks.safetensors"
    assert problems(config) == []


def test_lift_is_a_command_and_a_variant(capsys, tmp_path):
    told = []
    for words in (["lift", "--config=ictface"], ["lift", "--config=ictface:lift"], ["--config=ictface:lift"]):
        assert main([*words, f"--config.workdir={tmp_path}", "--check"]) == 0
        told.append(capsys.readouterr().out)
    assert "192 samples a stage" in told[0] and len(set(told)) == 1
    assert main(["lift", "--config=ictface:quick"]) == 2
    assert "lift --config=ictface" in capsys.readouterr().err
    assert main(["lift"]) == 2


@pytest.mark.parametrize(
    "text, message",
    [
        ("1 / 0", "does not run: ZeroDivisionError"),
        ("get_config = (", "does not run: SyntaxError"),
        ("a = 1", "no function get_config"),
        ("def get_config():\n    return {}", "no ml_collections.ConfigDict"),
    ],
)
def test_broken_config_file_is_a_config_error(text, message, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(str(path))


def test_configs_are_locked_and_json_is_stable():
    config = load_config("ictface")
    with pytest.raises(AttributeError):
        config.no_such_field = 1
    assert to_json(config) == to_json(load_config("configs/ictface.py"))
