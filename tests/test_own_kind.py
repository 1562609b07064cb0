"""The page "A kind of your own": its commands run in their order, with tiny sizes put in."""

import json
import pathlib
import re
import shlex
import webbrowser

import numpy as np
import pytest
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.detection import weights
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.main import main

_PAGE = pathlib.Path(__file__).parents[1] / "docs" / "how-to" / "your-own-kind.md"
_TINY = {"--images": "4", "--config.schedule.stages": "((1,1,1),(1,1,1),(1,1,1))"}
_MORE = {
    "train-gan": ["--batch", "4", "--every", "4", "--features", "none"],
    "lift": ["--config.lift.detail_pictures=8"],  # not in the file: the recipe is put on top of that
}
_SHORT = """
    config.prior.iterations = 2
    config.lift.update(samples=4, batches=1, held_out=1, measured=2, masks="none")
    config.lift.update(inversion_iterations=1, latent_iterations=1, inversion_samples=1, view_iterations=1)
    config.refinement.update(stages=((1, 1, 1),), collect_iters=2, held_out=1)
    config.inversion.steps = 2
    return config
"""


def _commands():
    """Returns the page's commands, each as its words."""
    text = _PAGE.read_text().replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in re.findall(r"^    gan2shape-jax (.*)$", text, re.MULTILINE)]


def _tiny(words):
    """Returns a command with its sizes replaced by small ones."""
    for option, value in _TINY.items():
        words = [re.sub(rf"^{re.escape(option)}=.*", f"{option}={value}", word) for word in words]
        words = [value if before == option else word for before, word in zip(["", *words], words)]
    return words + _MORE.get(words[0], [])


def test_the_tables_commands_are_those_of_the_steps():
    listed = re.findall(r"^\| \[.*?\| `([^`]+)`", _PAGE.read_text(), re.MULTILINE)
    commands = [" ".join(words) for words in _commands()]
    assert len(listed) == 5
    places = [next(k for k, words in enumerate(commands) if words.startswith(first)) for first in listed]
    assert places == sorted(places)


@pytest.mark.heavy
def test_the_commands_lead_from_photographs_to_meshes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opened = []
    monkeypatch.setenv("BROWSER", "any")
    monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))
    checkpoint = pathlib.Path(asset("cat/gan.safetensors"))
    reference = weights.weights_of(checkpoint, *stylegan2.load(checkpoint), "gan", log=pytest.fail)
    monkeypatch.setattr(weights, "learn", lambda *_, **__: reference)  # of nearly the same GAN
    cats = [Image.open(path).convert("RGB") for path in sorted(checkpoint.parent.glob("image/*.png"))]
    for name, cat in zip(("held_out/a.jpg", "dog.jpg"), cats, strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shown = Image.new("RGB", (320, 240), (90, 110, 80))
        shown.paste(cat.resize((160, 160)), (90, 40))
        shown.save(tmp_path / name, quality=95)
    (tmp_path / "dogs").mkdir()
    for number in range(16):
        noise = np.random.default_rng(number).normal(0, 9, (64, 64, 3))
        picture = np.clip(np.asarray(cats[2 + number % 6]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"dogs/{number}.png")
    for words in _commands():
        assert main(_tiny(words)) == 0, (words, capsys.readouterr().err[-500:])
        written = tmp_path / "dogs_gan" / "config.py"
        if written.exists() and _SHORT not in written.read_text():  # which the page says may be changed
            written.write_text(written.read_text().replace("    return config\n", _SHORT[1:]))
    assert len(opened) == 1
    assert json.loads((tmp_path / "results/dogs/results/a/metrics.json").read_text())["trust"]["verdict"]
    assert (tmp_path / "results/photos/results/dog/textured.glb").is_file()
