"""A command that is refused leaves every file as it was, and no new one; so does one whose folder is not its own."""

import contextlib
import os
import pathlib
import re
import shutil

import pytest
from PIL import Image

from gan2shape_jax import main as program
from gan2shape_jax.main import main

# One of each kind of reason: a file that is missing or no picture, a value, a place, an option that goes with no other.
_REFUSED = """
photo none.png --out results
photo broken.png --out results --model cat
photo a.png --out results --model celeba
photo a.png --out results --box 1 2
photo a.png --out results --box 30 30 20 --mask broken.png
photo a.png --out results/001/result.json
serve --model celeba
page results/001 results/005
export print none
export print results/001 --out results/001/depth.npy
export texture results/001 broken.png
export texture results/001 a.png --box 3000 3000 20
export blender results/001 --out results/001/depth.npy
edit results/001
edit results/001 --yaw 20
render results/001 --yaw 20 --out results/001/depth.npy
render none --yaw 20
lift --config=ictface --config.workdir=results --config.lift.samples=-1
lift --config=ictface --config.workdir=results --config.gan.checkpoint=none.safetensors
--config=ictface --config.workdir=results
--config=ictface:predict --config.workdir=results --config.data.image_root=none
--config=ictface --config.workdir=results/001/result.json
train-gan none --out results
train-gan photos --out a.png
get nothing --folder results
get celeba --from broken.png --agree --folder results
evaluate none
evaluate identity results
evaluate results --json results/001
convert broken.png results/out.safetensors
convert broken.png results/001/result.json
""".strip().splitlines()


def _files(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def place(saved_results, tmp_path, monkeypatch):
    """The current folder, with two results and a photo."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), "gray").save("a.png")
    (tmp_path / "photos").mkdir()
    shutil.copy("a.png", "photos/a.png")
    return tmp_path


def _refusal(command, capsys):
    """Returns what a command says that changes nothing and ends with an error."""
    before = _files(pathlib.Path())
    try:
        code = main(command.split())
    except SystemExit as error:
        code = error.code
    error = capsys.readouterr().err
    assert code not in (0, None) and "Traceback" not in error and "error: " in error.lower(), error
    assert _files(pathlib.Path()) == before
    return error


@pytest.mark.filterwarnings("always:dropped config.data.latent_root:UserWarning")  # is printed
@pytest.mark.parametrize("command", _REFUSED)
def test_a_refused_command_changes_nothing(command, place, capsys):
    (place / "results" / "config.json").write_text('{"seed": 1}')
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no picture")
    error = _refusal(command, capsys)
    assert ("warning: dropped config.data.latent_root" in error) == ("image_root=none" in command)


_FOLDERS = """
photo a.png --out own
--config=ictface --config.workdir=own
--config=ictface:predict --config.workdir=own
--config=ictface --config.workdir=new --config.checkpoint.folder=own
lift --config=ictface --config.workdir=own
train-gan photos --out own
train-gan photos --out own --check
sample --config=ictface --out own
edit results/001 --yaw 20 --version 3d --out own
render results/001 --yaw 20 --out own
export texture results/001 a.png --out own
export web people --out own
get lpips --from a.png --agree --folder own
evaluate results --out own
evaluate identity results --embedding face.onnx --out own
""".strip().splitlines()
_FILES = """
render results/001 --yaw 20 --size 16 --out own.png
render results/001 --yaw 20 30 --size 16 --out own.gif
edit results/001 --yaw 20 --version 3d --size 32 --out own.png
export print results/001 --width 20 --out own.stl
export print results/001 --width 20 --out own.3mf
export spread results/001 --out own.ply
export usdz results/001 --out own.usdz
page results --out own.html
convert a.pt own.safetensors
convert a.pt new.safetensors --sheet own.png
convert a.pt own.safetensors --no-sheet
convert a.pth own.npz
""".strip().splitlines()
# Commands that write neither a folder nor a file that is named; `export blender` writes into RESULT.
_NEITHER = {"serve", "export blender"}
# Names that commands give to files of their own.
_FOREIGN = (
    *("index.html", "config.json", "results.csv", "results.md", "failures.json", ".lock.json", "versions.json"),
    *("results/a/diary.txt", "results/a/files.json", "photos/a.json", "photos.bin", "photos.json", ".photos.bin.all"),
    *("manifest.json", "lpips/record.json", "files.json", "result.json", "gan.safetensors", ".gan2shape_jax.json"),
)


def _leaves(capsys):
    """Yields each command, or form of one such as `export print`, and its help."""
    for name, (_, line) in program._COMMANDS.items():
        below = re.match(r"\[[\w|]+\]|\w+(\|\w+)+", line)
        for form in (name, *(f"{name} {word}" for word in re.findall(r"\w+", below[0] if below else ""))):
            with contextlib.suppress(SystemExit):
                main([*form.split(), "--help"])
            if (
                "--out" in (said := capsys.readouterr().out)
                or "options:" in said
                and not re.match(r"usage: [^[]*\[-h\]\s+\{", said)
            ):
                yield form, said


def test_no_command_is_forgotten_here(capsys):
    """Whatever command may write where it is told is among those tried below, with each option that names a place."""
    names = []
    for name, said in _leaves(capsys):
        names.append(name)
        folders, files = ([line for line in lines if f"{line} ".startswith(f"{name} ")] for lines in (_FOLDERS, _FILES))
        assert bool(folders or files) is (name not in _NEITHER), name
        assert bool(files) is ("--overwrite" in said), name
        for option in set(re.findall(r"--(?:out|folder|samples|sheet)\b", said)):
            assert any(option in line for line in folders + files), (name, option)
    assert {name.split()[0] for name in names} == program._COMMANDS.keys()
    assert {"export print", "export usdz", "convert", "evaluate identity"} < {*names}


@pytest.mark.parametrize("command", _FOLDERS)
def test_a_folder_of_somebody_else_is_left_alone(command, place, capsys):
    for name in _FOREIGN:
        (place / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "own" / name).write_text("mine")
    (place / "own" / ".lock").symlink_to("../a.png")
    assert "own" in (said := _refusal(command, capsys)) and ("did not write" in said or "holds other files" in said)
    shutil.rmtree("own")
    pathlib.Path("own").mkdir()
    pathlib.Path("own/diary.txt").write_text("mine")
    assert "own" in (said := _refusal(command, capsys)) and ("(diary.txt)" in said or "holds other files" in said)


@pytest.mark.parametrize("command", _FOLDERS)
@pytest.mark.parametrize(
    ("link", "target"), [("results", "../victim"), (".lock.json", "../a.png"), ("index.html", "../victim/diary.txt")]
)
def test_nothing_is_written_through_a_link(command, place, capsys, link, target):
    """A folder of the program's own, in which somebody has put links."""
    kinds = {"photo": "run", "lift": "run", "train-gan": "gan", "get": "weights", "evaluate": "evaluation"}
    kind = "checkpoints" if "checkpoint.folder" in command else kinds.get(command.split()[0], "run")
    kind = "web" if command.startswith("export web") else kind
    victim = place / "victim"
    victim.mkdir()
    (victim / "diary.txt").write_text("mine")
    shutil.rmtree("own", ignore_errors=True)
    pathlib.Path("own").mkdir()
    pathlib.Path("own/.gan2shape_jax.json").write_text(f'{{"kind": "{kind}"}}')
    pathlib.Path("own", link).symlink_to(target)
    said = _refusal(command, capsys)
    assert "is a link" in said or "holds other files" in said or "did not write" in said


@pytest.mark.parametrize("command", _FILES)
def test_a_file_that_exists_is_replaced_only_if_that_is_asked_for(command, place, capsys):
    (own,) = (word for word in command.split() if word.startswith("own."))
    for name in ("a.pt", "a.pth"):
        (place / name).write_text("no weights")
    (place / own).write_text("mine")
    said = _refusal(command, capsys)
    assert f"{own} exists: name another file, or replace it with --overwrite" in said
    os.rename(own, "mine")
    for target in ("mine", "nowhere"):
        pathlib.Path(own).unlink(missing_ok=True)
        pathlib.Path(own).symlink_to(target)
        for option in ("", " --overwrite"):
            assert f"{own} is a link, and nothing is written through links" in _refusal(command + option, capsys)


@pytest.mark.parametrize(
    "command", [line for line in _FILES if not line.startswith(("convert", "export usdz", "export spread"))]
)
def test_a_file_is_replaced_where_that_is_asked_for(command, place, capsys):
    (own,) = (word for word in command.split() if word.startswith("own."))
    assert main(command.split()) == 0, capsys.readouterr().err
    (place / own).write_text("mine")
    assert main([*command.split(), "--overwrite"]) == 0
    assert (place / own).read_bytes() != b"mine"
