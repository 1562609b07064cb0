"""`gan2shape-jax photo` as a user runs it, with the bundled model."""

import json
import pathlib
import re
import shlex
import webbrowser

import numpy as np
import pytest
import trimesh
from PIL import Image

from gan2shape_jax.io.bundled import asset
from gan2shape_jax.main import main
from gan2shape_jax.results import views

_ROOT = pathlib.Path(__file__).parents[3]

pytestmark = pytest.mark.heavy


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main(["photo", *map(str, arguments)])


def test_photos_become_shapes_and_what_is_there_stays(run, tmp_path, face_photo, capsys, monkeypatch):
    """Each is drawn once, with its texture."""
    name, drawn = '<b>"my" face', []
    draw = views.draw_overview
    monkeypatch.setattr(
        views, "draw_overview", lambda *arguments, **how: drawn.append(arguments[0]) or draw(*arguments, **how)
    )
    Image.fromarray(face_photo()).save(tmp_path / f"{name}.png")
    Image.fromarray(face_photo("009")).save(tmp_path / "b.jpg", quality=95)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff but no picture")
    assert run(".", "--out", "out") == 1  # for the broken one
    printed = capsys.readouterr()
    assert "broken.jpg" in printed.err and "page: out/index.html" in printed.out
    assert printed.err.count(": a face: ") == 2
    names = sorted(path.stem for path in (tmp_path / "out" / "photos").glob("*.json"))
    assert len(names) == 2 and "b" in names
    assert sorted(result.name for result in drawn) == names and all(result.texture is not None for result in drawn)
    for first in names:
        folder = tmp_path / "out" / "results" / first
        assert len(trimesh.load(folder / "mesh.glb", force="mesh").faces) > 1000
        assert trimesh.load(folder / "textured.glb", force="mesh").visual.uv is not None
        assert json.loads((folder / "metrics.json").read_text())["reconstruction_l1"] < 0.3
    page = (tmp_path / "out" / "index.html").read_text()
    assert '<b>"my"' not in page

    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "results").rglob("depth.npy")}
    assert run("b.jpg", "--out", "out") == 0
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert run("b.jpg", "--out", "out", "--box", "190", "100", "110") == 0
    changed = [path.parent.name for path in kept if path.stat().st_mtime_ns != kept[path]]
    assert changed == ["b"]


def test_what_looks_like_nothing_that_the_gan_draws_is_told(run, tmp_path, capsys):
    waves = np.sin(np.arange(200) / 5)[:, None] * np.cos(np.arange(260) / 9)[None]
    Image.fromarray(np.uint8(127 + 120 * waves)).save(tmp_path / "waves.png")
    assert run("waves.png", "--no-texture") == 1
    assert "waves.png: no face found, so it has no 3D result; " in capsys.readouterr().err
    folder = tmp_path / "results/photos"
    assert (folder / "photos/framing/waves.jpg").is_file() and not (folder / "results").exists()
    assert "no face found" in (folder / "index.html").read_text()
    assert run("waves.png", "--no-texture", "--box", "130", "100", "120") == 0
    assert (
        "waves: no face found: the shape is a guess: nothing in the picture looks like one; all of it is invented"
        in capsys.readouterr().err
    )
    metrics = json.loads((tmp_path / "results/photos/results/waves/metrics.json").read_text())
    assert metrics["trust"]["measured"]["dissimilarity"] > 0.8


@pytest.mark.usefixtures("photo")
def test_a_folder_holds_any_models_and_a_command_that_fails_changes_nothing(run, tmp_path, face_photo, short, capsys):
    Image.fromarray(face_photo("009")).save(tmp_path / "b.png")
    # No cat is found in a face.
    assert run("a.png", "--out", "out", "--model", "cat", "--anyway") == 0
    made = json.loads((tmp_path / "out/results/a/config.json").read_text())["category"]
    assert made == "cat" and run("b.png", "--out", "out") == 0
    assert json.loads((tmp_path / "out/results/a/config.json").read_text())["category"] == "cat"

    def files():
        return {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    before = files()
    lost = short.read_text().replace("return", 'config.gan.checkpoint = "gone.safetensors"\n    return')
    (tmp_path / "lost.py").write_text(lost)
    assert run("a.png", "--out", "out", "--model", "lost.py") == 1 and run("c.png", "--out", "out") == 1
    assert files() == before
    assert run("a.png", "--out", "out", "--model", "short.py", "--refine") == 0
    assert json.loads((tmp_path / "out/results/a/config.json").read_text())["recipe"] == "refine"
    page = (tmp_path / "out/results.md").read_text()
    assert "| a " in page and "| b " in page
    capsys.readouterr()
    assert main(["edit", str(tmp_path / "out/results/a"), "--yaw", "20", "--version", "gan"]) == 0
    assert main(["evaluate", str(tmp_path / "out")]) == 0


def test_the_pages_commands_run_one_after_the_other(run, tmp_path, face_photo, monkeypatch):
    opened = []
    monkeypatch.setenv("BROWSER", "any")
    monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))
    cat = next(pathlib.Path(asset("cat/image")).glob("*.png"))
    for name in ("me.jpg", "holiday/a.jpg", "holiday/b.jpg", "cat.jpg", "front.jpg", "left.jpg", "right.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shown = Image.open(cat).convert("RGB").resize((256, 256)) if name[0] == "c" else Image.fromarray(face_photo())
        shown.save(tmp_path / name, quality=90 + len(name))  # no two files are the same
    text = "\n".join((_ROOT / page).read_text() for page in ("README.md", "docs/how-to/photos.md"))
    prepared = re.findall(r"(?:^    |`)gan2shape-jax photo (\w[^`\n]*\.jpg[^`\n]*)", text, re.MULTILINE)
    commands = [shlex.split(line, comments=True) for line in prepared]
    assert len(commands) >= 4  # those of your-own-kind.md are test_own_kind.py's
    for arguments in commands:
        assert run(*arguments) == 0, arguments
    assert len(opened) == sum("--open" in arguments for arguments in commands)


def test_refinement_goes_on_from_the_model_with_a_latent_that_is_given(run, tmp_path, photo, short):
    np.save(tmp_path / "w.npy", np.zeros((1, 128), np.float32))
    assert run(photo, "--model", short, "--refine", "--no-texture", "--latent", "w.npy") == 0
    metrics = json.loads((tmp_path / "results/photos/results/a/metrics.json").read_text())
    assert "refinement_share" in metrics
    assert not (tmp_path / "results/photos/results/a/textured.glb").exists()


@pytest.mark.heavy
def test_a_photograph_of_a_person_goes_to_the_model_of_heads(run, tmp_path, capsys):
    cbook = pytest.importorskip("matplotlib.cbook")
    assert run(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False), "--no-texture") == 0
    said = capsys.readouterr().err
    assert "; model: people; mask: GrabCut" in said and "grace_hopper: a face: " in said
    box = json.loads((tmp_path / "results/photos/photos/grace_hopper.json").read_text())["box"]
    assert abs(box["x"] - 262) < 25 and abs(box["y"] - 235) < 25 and 190 < box["side"] < 280


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.jpg"], "there is no photo none.jpg"),
        (["a.png", "b.png", "--which", "2"], "for a single photo"),
        (["a.png", "--box", "1", "2"], "--box has 2 numbers"),
        (["a.png", "--box", "90", "90", "50", "--which", "2"], "--box sets the crop itself"),
        (["a.png", "--box", "9000", "90", "50"], "lies outside the photo"),
        (["a.png", "--model", "celeba"], "nothing of it is bundled, and gan2shape-jax get celeba"),
        (["a.png", "--model", "gone.safetensors"], "gone.safetensors is missing"),
        (["a.png", "--out", "a.png"], "a.png"),
        (["a.png", "--mask", "none.png"], "none.png"),
        (["a.svg"], "a.svg is not an image of a known kind"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run, tmp_path, face_photo, capsys, arguments, words):
    for name in ("a.png", "b.png"):
        Image.fromarray(face_photo()).save(tmp_path / name)
    (tmp_path / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    assert run(*arguments) in (1, 2)
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").rglob("*.png"))
