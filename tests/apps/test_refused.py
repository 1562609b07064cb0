"""A command that is refused leaves every file as it was, and no new one; so does one whose folder is not its own."""

import pathlib
import shutil

import pytest
from PIL import Image

from gan2shape_jax.main import main

# One of each kind of reason: a file that is missing or no picture, a value, a place, an option that goes with no other.
_REFUSED = """
photo none.png --out results
photo broken.png --out results --model catface
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
mirror --gan ictface --out results
mirror --out turned
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
evaluate consistency results
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


@pytest.mark.parametrize("command", _REFUSED)
def test_a_refused_command_changes_nothing(command, place, capsys):
    (place / "results" / "config.json").write_text('{"seed": 1}')
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no picture")
    _refusal(command, capsys)


_WRITING = """
photo a.png --out own
--config=ictface --config.workdir=own
--config=ictface:predict --config.workdir=own
--config=ictface --config.workdir=new --config.checkpoint.folder=own
lift --config=ictface --config.workdir=own
train-gan photos --out own
train-gan photos --out own --check
sample --config=ictface --out own
mirror --gan ictface --out own
edit results/001 --yaw 20 --version 3d --out own
render results/001 --yaw 20 --out own
export texture results/001 a.png --out own
get lpips --from a.png --agree --folder own
evaluate results --out own
""".strip().splitlines()
# Names that commands give to files of their own.
_FOREIGN = (
    *("index.html", "config.json", "results.csv", "results.md", "failures.json", ".lock.json", "versions.json"),
    *("results/a/diary.txt", "results/a/files.json", "photos/a.json", "photos.bin", "photos.json", ".photos.bin.all"),
    *("manifest.json", "lpips/record.json", "files.json", "result.json", "gan.safetensors", ".gan2shape_jax.json"),
)


@pytest.mark.parametrize("command", _WRITING)
def test_a_folder_of_somebody_else_is_left_alone(command, place, capsys):
    for name in _FOREIGN:
        (place / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "own" / name).write_text("mine")
    (place / "own" / ".lock").symlink_to("../a.png")
    assert "own" in (said := _refusal(command, capsys)) and ("not made" in said or "holds other files" in said)
    shutil.rmtree("own")
    pathlib.Path("own").mkdir()
    pathlib.Path("own/diary.txt").write_text("mine")
    assert "own" in (said := _refusal(command, capsys)) and ("(diary.txt)" in said or "holds other files" in said)


@pytest.mark.parametrize("command", _WRITING)
def test_nothing_is_written_through_a_link(command, place, capsys):
    """A folder of the program's own, in which somebody has put links."""
    kinds = {"photo": "run", "lift": "run", "train-gan": "gan", "get": "weights", "evaluate": "evaluation"}
    kind = "checkpoints" if "checkpoint.folder" in command else kinds.get(command.split()[0], "run")
    victim = place / "victim"
    victim.mkdir()
    (victim / "diary.txt").write_text("mine")
    for link, target in (("results", "../victim"), (".lock.json", "../a.png"), ("index.html", "../victim/diary.txt")):
        shutil.rmtree("own", ignore_errors=True)
        pathlib.Path("own").mkdir()
        pathlib.Path("own/.gan2shape_jax.json").write_text(f'{{"kind": "{kind}"}}')
        pathlib.Path("own", link).symlink_to(target)
        said = _refusal(command, capsys)
        assert "is a link" in said or "holds other files" in said or "not made" in said
