"""Settings files of the published implementation: they load unchanged, and what is wrong with one is said."""

import pathlib
import random
import warnings

import pytest
import yaml

from gan2shape_jax import main as program
from gan2shape_jax.config import apply_overrides, flatten, load_config, schema
from gan2shape_jax.config.published_yaml import IGNORED, OPTIONS
from gan2shape_jax.errors import ConfigError

_ROOT = pathlib.Path(__file__).parents[2]
# What the eight settings files of https://github.com/XingangPan/GAN2Shape say at commit 97dddd9, and, in defaults.yml,
# what an option that is left out is in the `cfgs.get` calls of its gan2shape/model.py, trainer.py and renderer.py.
_PUBLISHED = _ROOT / "tests" / "data" / "published"
REFERENCE = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(_PUBLISHED.glob("*.yml"))}
DEFAULTS, FIXED = REFERENCE.pop("defaults"), REFERENCE.pop("fixed")
# The least that the original's code runs with.
_LEAST = {"num_stage": 1, "stage_len_dict": {"step1": 5, "step2": 6, "step3": 7}, "gan_ckpt": "g.pt"}
_LEAST |= {"img_list_path": "l.txt", "img_root": "pictures", "latent_root": "w"}


def _spec(name: str) -> str:
    """The configuration that a published settings file is."""
    category, joint, _ = name.partition("_pretrain")
    return f"{category}:published{joint and '_joint'}"


def _write(folder, facts, name="mine.yml") -> str:
    path = folder / name
    path.write_text(facts if isinstance(facts, str) else yaml.safe_dump(facts))
    return str(path)


def _load(folder, facts) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return flatten(load_config(_write(folder, facts)))


@pytest.mark.parametrize("name", REFERENCE)
def test_published_file_is_our_published_variant(name, tmp_path):
    actual, ours = _load(tmp_path, (_PUBLISHED / f"{name}.yml").read_text()), flatten(load_config(_spec(name)))
    assert (
        actual.pop("workdir") == f"results/{name}" and ours.pop("workdir") == f"results/{_spec(name).replace(':', '_')}"
    )
    assert actual == ours
    assert {field: type(value) for field, value in actual.items()} == {f: type(v) for f, v in ours.items()}
    assert schema.problems(load_config(_spec(name))) == []


def test_what_the_published_code_fixes_is_ours():
    for name in REFERENCE:
        values = flatten(load_config(_spec(name)))
        assert {field: values[field] for field in FIXED} == FIXED, name


def test_options_left_out_take_the_defaults_of_the_published_code(tmp_path):
    actual = _load(tmp_path, _LEAST)
    assert actual == _load(tmp_path, DEFAULTS | _LEAST)
    assert _load(tmp_path, _LEAST | {"lr": "2e-4"})["optimizer.learning_rate"] == 2e-4  # which YAML reads as text
    facts = {"lam_perc": 1.0, "use_mask": True, "z_translation_range": 0.1, "add_mean_V": False}
    assert {name: actual[OPTIONS[name][0]] for name in facts} == facts
    assert actual["schedule.stages"] == ((5, 6, 7),) and actual["schedule.flip3"] == (False,)


def test_each_option_changes_its_own_field_alone(tmp_path):
    facts = REFERENCE["cat"]
    before = _load(tmp_path, facts)
    others = {"category": "synface", "F1_d": 5, "truncation": 0.5, "prior_near": 0.92, "max_depth": 1.2}
    others |= {"prior_far": 1.05, "crop": 64, "rand_light": [-0.5, 0.5, 0, 0.5, 0, 0.5, -0.5]}
    for name, (field, default) in OPTIONS.items():
        if not field:
            continue
        other = {str: "other", int: 64, float: 0.875}.get(type(default))
        other = others.get(name, not facts.get(name, default) if other is None else other)
        after = _load(tmp_path, facts | {name: other})
        changed = {path for path in before if before[path] != after[path]}
        # What the original has no option for is our category's; joint training starts without networks, from masks.
        also = {"category": {"parsing.weights"}, "joint_train": {"recipe", "data.mask_root"}}.get(name, set())
        assert field in changed and changed <= {field} | also, name
        assert (list(after[field]) if isinstance(after[field], tuple) else after[field]) == other, name


def test_ignored_options_are_named_in_one_line_and_only_they(tmp_path):
    path = _write(tmp_path, REFERENCE["car"] | dict.fromkeys(IGNORED, 1))
    with pytest.warns(UserWarning) as caught:
        load_config(path)
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith(f"{path}: ignored: ") and "\n" not in message
    assert set(message.partition("ignored: ")[2].partition(" (")[0].split(", ")) == set(IGNORED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_config(_write(tmp_path, _LEAST))


@pytest.mark.parametrize("ending", [".pt", ".pth", ".pkl", ".safetensors"])
def test_a_checkpoint_of_any_format_becomes_the_converted_file(tmp_path, ending):
    assert _load(tmp_path, _LEAST | {"gan_ckpt": f"a/g{ending}"})["gan.checkpoint"] == "a/g.safetensors"


def test_values_that_follow_from_several_options_or_another_form_of_one(tmp_path):
    assert _load(tmp_path, _LEAST | {"gan_ckpt": "net-0.5"})["gan.checkpoint"] == "net-0.5.safetensors"
    assert _load(tmp_path, REFERENCE["car"] | {"img_root": "photos"})["data.mask_root"] == ""
    actual = _load(tmp_path, _LEAST | {"keep_num_checkpoint": -1, "min_depth": 0.8})
    assert actual["checkpoint.keep"] > 10**5
    assert actual["camera.rot_center_depth"] == pytest.approx((0.8 + 1.1) / 2)
    actual = _load(tmp_path, yaml.safe_dump(_LEAST | {"use_mask": 0, "relative_enc": 1}) + "crop:\npretrain: null\n")
    assert (actual["schedule.use_mask"], actual["gan.relative_enc"]) == (False, True)
    assert actual["data.crop"] is None and actual["networks.pretrained"] == ""


@pytest.mark.filterwarnings("always:.*ignored. model_name:UserWarning")  # is printed
def test_checkpoint_not_converted_yet_stops_with_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my nets").mkdir()
    (tmp_path / "my nets/g.pth").write_bytes(b"weights")
    path = _write(tmp_path, REFERENCE["car"] | {"gan_ckpt": "my nets/g.pth"})
    assert program.main([f"--config={path}"]) == 1
    printed = capsys.readouterr().err
    assert "gan2shape-jax convert 'my nets/g.pth' 'my nets/g.safetensors'" in printed and "Traceback" not in printed


def test_overrides_and_variants_come_on_top(tmp_path):
    path = _write(tmp_path, _LEAST)
    assert apply_overrides(load_config(path), {"sampling.batch_size": "32"}).sampling.batch_size == 32
    assert load_config(f"{path}:lift").recipe == "lift"
    with pytest.raises(ConfigError, match="no variant 'published'"):
        load_config(f"{path}:published")
    with pytest.raises(ConfigError, match="no config file .*gone.yaml"):
        load_config(str(tmp_path / "gone.yaml"))


@pytest.mark.parametrize(
    ("facts", "option", "message"),
    [
        ({"lr": "fast"}, "lr", "lr is a number, not 'fast'"),
        ({"use_mask": 2}, "use_mask", "use_mask is True or False, not 2"),
        ({"flip1_cfg": True}, "flip1_cfg", "flip1_cfg is a tuple such as .*, not True"),
        ({"stage_len_dict": 5}, "stage_len_dict", "step1, step2 and step3"),
        ({"lerning_rate": 1}, "lerning_rate", "no option lerning_rate; the nearest is "),
        ({"category": "dog"}, "category", "no parser for the category dog"),
        ({"num_stage": 0}, "num_stage", "must be from 1 to"),
        ({"num_stage": 2}, "num_stage", "stage_len_dict2, .*is missing"),
        (REFERENCE["car"] | {"flip3_cfg": [True]}, "flip3_cfg", "True or False for each of the 4 stages"),
        ({"border_depth": 1.2}, "border_depth", "here it is always"),
        ({"load_gt_depth": True}, "load_gt_depth", "has no image in it"),
        ({"image_size": 96}, "image_size", "power of two"),
        ({"flip1_cfg": [True]}, "flip1_cfg", "without flip3"),
        ({"img_root": ""}, "img_root", "the option img_root is missing"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_option(facts, option, message, tmp_path):
    path = _write(tmp_path, _LEAST | facts)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ") and option in str(caught.value)


def test_missing_options_are_all_named_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_config(_write(tmp_path, "lam_perc: 1\n"))
    assert all(f"the option {name} is missing" in str(caught.value) for name in _LEAST)


# Ten of the line before in each, which is more values than any memory holds.
_NESTED = b"stage_len_dict: &a0 [1, 2]\n" + b"".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n".encode() for k in range(1, 20)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb:\t2\n", "found character .*that cannot start.*line 2"),
        (b"a: 1\nb: [1, 2\nc: 3\n", "line 3"),
        (b"a: 1\nb: !!python/object/apply:os.system ['touch x']\n", "line 2"),
        (b"!!python/object:os.x\na: 1\n", "line 1"),
        (b"a: *gone\n", r"it has an alias, \*name"),
        (_NESTED, r"it has an alias, \*name: write the value itself"),
        (b"- a\n- b\n", "has no `option: value` lines"),
        (b"a: !!int x\n", "cannot be read as a settings file"),
        (b"", "has no `option: value` lines"),
        (b"\xff\xfe\x00", "cannot be read as a settings file"),
        (b"a: \x07\n", "special characters are not allowed"),
        (b"a: " + b"[" * 5000, "cannot be read as a settings file"),
        (b"a: " + b"x" * 2**20, "at most"),
    ],
)
def test_anything_but_plain_options_is_refused_and_runs_nothing(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("a.yml").write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config("a.yml")
    assert str(caught.value).startswith("a.yml")
    assert "\n" not in str(caught.value) and [path.name for path in tmp_path.iterdir()] == ["a.yml"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_mutated_file_ends_in_anything_but_a_configuration_or_a_sentence(tmp_path):
    honest, draw = (_PUBLISHED / "car.yml").read_bytes(), random.Random(0)
    for _ in range(60):
        raw = bytearray(honest)
        for _ in range(draw.choice((1, 2, 8))):
            raw[draw.randrange(len(raw))] = draw.choice(b"{}[]:,&*!|>'\"%@`#-?\t\n 0a\xff")
        (tmp_path / "a.yml").write_bytes(raw)
        try:
            load_config(str(tmp_path / "a.yml"))
        except ConfigError as error:
            assert "a.yml" in str(error) and len(str(error)) < 4000, raw


def test_every_option_is_documented():
    text = (_ROOT / "docs/how-to/migrating.md").read_text()
    assert [name for name in (*OPTIONS, *IGNORED) if f"`{name}`" not in text] == []
    assert [field for field, _ in OPTIONS.values() if field and f"`{field}`" not in text] == []
