"""The arguments of a reconstruction and its help; fields from text: types, misspelt names, values that are wrong."""

import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan2shape_jax import main as program
from gan2shape_jax.config import apply_overrides, flatten, load_config, schema
from gan2shape_jax.config.command_line import Arguments, help_text, parse
from gan2shape_jax.errors import ConfigError
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.main import main

_BASE, _ROOTS = load_config("base"), ("latent_root", "mask_root", "depth_root")


_TYPED = {"schedule.use_mask": {"true": True, "False": False}, "schedule.flip3": {"(True,False)": (True, False)}}
_TYPED |= {"gan.size": {"128": 128}, "loss.lam_perc": {"1": 1.0, "1e-3": 1e-3}, "data.crop": {"170": 170, "None": None}}
_TYPED |= {"workdir": {"12": "12"}, "data.latent_root": {"": ""}, "schedule.stages": {"[[1,2,3]]": ((1, 2, 3),)}}


@pytest.mark.parametrize("field", _TYPED)
def test_override_takes_the_type_of_its_field_and_changes_nothing_else(field):
    original = load_config("synface:published")
    before = flatten(original)
    for text, value in _TYPED[field].items():
        actual = flatten(apply_overrides(original, {field: text}))
        assert actual == before | {field: value} and type(actual[field]) is type(value) and flatten(original) == before


@pytest.mark.parametrize(
    ("field", "nearest"),
    [
        ("schedule.use_msk", r"config.schedule.use_mask\?"),
        ("use_mask", r"config.schedule.use_mask\?"),
        ("data.images_root", r"config.data.image_root\?"),
        ("optim.learningrate", r"config.optimizer.learning_rate\?"),
        ("sampling.batchsize", r"config.sampling.batch_size\?"),
        ("gan", "is a group of fields"),
    ],
)
def test_misspelt_field_names_the_nearest(field, nearest):
    with pytest.raises(ConfigError, match=nearest):
        apply_overrides(load_config("ictface"), {field: "1"})


_MISTYPED = {"gan.size": ("big", "1.5", "True", "None"), "loss.lam_perc": ("many",), "data.crop": ("half",)}
_MISTYPED |= {"schedule.use_mask": ("2",), "schedule.stages": ("((1, 2, 3)," * 500,), "seed": ("9" * 5000, "(" * 1000)}
_MISTYPED |= {"data.image_root": ("a\0b",), "workdir": ("line\nbreak",), "sampling.view_mvn": ("x" * 300,)}
_MISTYPED |= {"schedule.distinct_images": ("y" * 5000,)}


@pytest.mark.parametrize("field, text", [(field, text) for field, texts in _MISTYPED.items() for text in texts])
def test_mistyped_value_is_refused_in_a_short_line(field, text, capsys):
    with pytest.raises(ConfigError, match=f"config.{field} is "):
        apply_overrides(load_config("ictface"), {field: text})
    assert main(["--config=ictface", f"--config.{field}={text}", "--check"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: config.{field} is") and len(printed) < 250


@settings(deadline=None, max_examples=30)  # a loaded machine is no failure
@given(st.text(max_size=20), st.sampled_from(sorted(flatten(_BASE))))
def test_any_text_is_a_value_or_a_config_error(text, field):
    try:
        value = flatten(apply_overrides(_BASE, {field: text}))[field]
    except ConfigError:
        return
    assert type(value) is type(flatten(_BASE)[field]) or field == "data.crop"


def _roots(config) -> dict[str, str]:
    return {root: config.data[root] for root in _ROOTS}


def test_own_images_get_nothing_of_the_bundled_faces(tmp_path):
    """However they are named: a photo saved as 001.png has neither the latent nor the mask of the face 001."""
    photos = {"data.image_root": str(tmp_path)}
    with pytest.warns(UserWarning, match="dropped config.data.latent_root .*") as caught:
        config = apply_overrides(load_config("ictface:scratch"), photos)
    assert _roots(config) == dict.fromkeys(_ROOTS, "")
    (message,) = [str(warning.message) for warning in caught]
    assert "\n" not in message and all(f"config.data.{root} {asset('ictface')}" in message for root in _ROOTS)
    for root, folder in zip(_ROOTS, ("mine", asset("ictface/latents"), "mine"), strict=True):
        with pytest.warns(UserWarning, match="dropped") as caught:  # but not what the user names, even a bundled one
            config = apply_overrides(load_config("ictface:scratch"), photos | {f"data.{root}": folder})
        assert _roots(config) == dict.fromkeys(_ROOTS, "") | {root: folder}
        assert f"config.data.{root} " not in str(caught[0].message)
    with pytest.warns(UserWarning, match="dropped config.data.latent_root data/celeba/latents"):
        assert apply_overrides(load_config("celeba:published"), {"data.image_root": "photos"}).data.latent_root == ""


def test_the_same_holds_for_config_files_that_start_from_ictface(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from gan2shape_jax.config import load_config\ndef get_config():\n"
        "    config = load_config('ictface:scratch').unlock()\n"
        "    config.data.image_root, config.data.mask_root = 'photos', 'masks'\n    return config\n"
    )
    with pytest.warns(UserWarning, match="dropped"):
        config = load_config(str(tmp_path / "mine.py"))
    assert _roots(config) == {"latent_root": "", "mask_root": "masks", "depth_root": ""} and config.is_locked
    assert _roots(apply_overrides(config, {"data.image_root": "more"}))["mask_root"] == "masks"


@pytest.mark.parametrize(
    "fields",
    [{}, {"data.latent_root": ""}, {"data.mask_root": "masks"}, {"data.image_list": "other.txt"}]
    + [{"data.image_root": asset("ictface/image") + "/"}],
)
def test_the_bundled_faces_keep_what_is_theirs(fields):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = apply_overrides(load_config("ictface:scratch"), fields)
    before = _roots(load_config("ictface:scratch"))
    own = {path.removeprefix("data."): value for path, value in fields.items()}
    assert _roots(config) == before | {root: value for root, value in own.items() if root in before}


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"schedule.flip1": "(True,False)", "schedule.flip3": "(False,False)"}, "flip1 is on in stage 1 without flip3"),
        ({"schedule.flip3": "(True,)"}, "schedule.flip3 .* each of the 2 stages"),
        ({"schedule.stages": "((1, 2),)"}, "triples"),
        ({"schedule.stages": "()"}, "triples"),
        ({"schedule.stages": "((1, 2, -3),)"}, "triples"),
        ({"sampling.rand_light": "(1, 2)"}, "seven numbers"),
        ({"sampling.rand_light": "(1, -1, 0, 1, 0, 1, 0)"}, "empty range .* of x"),
        ({"image_size": "96"}, "power of two"),
        ({"sampling.batch_size": "0"}, "from 1 to 4096"),
        ({"loss.lam_perc": "1e999"}, "is inf: it must be from 0"),
        ({"camera.min_depth": "1.2"}, "less than config.camera.max_depth"),
        ({"prior.near": "1.1"}, "less than config.prior.far"),
        ({"prior.shape": "cube"}, "prior.shape is 'cube': it must be one of ellipsoid"),
        ({"category": "My dog"}, "config.category is 'My dog'"),
        ({"recipe": "predict"}, "name the trained networks"),
        ({"recipe": "refine"}, r"name a lifted model .*, or use a variant .* such as ictface:scratch"),
        ({"recipe": "lift", "networks.pretrained": "a.safetensors"}, "a lift starts from random networks"),
        ({"data.crop": "0"}, "data.crop"),
        ({"networks.group_base": "7"}, "does not divide"),
        ({"workdir": ""}, "workdir is empty"),
        ({"schedule.batches_per_iteration": "2"}, "batches_per_iteration is 2"),
        (
            {"recipe": "lift", "schedule.batches_per_iteration": "2", "schedule.average_gradients": "False"},
            "eration is 2",
        ),
        ({"data.mask_source": "mean"}, "config.lift.mean_mask is empty"),
        ({"data.mask_source": "parser"}, "no parser finds objects of the category 'ictface'"),
        ({"recipe": "lift", "lift.masks": "parser"}, "lift.masks is 'parser', but no parser finds"),
        ({"data.mask_source": "parser", "category": "car"}, "config.parsing.weights is empty"),
    ],
)
def test_values_no_run_can_use_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        schema.validate(apply_overrides(load_config("ictface:scratch"), overrides))


_WORDS = [path for path, field in schema.fields().items() if field.choices]


@pytest.mark.parametrize("check", [[], ["--check"]], ids=["", "check"])
@pytest.mark.parametrize("field", _WORDS)
def test_a_misspelt_word_is_answered_with_those_that_there_are(field, check, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    group, _, name = f"config.{field}".rpartition(".")
    (tmp_path / "mine.py").write_text(
        "from gan2shape_jax.config import load_config\ndef get_config():\n"
        f"    config = load_config('ictface').unlock()\n    {group}.{name} = 'trian'\n    return config\n"
    )
    for words in (["--config=mine.py"], ["--config=ictface", f"--config.{field}=trian"]):
        assert main([*words, *check]) == 2
        printed = capsys.readouterr().err
        assert f"config.{field} is 'trian': it must be one of {schema.fields()[field].choices[0]}" in printed
        assert printed.startswith("error: ") and printed.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_category_of_ones_own_is_taken_and_a_misspelt_one_is_asked_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema.validate(apply_overrides(load_config("ictface:scratch"), {"category": "dog"}))
    with pytest.warns(UserWarning, match="'cars', a category of your own: did you mean 'car'"):
        schema.validate(apply_overrides(load_config("ictface:scratch"), {"category": "cars"}))


@pytest.mark.parametrize(
    "words, arguments",
    [
        ("", Arguments()),
        ("--config ictface --check", Arguments("ictface", check=True)),
        ("--config=a --config.seed=1 --config.gan.size 64", Arguments("a", {"seed": "1", "gan.size": "64"})),
        ("--config=a --config.workdir=", Arguments("a", {"workdir": ""})),
        ("lift --config=a", Arguments("a:lift")),
        ("--version", Arguments(version=True)),
        ("-h --config=car:published", Arguments("car:published", help="")),
        ("--help --config=car:published", Arguments("car:published", help="")),
        ("--help=schedule", Arguments(help="schedule")),
        ("--help schedule.stages", Arguments(help="schedule.stages")),
    ],
)
def test_arguments_are_read(words, arguments):
    assert parse(words.split()) == arguments


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("me.jpg", r"\(a photo: gan2shape-jax me\.jpg\)"),
        ("mine.yml", r"\(a configuration: --config=mine\.yml\)"),
        ("absent", r"\(--help lists"),
        ("-me.jpg", r"\(--help lists"),
    ],
)
def test_a_file_in_the_place_of_an_argument_is_answered_with_where_it_belongs(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    for file in ("me.jpg", "mine.yml", "-me.jpg"):
        (tmp_path / file).touch()
    with pytest.raises(ConfigError, match=message):
        parse([name])


def _help(*arguments, capsys) -> str:
    assert program.main([*arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [*schema.groups(), *program._COMMANDS])
def test_short_help_names_every_group_and_command(capsys, name):
    lines = _help("--help", capsys=capsys).splitlines()
    assert any(line.startswith(f"  {name} ") for line in lines), name


def test_short_help_names_every_group_and_command_in_lines_that_fit_a_terminal(capsys):
    lines = _help("--help", capsys=capsys).splitlines()
    assert max(map(len, lines)) <= 100


def test_help_on_a_field_says_value_meaning_and_range(capsys):
    printed = _help("--help=schedule.stages", "--config=car:published", capsys=capsys)
    assert "--config.schedule.stages=((700, 700, 600), (200, 500, 400)" in printed
    assert "triple a stage" in printed and "flip1" in printed and "those of car" in printed
    by_its_end = _help("--help=flip3", "--config=car:published", capsys=capsys)
    assert by_its_end == _help("--help=schedule.flip3", "--config=car:published", capsys=capsys)
    assert "configs/base.py" in (seed := _help("--help=seed", capsys=capsys)) and "workdir" in seed
    assert "(from 0.01 to 1)" in _help("--help=lift.truncation", capsys=capsys)
    assert "(one of discriminator, lpips)" in _help("--help=loss.perceptual", capsys=capsys)


def test_help_on_a_group_lists_its_fields_and_no_others():
    for group in schema.groups():
        printed = help_text(group, commands={})
        for field in schema.fields():
            assert (f"--config.{field}=" in printed) == (schema.group_of(field) == group), field


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--help=schedul"], "schedul.*nearest is --help=schedule;"),
        (["--help=schedule.stage"], "nearest is --help=schedule.stages"),
        (["--help=all", "--config=ictfac"], "did you mean ictface"),
    ],
)
def test_help_on_what_there_is_not_names_the_nearest(arguments, message, capsys):
    assert program.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and re.search(message, printed.err)
