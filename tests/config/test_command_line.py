"""The arguments of a reconstruction, and its help: one screen, by topic, or all of it."""

import pytest

from gan2shape_jax import main as program
from gan2shape_jax.config import command_line, documentation, flatten, load_config
from gan2shape_jax.config.command_line import Arguments, help_text, parse
from gan2shape_jax.errors import ConfigError


@pytest.mark.parametrize(
    "words, arguments",
    [
        ("", Arguments()),
        ("--config=ictface", Arguments("ictface")),
        ("--config ictface --check", Arguments("ictface", check=True)),
        ("--config=a --config.seed=1 --config.gan.size 64", Arguments("a", {"seed": "1", "gan.size": "64"})),
        ("--config=a --config.workdir=", Arguments("a", {"workdir": ""})),
        ("--version", Arguments(version=True)),
        ("--help", Arguments(help="")),
        ("-h --config=car", Arguments("car", help="")),
        ("--help --config=car", Arguments("car", help="")),
        ("--help=schedule", Arguments(help="schedule")),
        ("--help schedule.stages", Arguments(help="schedule.stages")),
    ],
)
def test_arguments_are_read(words, arguments):
    assert parse(words.split()) == arguments


@pytest.mark.parametrize(
    "name, told",
    [
        ("me.jpg", r"\(a photo: gan2shape-jax photo PHOTO\)"),
        ("mine.yml", r"\(a configuration: --config=mine\.yml\)"),
        ("absent.jpg", r"\(--help lists"),
        ("-me.jpg", r"\(--help lists"),
    ],
)
def test_a_file_in_the_place_of_an_argument_is_told_where_it_belongs(name, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("me.jpg", "mine.yml", "-me.jpg"):
        (tmp_path / file).touch()
    with pytest.raises(ConfigError, match=told):
        parse([name])


def test_short_help_fits_one_screen_and_names_every_group_and_command():
    lines = help_text().splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    groups = {documentation.group_of(field) for field in flatten(load_config("base"))}
    assert groups == documentation.describe_groups().keys()
    for name in (*groups, *command_line.COMMANDS):
        assert any(line.startswith(f"  {name} ") for line in lines), name


def test_help_on_a_field_says_its_value_and_meaning():
    printed = help_text("schedule.stages", "car")
    assert "--config.schedule.stages=((700, 700, 600), (200, 500, 400)" in printed
    assert "triple a stage" in printed and "flip1" in printed and "those of car" in printed
    assert help_text("config.schedule.stages", "car") == help_text("stages", "car") == printed
    assert "configs/base.py" in help_text("seed") and "workdir" in help_text("seed")


@pytest.mark.parametrize("group", documentation.describe_groups())
def test_help_on_a_group_lists_its_fields_and_no_others(group):
    printed = help_text(group)
    for field in flatten(load_config("base")):
        assert (f"--config.{field}=" in printed) == (documentation.group_of(field) == group), field


@pytest.mark.parametrize(
    "topic, nearest", [("schedul", "schedule"), ("schedule.stage", "schedule.stages"), ("optimizer.lr", "optimizer.le")]
)
def test_unknown_topic_names_the_nearest(topic, nearest, capsys):
    with pytest.raises(ConfigError, match=f"{topic}.*nearest is --help={nearest}"):
        help_text(topic)
    assert program.main([f"--help={topic}"]) == 2
    assert capsys.readouterr().out == ""


def test_help_on_a_broken_configuration_is_an_error(capsys):
    assert program.main(["--help=all", "--config=ictfac"]) == 2
    assert "did you mean ictface" in capsys.readouterr().err
