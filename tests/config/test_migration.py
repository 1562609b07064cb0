"""Settings files of the published implementation: they load unchanged, and what is wrong with one is said."""

import pathlib
import warnings

import pytest
from helpers.reference_facts import DEFAULTS, REFERENCE, yaml_text

from gan2shape_jax import main as program
from gan2shape_jax.config import apply_overrides, flatten, load_config, validation
from gan2shape_jax.config.original.options import IGNORED, OPTIONS
from gan2shape_jax.errors import ConfigError

_ROOT = pathlib.Path(__file__).parents[2]
# The least that the original's code runs with.
_LEAST = {
    "num_stage": 1,
    "stage_len_dict": {"step1": 5, "step2": 6, "step3": 7},
    "img_list_path": "l.txt",
    "img_root": "pictures",
    "latent_root": "w",
    "gan_ckpt": "g.pt",
}


def _write(folder, facts, name="mine.yml") -> str:
    path = folder / name
    path.write_text(facts if isinstance(facts, str) else yaml_text(facts))
    return str(path)


def _load(folder, facts) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return flatten(load_config(_write(folder, facts)))


def _line(path: str, start: str) -> int:
    return next(n for n, line in enumerate(pathlib.Path(path).read_text().splitlines(), 1) if line.startswith(start))


@pytest.mark.parametrize("name", REFERENCE)
def test_published_file_is_our_config_of_the_same_name(name, tmp_path):
    found, ours = _load(tmp_path, REFERENCE[name]), flatten(load_config(name))
    assert found == ours
    assert {field: type(value) for field, value in found.items()} == {f: type(v) for f, v in ours.items()}


def test_options_left_out_take_the_defaults_of_the_published_code(tmp_path):
    found = _load(tmp_path, _LEAST)
    assert found == _load(tmp_path, DEFAULTS | _LEAST)
    facts = {"lam_perc": 1.0, "use_mask": True, "z_translation_range": 0.1, "add_mean_V": False}
    assert {name: found[OPTIONS[name].field] for name in facts} == facts
    assert found["schedule.stages"] == ((5, 6, 7),) and found["schedule.flip3"] == (False,)


_OTHER = {"text": "other", "flag": None, "whole": 64, "number": 0.875, "numbers": [-0.5, 0.5, 0, 0.5, 0, 0.5, -0.5]}


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if option.field])
def test_each_option_changes_its_own_field_alone(name, tmp_path):
    facts = REFERENCE["cat"]
    other = {
        "category": "synface",
        "F1_d": 5,
        "rot_center_depth": 1.01,
        "truncation": 0.5,
        "prior_near": 0.92,
        "max_depth": 1.2,
        "prior_far": 1.05,
    }.get(name, _OTHER[OPTIONS[name].kind])
    if other is None:
        other = not facts.get(name, OPTIONS[name].default)
    before, after = _load(tmp_path, facts), _load(tmp_path, facts | {name: other})
    changed = {field for field in before if before[field] != after[field]}
    # What the original has no option for is our category's; joint training starts without networks, from masks.
    also = {"category": {"parsing.weights"}, "joint_train": {"mode", "data.mask_root"}}.get(name, set())
    assert OPTIONS[name].field in changed and changed <= {OPTIONS[name].field} | also
    value = after[OPTIONS[name].field]
    assert (list(value) if isinstance(value, tuple) else value) == other


def test_ignored_options_are_named_in_one_line(tmp_path):
    facts = REFERENCE["car"] | dict.fromkeys(IGNORED, 1)
    path = _write(tmp_path, facts)
    with pytest.warns(UserWarning) as caught:
        load_config(path)
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith(f"{path}: ignored: ") and "\n" not in message
    assert set(message.partition("ignored: ")[2].partition(" (")[0].split(", ")) == set(IGNORED)


def test_nothing_is_said_where_nothing_is_ignored(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_config(_write(tmp_path, _LEAST))


@pytest.mark.parametrize(
    ("checkpoint", "converted"),
    [
        ("a/g.pt", "a/g.safetensors"),
        ("g.pth", "g.safetensors"),
        ("g.pkl", "g.safetensors"),
        ("g.safetensors", "g.safetensors"),
        ("net-0.5", "net-0.5.safetensors"),
    ],
)
def test_checkpoint_becomes_the_converted_file_beside_it(checkpoint, converted, tmp_path):
    assert _load(tmp_path, _LEAST | {"gan_ckpt": checkpoint})["gan.checkpoint"] == converted


def test_checkpoint_not_converted_yet_stops_with_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my nets").mkdir()
    (tmp_path / "my nets/g.pth").write_bytes(b"weights")
    path = _write(tmp_path, REFERENCE["car"] | {"gan_ckpt": "my nets/g.pth"})
    assert program.main([f"--config={path}"]) == 1
    told = capsys.readouterr().err
    assert "gan2shape-jax convert 'my nets/g.pth' 'my nets/g.safetensors'" in told
    assert "Traceback" not in told


def test_masks_of_our_config_are_left_to_its_images(tmp_path):
    assert _load(tmp_path, REFERENCE["car"] | {"img_root": "photos"})["data.mask_root"] == ""


def test_keeping_all_checkpoints_and_the_centre_of_rotation(tmp_path):
    found = _load(tmp_path, _LEAST | {"keep_num_checkpoint": -1, "min_depth": 0.8})
    assert found["checkpoint.keep"] > 10**5
    assert found["camera.rot_center_depth"] == pytest.approx((0.8 + 1.1) / 2)


def test_overrides_come_on_top(tmp_path):
    with pytest.warns(UserWarning, match="ignored"):
        config = load_config(_write(tmp_path, REFERENCE["car"]))
    changed = flatten(apply_overrides(config, {"sampling.batch_size": "32"}))
    assert changed == flatten(load_config("car")) | {"sampling.batch_size": 32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_msk": True}, "there is no option use_msk; the nearest is use_mask"),
        ({"batch_size": 4}, "the nearest is batchsize"),
        ({"lr": "1e-4"}, "lr is 1e-4: a number is wanted (YAML reads 1e-4 as text: write 1.0e-04)"),
        ({"lr": "fast"}, "lr is fast: a number is wanted"),
        ({"lr": ".nan"}, "lr is .nan: a number is wanted"),
        ({"batchsize": 8.0}, "batchsize is 8.0: a whole number is wanted"),
        ({"batchsize": True}, "batchsize is true: a whole number is wanted"),
        ({"use_mask": "maybe"}, "use_mask is maybe: true or false is wanted"),
        ({"use_mask": 2}, "true or false is wanted"),
        ({"flip3_cfg": True}, "a list of true and false is wanted"),
        ({"flip3_cfg": ["no thanks"]}, "a list of true and false is wanted"),
        ({"rand_light": [-1, 1, "a"]}, "a list of numbers is wanted"),
        ({"rand_light": [-1, 1]}, "seven numbers"),
        ({"img_root": 7}, "img_root is 7: text is wanted"),
        ({"img_root": "''"}, "text is wanted"),
        ({"image_size": 100}, "power of two"),
        ({"collect_iters": 0}, "more than 0"),
        ({"stage_len_dict": 700}, "step1, step2 and step3"),
        ({"stage_len_dict": {"step1": 7, "step2": 7}}, "step1, step2 and step3"),
        ({"stage_len_dict": {"step1": 7, "step2": 7, "step3": -1}}, "step1, step2 and step3"),
        ({"num_stage": 0}, "at least one stage"),
        ({"flip1_cfg": [True, False, False, False]}, "without flip3"),
        ({"flip1_cfg": [False]}, "flip1_cfg has 1 entries for 4 stages"),
        ({"category": "dog"}, "no parser for the category dog: it is one of face, synface"),
        ({"border_depth": 1.05}, "always is 0.7 max_depth + 0.3 min_depth, 1.04; leave it out"),
        ({"load_gt_depth": True}, "data/car has no image in it"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(change, message, tmp_path):
    path = _write(tmp_path, REFERENCE["car"] | change)
    (name,) = change
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}, line {_line(path, f'{name}:')}: ")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", _LEAST)
def test_option_that_is_missing_is_named(name, tmp_path):
    path = _write(tmp_path, {key: value for key, value in _LEAST.items() if key != name})
    with pytest.raises(ConfigError, match=f"mine.yml: the option {name} is missing"):
        load_config(path)


def test_later_stages_want_their_lengths(tmp_path):
    with pytest.raises(ConfigError, match="stage_len_dict2, the iterations of the later stages"):
        load_config(_write(tmp_path, _LEAST | {"num_stage": 2}))


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    path = _write(tmp_path, _LEAST | {"lr": "fast", "nonsense": 1, "crop": "half"})
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert [line.split(":")[1].split()[0] for line in str(caught.value).splitlines()] == ["lr", "there", "crop"]


def test_zero_and_one_are_flags_and_nothing_is_no_crop(tmp_path):
    text = yaml_text(_LEAST | {"use_mask": 0, "relative_enc": 1}) + "crop:\npretrain: null\n"
    found = _load(tmp_path, text)
    assert found["schedule.use_mask"] is False and found["gan.relative_enc"] is True
    assert found["data.crop"] is None and found["networks.pretrained"] == ""


def test_yaml_file_has_no_variants_and_has_to_be_there(tmp_path):
    with pytest.raises(ConfigError, match="no variant 'quick'"):
        load_config(_write(tmp_path, _LEAST) + ":quick")
    with pytest.raises(ConfigError, match="no config file .*gone.yaml"):
        load_config(str(tmp_path / "gone.yaml"))


@pytest.mark.parametrize(
    ("argument", "instead"),
    [
        ("--seed=3", "here: --config.seed=N"),
        ("--launcher=pytorch", "leave it out"),
        ("--num_workers", "leave it out"),
        ("--local_rank=1", "leave it out"),
    ],
)
def test_launch_options_of_the_published_code_are_answered(argument, instead, capsys):
    assert program.main(["--config=ictface", argument]) == 2
    assert instead in capsys.readouterr().err


def test_every_option_is_documented():
    text = (_ROOT / "docs/how-to/migrating.md").read_text()
    assert [name for name in (*OPTIONS, *IGNORED) if f"`{name}`" not in text] == []
    fields = {option.field for option in OPTIONS.values() if option.field}
    assert [field for field in fields if f"`{field}`" not in text] == []


def test_published_settings_are_valid(tmp_path):
    for name in REFERENCE:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert validation.problems(load_config(_write(tmp_path, REFERENCE[name]))) == [], name
