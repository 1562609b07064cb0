"""The arguments of a reconstruction, and its help: one screen, by topic, or all of it."""

import re

import pytest

from gan2shape_jax import main as program
from gan2shape_jax.config import schema
from gan2shape_jax.config.command_line import Arguments, help_text, parse
from gan2shape_jax.errors import ConfigError


@pytest.mark.parametrize(
    "words, arguments",
    [
        ("", Arguments()),
        ("--config ictface --check", Arguments("ictface", check=True)),
        ("--config=a --config.seed=1 --config.gan.size 64", Arguments("a", {"seed": "1", "gan.size": "64"})),
        ("--config=a --config.workdir=", Arguments("a", {"workdir": ""})),
        ("lift --config=a", Arguments("a:lift")),
        ("--version", Arguments(version=True)),
        ("-h --config=car", Arguments("car", help="")),
        ("--help --config=car", Arguments("car", help="")),
        ("--help=schedule", Arguments(help="schedule")),
        ("--help schedule.stages", Arguments(help="schedule.stages")),
    ],
)
def test_arguments_are_read(words, arguments):
    assert parse(words.split()) == arguments


def test_a_file_in_the_place_of_an_argument_is_answered_with_where_it_belongs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("me.jpg", "mine.yml", "-me.jpg"):
        (tmp_path / file).touch()
    for name, message in (
        ("me.jpg", r"\(a photo: gan2shape-jax photo PHOTO\)"),
        ("mine.yml", r"\(a configuration: --config=mine\.yml\)"),
        ("absent.jpg", r"\(--help lists"),
        ("-me.jpg", r"\(--help lists"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse([name])


def _help(*arguments, capsys) -> str:
    assert program.main([*arguments]) == 0
    return capsys.readouterr().out


def test_short_help_fits_one_screen_and_names_every_group_and_command(capsys):
    lines = _help("--help", capsys=capsys).splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    for name in (*schema.groups(), *program._COMMANDS):
        assert any(line.startswith(f"  {name} ") for line in lines), name


def test_help_on_a_field_says_value_meaning_and_range(capsys):
    printed = _help("--help=schedule.stages", "--config=car", capsys=capsys)
    assert "--config.schedule.stages=((700, 700, 600), (200, 500, 400)" in printed
    assert "triple a stage" in printed and "flip1" in printed and "those of car" in printed
    assert _help("--help=stages", "--config=car", capsys=capsys) == printed
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
        (["--help=optimizer.lr"], "nearest is --help=optimizer.le"),
        (["--help=all", "--config=ictfac"], "did you mean ictface"),
    ],
)
def test_help_on_what_there_is_not_names_the_nearest(arguments, message, capsys):
    assert program.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and re.search(message, printed.err)
