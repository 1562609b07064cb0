"""Configurations, bundled or of one's own: whole, valid, back from JSON, can be lifted, and what is wrong with one."""

import ast
import itertools
import json
import os
import pathlib
import zlib

import pytest

import gan2shape_jax
from gan2shape_jax.config import apply_overrides, flatten, load, load_config, names, schema, to_json
from gan2shape_jax.config.load import read_config
from gan2shape_jax.config.schema import problems
from gan2shape_jax.errors import ConfigError, UserError
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.categories import categories, category_of
from gan2shape_jax.main import main
from gan2shape_jax.method.settings import Settings

_JOINT = ("celeba", "cat", "synface")  # the published categories that were trained jointly, too
_PUBLISHED = ("car", "church", "horse", *_JOINT)
_BUNDLED = [name for name in names() if name not in _PUBLISHED or name in ("car", "cat")]
_SPECS = [*_BUNDLED, *(f"{name}:published" for name in _PUBLISHED), *(f"{name}:published_joint" for name in _JOINT)]
_VARIANTS = [f"{name}:{variant}" for name in ("ictface", "car", "cat", "people") for variant in load.VARIANTS]


@pytest.mark.parametrize("spec", [*_SPECS, *_VARIANTS, "ablation:flat", "ablation:no_regularization"])
def test_a_configuration_is_whole_valid_locked_and_comes_back(spec, tmp_path):
    config = load_config(spec)
    values = flatten(config)
    assert values.keys() == schema.fields().keys()
    if config.recipe == "finetune":  # begins with the networks of a lift
        config = apply_overrides(config, {"networks.pretrained": "networks.safetensors"})
        values = flatten(config)
    assert problems(config) == []
    with pytest.raises(AttributeError):
        config.no_such_field = 1
    (tmp_path / "config.json").write_text(to_json(config))
    assert flatten(read_config(tmp_path / "config.json")) == values
    assert {path: type(value) for path, value in values.items() if path != "data.crop"} == {
        path: type(field.default) for path, field in schema.fields().items() if path != "data.crop"
    }


@pytest.mark.parametrize("name", _SPECS)
def test_every_configuration_can_be_lifted_and_every_lift_go_on_from_its_networks(name):
    lift, again = load_config(f"{name}:lift"), load_config(f"{name}:finetune").unlock()
    assert problems(lift) == [] and (lift.recipe, again.recipe) == ("lift", "finetune")
    assert lift.gan.checkpoint == load_config(name).gan.checkpoint
    assert lift.gan.relative_enc and not lift.gan.regularize_offset
    assert again.workdir == lift.workdir.removesuffix("_lift") + "_finetune"
    (fault,) = problems(again)
    assert "name the networks.safetensors of a lift" in fault
    again.networks.pretrained = "networks.safetensors"
    assert problems(again) == []
    assert again.schedule.flip3[0] == lift.schedule.flip3[0]


def test_every_field_is_described_once_with_a_range_or_choices_where_it_has_one():
    groups = schema.groups()
    for path, field in schema.fields().items():
        assert len(field.meaning) >= 10 and schema.group_of(path) in groups, path
        assert bool(field.limits) or type(field.default) not in (int, float, type(None)), path
        assert field.fault(field.default) == "" and (not field.choices or field.default in field.choices), path
    assert all(groups.values()) and len(groups) == 19


@pytest.mark.parametrize("name", ["car", "church", "horse", "cat", "ictface"])
def test_what_stands_on_the_ground_turns_by_45_degrees(name):
    records = categories()
    record, standing = records[name], name in ("car", "church", "horse")
    assert (record.max_yaw_deg == 45, record.box == "ground") == (standing, standing), name


def test_a_category_is_the_record_of_its_configuration_file(tmp_path):
    records = categories()
    assert {load_config(name).category for name in _SPECS} - {"own"} <= records.keys()
    assert str(category_of("cat")) == "cat's face"
    assert str(category_of("celeba")) == "face" == str(category_of("ictface"))
    assert (str(category_of("boat")), category_of("boat").box, category_of("boat").parser) == ("boat", "none", None)
    text = (
        "from gan2shape_jax.config import load_config\nfrom gan2shape_jax.io.categories import Category\n"
        "CATEGORY = Category('test-boat', 'ground', max_yaw_deg=30.0, word='boat')\n"
        "def get_config():\n"
        "    config = load_config('own').unlock()\n"
        "    config.category = 'test-boat'\n"
        "    return config\n"
    )
    (tmp_path / "boat.py").write_text(text)
    config = apply_overrides(load_config(f"{tmp_path / 'boat.py'}:lift"), {"seed": "3"})
    boat = category_of(config.copy_and_resolve_references().category)
    assert (str(boat), boat.max_yaw_deg, boat.box) == ("boat", 30.0, "ground")
    assert to_json(config) == to_json(apply_overrides(config, {"category": "test-boat"}))  # a name like any other
    assert category_of("test-boat").max_yaw_deg == 70 and categories() is records  # loading leaves nothing behind
    (tmp_path / "boat.py").write_text(text.replace("config.category = 'test-boat'", "pass"))
    with pytest.raises(ConfigError, match="CATEGORY describes 'test-boat', but get_config gives the category 'own'"):
        load_config(str(tmp_path / "boat.py"))


@pytest.mark.parametrize("place", ["", f"{pathlib.Path(__file__).parents[2]}/"])
def test_ways_to_name_a_config_agree_in_any_folder(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    assert to_json(load_config(f"{place}configs/ictface.py:quick")) == to_json(load_config("ictface:quick"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ictfac", "did you mean ictface"),
        ("ictface:quik", "no variant 'quik' .it has predict, scratch, quick"),
        ("church", "church is church:published: nothing of it is bundled, and gan2shape-jax get church downloads"),
        ("church:quick", "church is church:published"),
        ("church:published:quik", "no variant 'quik' .it has published, predict, scratch"),
        ("ictface:quick:published", "no variant 'published'"),
        ("no/such.py", "no config file no/such.py"),
        ("../gan2shape_jax/errors", "there is no config"),
    ],
)
def test_unknown_config_is_an_error_with_a_hint(spec, message):
    with pytest.raises(ConfigError, match=message):
        load_config(spec)


def test_a_files_own_variant_is_taken_before_one_that_all_have(tmp_path):
    text = (
        "from gan2shape_jax.config import load_config\nVARIANTS = ('quick', 'slow')\n"
        "def get_config(variant=''):\n"
        "    config = load_config('ictface').unlock()\n"
        "    config.seed = 1 + len(variant)\n"
        "    return config\n"
    )
    (path := tmp_path / "mine.py").write_text(text)
    assert [load_config(f"{path}{more}").seed for more in ("", ":quick", ":slow", ":slow:quick")] == [1, 6, 5, 5]
    assert load_config(f"{path}:slow:quick").prior.iterations == 150
    (path := tmp_path / "other.py").write_text(text.replace("variant=''", "variant"))
    with pytest.raises(ConfigError, match="^config other is other:quick, other:slow$"):
        load_config(f"{path}:predict")


def test_lift_is_a_command_and_a_variant(capsys, tmp_path):
    printed = []
    for words in (["lift", "--config=ictface"], ["--config=ictface:lift"]):
        assert main([*words, f"--config.workdir={tmp_path}", "--check"]) == 0
        printed.append(capsys.readouterr().out)
    assert "192 samples a stage" in printed[0] and len(set(printed)) == 1
    assert main(["lift", "--config=ictface:quick"]) == 2
    assert "lift --config=ictface" in capsys.readouterr().err
    assert main(["lift"]) == 2


def test_the_bundled_faces_begin_with_the_bundled_model_unless_from_scratch():
    default, scratch = flatten(load_config("ictface")), flatten(load_config("ictface:scratch"))
    changed = {"recipe", "networks.pretrained", "workdir"}
    assert {path for path in default if default[path] != scratch[path]} == changed
    model = default["networks.pretrained"]
    assert load_config("ictface:predict").networks.pretrained == model
    assert not any(load_config(f"ictface:{name}").networks.pretrained for name in ("scratch", "quick", "joint", "lift"))
    assert len(zlib.compress(pathlib.Path(model).read_bytes(), level=1)) < 25e6  # of a wheel
    listed = pathlib.Path(default["data.image_list"]).read_text().split()
    roots = [("image", ".png"), ("mask", ".png"), ("depth", ".npy"), ("latent", ".pt")]
    for name, (root, ending) in itertools.product(listed, roots):
        assert (pathlib.Path(default[f"data.{root}_root"]) / name).with_suffix(ending).is_file()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("image_size", 2**20, "image_size is 1048576: it must be a power of two"),
        ("data", 3, "no field config.data"),
        ("sead", 3, "no field config.sead; did you mean config.seed"),
        ("gan", {"size": {"a": 1}}, "no field config.gan.size.a"),
        ("data", {"image_list": "a\0b"}, "data.image_list is .*control character"),
        ("schedule", {"stages": [[1, 2]]}, "triples"),
        ("optimizer", {"learning_rate": "fast"}, "learning_rate is a number, not 'fast'"),
    ],
)
def test_a_saved_configuration_that_no_run_could_have_had_is_refused(path, value, message, tmp_path):
    tree = json.loads(to_json(load_config("ictface")))
    tree[path] = tree[path] | value if isinstance(value, dict) and path in tree else value
    file = tmp_path / "config.json"
    file.write_text(json.dumps(tree))
    with pytest.raises(UserError, match=f"config.json: .*{message}"):
        read_config(file)


@pytest.mark.parametrize("spec", ["cat", "cat:lift", "people:lift"])
def test_the_bundled_configurations_have_all_they_need(tmp_path, spec):
    from gan2shape_jax.run import preflight

    config = load_config(spec).unlock()
    config.workdir = str(tmp_path / spec.replace(":", "_"))
    assert preflight.examine(config.lock()) == [], spec


def test_the_licence_of_the_bundled_cats_names_its_holder():
    assert "AnnikaV9" in pathlib.Path(asset("cat/LICENSE-cat-dataset")).read_text()


_START = "from gan2shape_jax.config import load_config\n"
_CHANGED = _START + "def get_config():\n    config = load_config('ictface').unlock()\n    {}\n    return config\n"
_TYPES = _CHANGED.format("with config.ignore_type():\n        {}")


@pytest.mark.parametrize(
    "text, message",
    [
        ("1 / 0", "does not run: ZeroDivisionError"),
        ("def get_config(): raise ValueError('two\\nlines')", "of mine.py does not run: ValueError: two lines"),
        ("import sys\ndef get_config(): sys.exit(0)", "does not run: SystemExit: 0"),
        ("def get_config(): return get_config()", "RecursionError"),
        ("def get_config(): return {}", "not return an ml_collections.ConfigDict"),
        ("get_config = 5", "no function get_config"),
        ("a = 1\0", "source code string cannot contain null bytes"),
        (_CHANGED.format("config.camera = 3"), "camera"),
        (_CHANGED.format("del config.camera"), "config.camera.fov_deg is missing"),
        (_CHANGED.format("config.sed = 1"), "no field config.sed; did you mean config.seed?"),
        (_TYPES.format("config.seed = 'x'"), "config.seed is a whole number, not 'x'"),
        (_TYPES.format("config.workdir = 'a\\0b'"), "config.workdir is 'a\\x00b': it holds the control character"),
        (
            "from ml_collections.config_dict import required_placeholder\n"
            + _CHANGED.format("config.more = required_placeholder(int)"),
            "does not run: RequiredValueError",
        ),
    ],
)
def test_a_config_file_that_gives_no_configuration_is_reported_in_a_line(text, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(text)
    assert main(["--config=mine.py", "--check"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and "Traceback" not in printed
    assert printed.count("\n") == 1 and [path.name for path in tmp_path.iterdir()] == ["mine.py"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder.py", "is not a file"),
        ("folder.yml", "is a folder"),
        ("pipe.py", "is not a file"),
        ("pipe.yml", "is a named pipe"),
        ("circle.py", "there is no config file"),
        ("circle.yml", "circle.yml"),
        ("random.py", "does not run"),
        pytest.param("n" * 300 + ".py", "there is no config file", id="long"),
    ],
)
def test_a_path_that_is_no_file_is_reported_and_not_waited_for(tmp_path, capsys, name, message):
    for ending in ("py", "yml"):
        (tmp_path / f"folder.{ending}").mkdir()
        os.mkfifo(tmp_path / f"pipe.{ending}")
        (tmp_path / f"circle.{ending}").symlink_to(f"circle.{ending}")
    (tmp_path / "random.py").write_bytes(bytes(range(256)) * 20)
    assert main([f"--config={tmp_path / name}", "--check"]) == 2
    assert message in capsys.readouterr().err


def test_what_a_config_file_prints_is_shown_and_a_frozen_configuration_will_do(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        _START + "from ml_collections import FrozenConfigDict\nprint('hello')\n"
        "def get_config(): return FrozenConfigDict(load_config('ictface'))"
    )
    config = load_config(str(path))
    assert capsys.readouterr().out == "hello\n"
    assert flatten(config) == flatten(load_config("ictface")) and config.is_locked
    path.write_text("raise KeyboardInterrupt")
    assert main([f"--config={path}"]) == 130


_PACKAGE = pathlib.Path(gan2shape_jax.__file__).parent
# Who looks at every field alike: the configuration's own machinery.
_MACHINERY = ("config", "configs")


def test_every_field_is_read():
    """As an attribute of its name, or as one of `Settings`, which takes what has the name of one of its own."""
    read = set(Settings.__dataclass_fields__)
    for path in _PACKAGE.rglob("*.py"):
        if path.relative_to(_PACKAGE).parts[0] not in _MACHINERY:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    read.add(node.attr)
    fields = flatten(load_config("base"))
    unread = {field for field in fields if field.rpartition(".")[2] not in read}
    assert len(fields) > 80 and unread == set()
