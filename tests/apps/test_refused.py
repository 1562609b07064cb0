"""A command that is refused leaves every file as it was, and no new one."""

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


@pytest.mark.parametrize("command", _REFUSED)
def test_a_refused_command_changes_nothing(command, saved_results, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (saved_results / "config.json").write_text('{"seed": 1}')
    Image.new("RGB", (64, 64), "gray").save("a.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no picture")
    (tmp_path / "photos").mkdir()
    shutil.copy("a.png", "photos/a.png")
    before = _files(tmp_path)
    try:
        code = main(command.split())
    except SystemExit as error:
        code = error.code
    error = capsys.readouterr().err
    assert code not in (0, None) and "Traceback" not in error and "error: " in error.lower(), error
    assert _files(tmp_path) == before
