"""The command line: what it prints, what it returns, that no traceback reaches the user; and its commands."""

import errno
import functools
import importlib.util
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import types
import warnings

import jax
import numpy as np
import pytest

from gan2shape_jax import main as program
from gan2shape_jax.apps import option_types
from gan2shape_jax.apps.photo import command as photo_command
from gan2shape_jax.config import flatten, load_config
from gan2shape_jax.errors import Terminated, UserError
from gan2shape_jax.platforms import default_numerics
from gan2shape_jax.stylegan2 import latents

_ROOT = pathlib.Path(__file__).parent.parent
# Output is kept back where it goes to a pipe, as on most machines, whatever this one sets.
_ENVIRONMENT = os.environ | {"PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": ""}
# Sub-commands, which a command's line in the help begins with: one|two, or [one|two] where they may be left out.
_BELOW = [
    f"{name} {below}"
    for name, (_, line) in program._COMMANDS.items()
    for below in (re.findall(r"[\w-]+", line.split()[0]) if re.search(r"[\[|]", line.split()[0]) else ())
]

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def experiment(monkeypatch):
    """Stands in for the reconstruction: keeps its configuration and does what a test asks."""
    stand_in = types.SimpleNamespace(configs=[], action=lambda: 0)

    def run(config):
        stand_in.configs.append(config)
        return stand_in.action()

    monkeypatch.setattr("gan2shape_jax.run.experiment.run_experiment", run)
    return stand_in


_ENDS = """
import atexit, sys, threading, time
from gan2shape_jax import main
def act():
    threading.Thread(target=lambda: (time.sleep(0.5), print("thread", end=" "))).start()
    atexit.register(print, "library", end=" ")
    print("said", file=sys.stderr, end="")
    {}
main._action = lambda argv: (act, None)
sys.argv = ["gan2shape-jax"]
{}
"""


@pytest.mark.parametrize(
    ("does", "ends", "code"),
    [("return 0", "main.console()", 0), ("1 / 0", "main.console()", 1), ("return 0", "main.main([]); 1 / 0", 1)],
)
def test_threads_and_libraries_finish_before_the_program_ends(does, ends, code):
    command = [sys.executable, "-c", _ENDS.format(does, ends)]
    done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "thread library ")
    assert done.stderr.startswith("said") and ("ZeroDivisionError" in done.stderr) == bool(code)


def test_config_and_overrides_reach_the_experiment_and_its_code_comes_back(experiment):
    experiment.action = lambda: 1
    assert program.main(["--config=ictface:scratch", "--config.workdir=here", "--config.gan.F1_d", "3"]) == 1
    values = flatten(experiment.configs[0])
    assert values == flatten(load_config("ictface:scratch")) | {"workdir": "here", "gan.F1_d": 3}


def _fail(error):
    raise error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("bad.png is bad"), 1, "error: bad.png is bad\n"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to continue\n"),
        (Terminated(), 143, "interrupted; run the same command again to continue\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x.png"), 1, "No space left on device: 'x.png'\n"),
    ],
)
def test_an_error_is_one_line_and_a_code(experiment, capsys, error, code, message):
    experiment.action = functools.partial(_fail, error)
    assert program.main(["--config=ictface:scratch"]) == code
    printed = capsys.readouterr().err
    assert printed.endswith(message) and printed.strip().count("\n") == 0


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError(errno.EIO, "not the machine's fault")])
def test_a_bug_keeps_its_traceback(experiment, error):
    experiment.action = functools.partial(_fail, error)
    with pytest.raises(type(error)):
        program.main(["--config=ictface:scratch"])


def test_a_platform_that_is_absent_is_one_sentence_and_numbers_are_of_32_bits(experiment, capsys, monkeypatch):
    def fail(*_):
        raise AssertionError  # as JAX does if CUDA's plugin is absent

    experiment.action = fail
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    with pytest.raises(AssertionError):  # there is a device: it is a bug
        program.main(["--config=ictface:scratch"])
    monkeypatch.setattr(jax, "devices", fail)
    assert program.main(["--config=ictface:scratch"]) == 1
    said = (
        "JAX_PLATFORMS=cuda is not available on this machine: unset it, or set it to cpu (its plugin is not installed)"
    )
    assert capsys.readouterr().err == f"error: {said}\n" and os.environ["JAX_ENABLE_X64"] == "0"
    with pytest.raises(UserError, match=re.escape(said)), default_numerics():
        fail()


@pytest.mark.skipif(os.name != "posix", reason="pipes close otherwise")
@pytest.mark.parametrize("words", [["--help=all", "--config=ictface"], ["get", "--list"]])
def test_output_that_nobody_reads_any_more_ends_quietly(words):
    command = [sys.executable, "-m", "gan2shape_jax.main", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=_ENVIRONMENT, **pipes) as started:
        started.stdout.close()
        told = started.stderr.read()
    assert (started.returncode, told) == (141, b""), words


def test_open_says_that_there_is_no_display(monkeypatch):
    said: list[str] = []
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(option_types.sys, "platform", "linux")
    monkeypatch.setattr(option_types.webbrowser, "open", lambda address: said.append(address))
    option_types.show("file:///a", say=said.append)
    assert said == ["--open: there is no display here; open file:///a yourself"]
    monkeypatch.setenv("DISPLAY", ":0")
    option_types.show("file:///a", say=said.append)
    assert said[1:] == ["file:///a", "--open: no browser could be started here; open file:///a yourself"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--check"], "name a configuration: --config=NAME"),
        (["lift"], "name a configuration: --config=NAME"),
        (["foto"], "there is no command 'foto' (did you mean photo? --help"),
        (["xyzzy", "--config=car:published"], "there is no command 'xyzzy' (--help"),
        (["car"], "there is no command 'car' (a configuration: --config=car)"),
        (["own.py"], "there is no command 'own.py' (--help"),
        (["--config"], "--config needs a value"),
        (["--config=nonsense"], "there is no config 'nonsense'"),
        (["--config=ictface:scratch", "--confg.seed=1"], "unknown argument '--confg.seed=1'"),
        (["--config=ictface:scratch", "results"], "unknown argument 'results'"),
        (["--config=ictface:scratch", "--config.seed"], "--config.seed needs a value"),
    ],
)
def test_wrong_command_lines_end_with_code_2(experiment, capsys, arguments, message):
    assert program.main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.out == "" and not experiment.configs


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("photo me.jpg --modle people", "--modle' (did you mean --model?)"),
        ("me.jpg --modle=people", "--modle=people' (did you mean --model?)"),
        ("train-gan photos --uot gan.safetensors", "--uot' (did you mean --out?)"),  # which is required
        ("export print RESULT --xyzzy", "--xyzzy'\n"),
        ("--modle people", "--modle' (--help lists"),
        ("--config=car:published --chekc", "--chekc' (did you mean --check?"),
    ],
)
def test_an_option_that_there_is_not_is_told_with_the_one_that_may_be_meant(capsys, line, meant):
    try:
        code = program.main(line.split())
    except SystemExit as stopped:  # argparse's way
        code = stopped.code
    assert code == 2 and f"unknown argument '{meant}" in capsys.readouterr().err


@pytest.fixture
def taken(tmp_path, monkeypatch):
    """What the command for photos is given, a list of words a call, where two photos and two other files lie."""
    words = []
    monkeypatch.setattr(photo_command, "main", lambda given: words.append(given) or 3)
    (tmp_path / "folder").mkdir()
    for name in ("folder/a.jpg", "b", "own.py", "-c.png"):
        (tmp_path / name).touch()
    return words


@pytest.mark.parametrize(
    "line",
    [
        *("folder/a.jpg", "folder/a.jpg --out x folder", "folder --help", "b", "gone.JPG", "in/*.jpg --open"),
        *("--open folder/a.jpg", "--model cat b"),
    ],
)
def test_photos_need_no_command(taken, experiment, line):
    assert program.main(line.split()) == 3 and taken == [line.split()] and not experiment.configs


@pytest.mark.parametrize(
    "line",
    ["own.py", "--open gone", "--config=own.py folder/a.jpg", "-c.png", "foto folder/a.jpg", "--version folder"],
)
def test_what_is_no_photo_needs_a_command(taken, experiment, line):
    program.main(line.split())
    assert not taken and not experiment.configs


def test_without_arguments_six_lines_say_what_there_is(experiment, capsys):
    assert program.main([]) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 6 and max(map(len, printed.splitlines())) < 120 and not experiment.configs
    named = re.findall(r"gan2shape-jax (\S+)", printed)
    assert {"me.jpg", "serve", "export", "--help"} < {*named} and {*named} & {*program._COMMANDS} == {"serve", "export"}


def test_check_version_and_help_start_nothing(experiment, tmp_path, capsys):
    assert program.main(["--config=ictface:quick", "--check"]) == 0
    printed = capsys.readouterr().out
    assert "2 images of 64 pixels, on cpu; " in printed and "everything is in place" in printed
    assert program.main(["--version"]) == 0
    assert re.fullmatch(r"gan2shape-jax \d+\.\d+\.\d+\n", capsys.readouterr().out)
    assert program.main(["--help=all", "--config=ictface:scratch"]) == 0
    printed = capsys.readouterr().out
    for field, value in flatten(load_config("ictface:scratch")).items():
        assert f"--config.{field}={value!r}\n" in printed
    assert max(map(len, printed.splitlines())) < 200 and not experiment.configs and not any(tmp_path.iterdir())


def test_warnings_about_data_take_one_line_and_are_given_once(experiment, capsys):
    def action():
        for _ in range(2):  # a run reads some images twice
            warnings.warn("a.png is soft", UserWarning, stacklevel=1)
        return 0

    experiment.action = action
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert program.main(["--config=ictface:scratch"]) == 0
    assert capsys.readouterr().err == "warning: a.png is soft\n"


def test_help_runs_from_any_folder_and_does_not_wait_for_jax(tmp_path):
    code = "import sys; from gan2shape_jax import main; c = main.main(['--help=gan', '--config=car:published']); "
    code += "sys.exit(c or ('jax' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=_ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0 and "--config.gan.size=512" in done.stdout and not done.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other systems' memory stays as it is")
def test_what_a_command_frees_comes_without_page_faults_the_next_time():
    code = "from resource import getrusage; from gan2shape_jax.main import keep_freed_memory as keep; keep(); b'x' * "
    code += "2**26; before = getrusage(0).ru_minflt; b'x' * 2**26; print(getrusage(0).ru_minflt - before)"
    done = subprocess.run([sys.executable, "-c", code], env=_ENVIRONMENT, capture_output=True, check=True)
    assert int(done.stdout) < 100  # of 16,384 pages


_WITHOUT_APPLICATIONS = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys(("cv2", "filelock", "imageio_ffmpeg", "jinja2", "trimesh")))  # as if absent
import gan2shape_jax
for room in ("geometry", "networks", "stylegan2", "method", "training", "config"):
    package = importlib.import_module(f"gan2shape_jax.{room}")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
from gan2shape_jax import errors, main
print(gan2shape_jax.load_gan("ictface"))
for name in ("reconstruct", "photo"):
    try:
        getattr(gan2shape_jax, name)
    except errors.UserError as error:
        print(error)
sys.exit(main.main(["photo", "me.jpg"]))
"""


def test_the_core_needs_no_package_of_the_applications_which_say_what_to_install(tmp_path):
    command = [sys.executable, "-c", _WITHOUT_APPLICATIONS]
    done = subprocess.run(command, cwd=tmp_path, env=_ENVIRONMENT, capture_output=True, text=True)
    sentence = "opencv-python-headless is not installed: pip install -e '.[photo]' in the checkout brings it\n"
    said = "Gan(64 x 64 pixels, latents of 128)\n" + 2 * sentence
    assert (done.returncode, done.stdout, done.stderr) == (1, said, f"error: {sentence}")


_HELP_WITHOUT_EXTRAS = """
import sys
absent = "cv2 filelock gradio imageio_ffmpeg jinja2 matplotlib onnxruntime pillow_heif pooch pxr tensorboardX trimesh"
sys.modules.update(dict.fromkeys(absent.split()))  # as if absent
from gan2shape_jax import main
for words in sys.argv[1:]:
    try:
        code = main.main([*words.split(), "--help"])
    except SystemExit as stopped:  # argparse's way
        code = stopped.code
    print("ends with", code or 0)
"""


def test_help_of_every_command_says_its_name_and_needs_no_extra():
    words = [*program._COMMANDS, *_BELOW]
    command = [sys.executable, "-c", _HELP_WITHOUT_EXTRAS, *words]
    done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "python -m" not in done.stdout
    *printed, rest = done.stdout.split("ends with 0\n")
    assert len(printed) == len(words) and not rest
    for text, name in zip(printed, words, strict=True):
        assert text.startswith(f"usage: gan2shape-jax {name} ")


def test_the_page_of_commands_has_the_help_of_all(monkeypatch):
    spec = importlib.util.spec_from_file_location("mkdocs_hook", _ROOT / "benchmarks/pages/mkdocs_hook.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    monkeypatch.setattr(hook, "help_text", lambda arguments: f"help of {' '.join(arguments)}.")
    page = hook.on_page_markdown((_ROOT / "docs/reference/command-line.md").read_text())
    assert {*re.findall(r"^help of (.*)\.$", page, re.MULTILINE)} == {"", *program._COMMANDS, *_BELOW}
    assert "### export usdz\n\nhelp of export usdz." in page and "<!--" not in page


@pytest.mark.parametrize("words", ["convert", "convert --class 3 a.pt"])
def test_convert_without_a_file_prints_its_usage(capsys, words):
    with pytest.raises(SystemExit, match="2"):
        program.main(words.split())
    assert "usage: gan2shape-jax convert" in capsys.readouterr().err


def test_convert_recognises_statistics(tmp_path, capsys):
    source, target = pathlib.Path(__file__).parent / "data" / "view_mvn.pth", tmp_path / "view.npz"
    assert program.main(["convert", str(source), str(target), "--no-sheet"]) == 0, capsys.readouterr()
    assert np.load(target)["cov"].shape == (6, 6)


@pytest.mark.parametrize("name", ["bad.pt", "gone.pt"])
def test_convert_refuses_what_cannot_be_read(name, tmp_path, capsys):
    (tmp_path / "bad.pt").write_bytes(b"no checkpoint")
    assert program.main(["convert", name, "out.safetensors"]) == 1
    assert name in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


_SAMPLE = "sample --config=ictface --out new --count"


@pytest.mark.parametrize(
    "words, message",
    [
        (f"{_SAMPLE} 1000000000", "--count 1000000000: must be between 1 and 1000000"),
        (f"{_SAMPLE} 1000000", "pictures of 64 pixels take 4 GiB and more, new has 1 free"),
        ("sample --config=ictface --out file/below", "--out file/below cannot be a folder"),
        ("evaluate file --out file", "--out file cannot be a folder"),
        ("evaluate identity file --max-yaw nan", "--max-yaw nan: must be a finite number"),
        ("convert file out.safetensors --sheet out.safetensors", "would overwrite out.safetensors"),
        ("convert file out.safetensors --sheet file", "would overwrite file:"),
    ],
)
def test_commands_refuse_numbers_and_places_in_a_line_before_they_read_or_draw(
    tmp_path, monkeypatch, capsys, words, message
):
    (tmp_path / "file").write_text("kept")
    monkeypatch.setattr(latents, "_draw", lambda *arguments, **options: pytest.fail("drawn before the refusal"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=2**30, total=2**40))
    assert program.main(words.split()) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "file"] and (tmp_path / "file").read_text() == "kept"


@pytest.mark.heavy
def test_configurations_are_read_from_inside_a_wheel(tmp_path):
    """The package as a wheel has it: configs/ inside, and nothing beside it."""
    unneeded = shutil.ignore_patterns("__pycache__", "assets")
    shutil.copytree(_ROOT / "gan2shape_jax", tmp_path / "gan2shape_jax", ignore=unneeded)
    shutil.copytree(_ROOT / "configs", tmp_path / "gan2shape_jax" / "configs", ignore=unneeded)
    assert "'car'" in _printed("gan2shape_jax.main", "--config=car:published", "--help=category", folder=tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("tool", "command"),
    [
        ("convert", "convert"),
        ("train_stylegan2", "train-gan"),
        ("sample_gan", "sample"),
    ],
)
def test_a_checkout_starts_commands_as_tools_too(tool, command):
    assert _printed(f"tools.{tool}", "--help", folder=_ROOT).startswith(f"usage: gan2shape-jax {command} ")


def _printed(module: str, *words: str, folder: pathlib.Path) -> str:
    """Returns what a module prints in a process of its own, which finds the package in `folder` first."""
    command = [sys.executable, "-m", module, *words]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout
