"""`gan2shape-jax get`: what is shown, asked and printed; and that a configuration takes what is printed."""

import dataclasses
import hashlib
import io
import shlex
import sys

import pytest
from helpers.tensorflow_files import Case, networks, save

from gan2shape_jax import main as program
from gan2shape_jax import stylegan2
from gan2shape_jax.apps.get import command, obtain
from gan2shape_jax.apps.get.records import Given
from gan2shape_jax.apps.get.table import ENTRIES
from gan2shape_jax.apps.get.transfer import Patience
from gan2shape_jax.config import apply_overrides, command_line, load_config
from gan2shape_jax.config.gan_checks import gan_problems

_CASE = Case(64, 64, 8, style=8, layers=1)


@pytest.fixture(scope="module")
def pickled(tmp_path_factory):
    return save(tmp_path_factory.mktemp("published") / "a.pkl", networks(_CASE)).read_bytes()


@pytest.fixture
def horse(server, pickled, monkeypatch):
    """The entry of horses, on a server here."""
    entry = ENTRIES["horse"]
    source = dataclasses.replace(
        entry.sources[0],
        url=server.add("/horse.pkl", pickled),
        size=len(pickled),
        sha256=hashlib.sha256(pickled).hexdigest(),
    )
    patience = Patience(2, 1, (0.01,))
    monkeypatch.setitem(ENTRIES, "horse", dataclasses.replace(entry, sources=(source,)))
    monkeypatch.setattr(command, "obtain", lambda *args, **options: obtain.obtain(*args, patience=patience, **options))
    return server


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _get(*words, folder=None):
    return program.main(["get", *words, *(["--folder", str(folder)] if folder else [])])


def test_the_list_has_every_name_its_licence_and_what_is_here(tmp_path, capsys, horse):
    assert _get("--list", folder=tmp_path) == 0
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in f"\n{printed}" for name in ENTRIES)
    assert "by hand" in printed and "Nvidia Source Code License-NC" in printed and ", here" not in printed
    assert _get("horse", "--agree", folder=tmp_path) == 0
    capsys.readouterr()
    _get("--list", folder=tmp_path)
    assert capsys.readouterr().out.count(", here") == 1


def test_the_licence_is_shown_and_has_to_be_agreed_to(tmp_path, capsys, horse, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert _get("horse", folder=tmp_path / "cache") == 1
    told = capsys.readouterr()
    assert "research or evaluation only" in told.out and ENTRIES["horse"].licence.url in told.out
    assert horse.url in told.out and "SHA-256 known" in told.out
    assert "no terminal to ask at" in told.err and "--agree" in told.err
    for answer in ("n\n", "\n", "", "yesterday\n"):
        monkeypatch.setattr(sys, "stdin", _Terminal(answer))
        assert _get("horse", folder=tmp_path / "cache") == 1
        assert "was not agreed to: nothing was fetched" in capsys.readouterr().err
    assert horse.asked == [] and not (tmp_path / "cache").exists()
    monkeypatch.setattr(sys, "stdin", _Terminal("Yes\n"))
    assert _get("horse", folder=tmp_path / "cache") == 0
    monkeypatch.setattr(sys, "stdin", None)  # it is here: nobody is asked again
    assert _get("horse", folder=tmp_path / "cache") == 0
    assert len(horse.asked) == 1


def _printed_arguments(printed):
    (line,) = [line for line in printed.splitlines() if line.startswith("  gan2shape-jax --config=")]
    return command_line.parse(shlex.split(line)[1:])


@pytest.mark.parametrize("folder", ["cache", "a folder's <name>, $HOME"])
def test_a_configuration_takes_what_is_printed(tmp_path, capsys, horse, folder):
    assert _get("horse", "--agree", folder=tmp_path / folder) == 0
    printed = capsys.readouterr().out
    arguments = _printed_arguments(printed)
    config = apply_overrides(load_config(arguments.spec), arguments.overrides)
    assert arguments.spec == "horse"
    assert gan_problems(config, stylegan2.read_header(config.gan.checkpoint)[0]) == []
    assert "gan2shape-jax get lpips" in printed and "--check" in printed


def test_what_else_the_configuration_needs_is_part_of_it_once_it_is_here(tmp_path, capsys, horse, monkeypatch):
    lpips = ENTRIES["lpips"]
    given = Given("loss.lpips_weights", ("vgg.pth",), "lpips_vgg16.pth")
    source = dataclasses.replace(lpips.sources[1], url=horse.add("/vgg.pth", b"weights"), size=7, sha256="")
    monkeypatch.setitem(ENTRIES, "lpips", dataclasses.replace(lpips, gives=(given,), sources=(source,)))
    assert _get("lpips", "--agree", folder=tmp_path) == 0
    assert "\n  --config.loss.lpips_weights=" in capsys.readouterr().out  # which serves no single configuration
    assert _get("horse", "--agree", folder=tmp_path) == 0
    printed = capsys.readouterr().out
    arguments = _printed_arguments(printed)
    assert arguments.overrides["loss.lpips_weights"].endswith("lpips_vgg16.pth") and "get lpips" not in printed


def test_files_from_a_person_need_no_network(tmp_path, capsys, horse, pickled):
    (tmp_path / "my horse.pkl").write_bytes(pickled)
    assert _get("horse", "--agree", "--from", str(tmp_path / "my horse.pkl"), folder=tmp_path / "cache") == 0
    assert horse.asked == []
    assert _get("rosinality-ffhq-256", "--agree", folder=tmp_path / "cache") == 1
    assert "downloaded by hand" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, told",
    [
        ((), "name a checkpoint; gan2shape-jax get --list"),
        (("hores",), "there is no checkpoint 'hores'; there are celeba, cat,"),
        (("x" * 5000,), "there is no checkpoint 'xxx"),
        (("horse", "--agree", "--from", "absent.pkl"), "absent.pkl: no such file"),
        (("horse", "--agree", "--from", "bad\nname"), "control character"),
    ],
)
def test_wrong_words_are_told(tmp_path, capsys, words, told):
    assert _get(*words, folder=tmp_path) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error and len(error) < 2000


def test_ctrl_c_says_that_what_has_come_is_kept(tmp_path, capsys, horse, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "obtain", interrupt)
    assert _get("horse", "--agree", folder=tmp_path) == 130
    assert "what has been downloaded is kept" in capsys.readouterr().err


def test_a_broken_download_ends_with_1_and_the_next_one_goes_on(tmp_path, capsys, horse, pickled):
    horse.files["/horse.pkl"].cuts += [65536, 0, 0]
    assert _get("horse", "--agree", folder=tmp_path) == 1
    assert "0.1 MiB of it are kept, and the same command goes on" in capsys.readouterr().err
    assert _get("horse", "--agree", folder=tmp_path) == 0
    assert horse.ranges()[-1] == "bytes=65536-"


def test_a_wrong_file_ends_with_1(tmp_path, capsys, horse, pickled):
    horse.files["/horse.pkl"].content = pickled[::-1]
    assert _get("horse", "--agree", folder=tmp_path) == 1
    assert "another file than the one published" in capsys.readouterr().err
    assert not (tmp_path / "horse").exists() and not list((tmp_path / "downloads").iterdir())


def test_a_terminal_gets_a_bar_and_a_file_gets_lines(capsys, monkeypatch):
    source = ENTRIES["horse"].sources[0]
    with command._shown(source) as report:
        report(5, 10)
    assert capsys.readouterr().err == f"{source.file}: downloading\n{source.file}: here\n"
    monkeypatch.setattr(
        command, "Console", lambda stderr: __import__("rich.console").console.Console(force_terminal=True, width=100)
    )
    with command._shown(source) as report:
        report(2**20, 2**21)
    assert "1.0/2.0 MiB" in capsys.readouterr().out


def test_the_folder_is_the_users_cache(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/else")
    if sys.platform == "linux":
        assert str(command.places.default_folder()) == "/somewhere/else/gan2shape_jax/weights"
