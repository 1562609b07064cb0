"""What other packages add: the package in examples/, installed into a folder, and packages that do not work."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.command_line import overrides
from helpers.tiny import tiny_config
from PIL import Image
from safetensors.numpy import save_file

import gan2shape_jax
from gan2shape_jax import extensions
from gan2shape_jax.config.load import read_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.main import main
from gan2shape_jax.plan.identity import read_identity
from gan2shape_jax.training import network_files

_ROOT = pathlib.Path(__file__).parent.parent
_USED = "category.coin", "depth_network.local", "distance.edges", "loss.flatness", "output.curvature"
_OF_COIN = ("category", "prior.shape", "networks.depth", "loss.")  # what its configuration sets


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder that the example is installed in."""
    folder = tmp_path_factory.mktemp("installed")
    pytest.importorskip("setuptools", minversion="77")
    shutil.copytree(_ROOT / "examples/extension", folder / "source")  # builds leave files in it
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--no-compile", "--target", folder / "site"]
    command = [sys.executable, "-m", "pip", "install", *options, folder / "source"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "site"


_START = ("-m", "gan2shape_jax.main")
# Ends a run when it would begin to train.
_UNTRAINED = """
import sys
from gan2shape_jax.main import main
from gan2shape_jax.run import images
def ended(*_):
    raise KeyboardInterrupt
images.Trainer.train = ended
sys.exit(main(sys.argv[1:]))
"""


def _program(site, *arguments, start=_START):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (site, _ROOT)))}
    command = [sys.executable, *start, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _described(folder):
    """The command line and the folder of a run that uses the six things that the example adds."""
    fields = {"schedule__stages": ((2, 1, 2),), "schedule__flip1": (False,), "schedule__flip3": (True,)}
    config = tiny_config(folder, **fields, outputs__preset="mesh", outputs__networks="full")
    own = tuple(f"--config.{field}" for field in _OF_COIN)
    words = ["--config=coin", *(word for word in overrides(config, base="own") if not word.startswith(own))]
    return words, pathlib.Path(config.workdir)


@pytest.fixture(scope="module")
def begun(site, tmp_path_factory):
    """Such a run that ended before it trained: it has its configuration."""
    words, workdir = _described(tmp_path_factory.mktemp("begun"))
    done = _program(site, *words, start=("-c", _UNTRAINED))
    assert done.returncode != 0 and "interrupted" in done.stderr, done.stdout + done.stderr
    return words, workdir


@pytest.fixture(scope="module")
def run(site, tmp_path_factory):
    """Such a run that is finished."""
    words, workdir = _described(tmp_path_factory.mktemp("coin"))
    done = _program(site, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return words, workdir


def test_a_run_names_what_packages_added_to_it(begun):
    tree = json.loads((begun[1] / "config.json").read_text())
    assert tree["identity"]["extensions"] == dict.fromkeys(_USED, "gan2shape-example 1.0")
    assert (tree["loss"]["perceptual"], tree["networks"]["depth"]) == ("edges", "local")


@pytest.mark.ci
def test_a_package_adds_a_loss_a_distance_a_network_a_category_and_an_output_to_a_run(run):
    _, workdir = run
    result = workdir / "results/001"
    tree = json.loads((workdir / "config.json").read_text())
    assert tree["identity"]["extensions"] == dict.fromkeys(_USED, "gan2shape-example 1.0")
    assert "flatness" in (result / "history.csv").read_text().splitlines()[0].split(",")
    assert "curvature.png" in json.loads((result / "files.json").read_text())["files"]
    with Image.open(result / "curvature.png") as picture:
        assert picture.size == (32, 32)
    assert gan2shape_jax.load(result).depth.shape == (32, 32)  # without the package


def test_a_package_adds_a_command_which_reads_a_result_and_stands_in_the_help(site, saved_results):
    done = _program(site, "relief", saved_results / "001")
    assert done.returncode == 0 and 0 < float(done.stdout.rpartition(": ")[2]) < 0.2, done.stdout + done.stderr
    assert "\n  relief    RESULT ...: how deep results are, in scene units\n" in _program(site, "--help").stdout


def test_another_version_of_a_package_is_another_run(begun, site, tmp_path):
    words, workdir = begun
    newer = tmp_path / "site"
    shutil.copytree(site, newer)
    (metadata,) = newer.glob("*.dist-info/METADATA")
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    before = (workdir / "config.json").read_bytes()
    done = _program(newer, *words)
    assert done.returncode == 1
    assert "extensions.loss.flatness (was 'gan2shape-example 1.0', is 'gan2shape-example 1.1')" in done.stderr
    assert (workdir / "config.json").read_bytes() == before


def test_without_the_package_the_run_names_it(begun):
    _, workdir = begun
    with pytest.raises(UserError, match="the run uses the category 'coin' of gan2shape-example 1.0, which is not inst"):
        read_config(workdir / "config.json")


def test_the_depth_network_of_a_file_is_compared(site, tmp_path, capsys):
    weights, networks = np.zeros((1, 1), np.float32), tmp_path / "networks.safetensors"
    save_file({"depth/output/kernel": weights}, networks, network_files.depth_metadata("local") | {"networks": "depth"})
    config = tiny_config(tmp_path, networks__pretrained=str(networks))
    words = ["--config=ictface:scratch", *overrides(config, base="ictface"), "--check"]
    is_other = "is 'local', this configuration's 'encoder_decoder': "
    assert main(words) == 1 and f"{is_other}install the package that adds it, or" in capsys.readouterr().err
    assert f"{is_other}set config.networks.depth=local, or" in _program(site, *words).stderr


def _installed(folder, name, *entries):
    """Writes the metadata of a package of version 2 with these entry points."""
    metadata = folder / f"{name}-2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2\n")
    (metadata / "entry_points.txt").write_text("\n".join(["[gan2shape_jax]", *entries]) + "\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that packages are found in."""
    monkeypatch.syspath_prepend(tmp_path)
    extensions._entries.cache_clear()
    yield tmp_path
    extensions._entries.cache_clear()


def test_what_cannot_be_added_is_refused_by_the_name_of_its_package(folder):
    _installed(folder, "one", "command.photo = nowhere:main", "loss.own = nowhere:own")
    with pytest.raises(UserError, match="one 2 adds the command 'photo', which is there already"):
        extensions.names("command", ["photo"])
    assert extensions.names("loss") == ("own",) and extensions.names("output") == ()
    with pytest.raises(UserError, match="nowhere:own of one 2 cannot be imported .ModuleNotFoundError"):
        extensions.load("loss", "own")
    with pytest.raises(UserError, match="no installed package adds the loss 'other': install"):
        extensions.load("loss", "other")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("loss.own = elsewhere:own", "one 2 and two 2 both add 'loss.own'|two 2 and one 2 both add 'loss.own'"),
        ("looss.own = nowhere:own", "two 2 adds 'looss.own', which is no KIND.NAME .kinds are loss, category"),
        ("loss.o-n = nowhere:own", "two 2 adds 'loss.o-n', which is no KIND.NAME"),
    ],
)
def test_entry_points_that_nothing_can_be_made_of_are_refused(folder, entry, message):
    _installed(folder, "one", "loss.own = nowhere:own")
    _installed(folder, "two", entry)
    with pytest.raises(UserError, match=message):
        extensions.names("loss")


def test_a_run_that_does_not_use_a_package_goes_on_without_it(begun, tmp_path):
    _, workdir = begun
    tree = json.loads((workdir / "config.json").read_text())
    tree["loss"] |= {"lam_flatness": 0.0, "perceptual": "discriminator"}
    tree["networks"]["depth"], tree["category"] = "encoder_decoder", "face"
    tree["prior"]["shape"] = "ellipsoid"
    tree["identity"]["extensions"] = {"output.curvature": "gan2shape-example 1.0"}
    (path := tmp_path / "config.json").write_text(json.dumps(tree))
    config, identity = read_identity(path)
    assert "lam_flatness" not in config.loss
    assert identity.extensions == {"output.curvature": "gan2shape-example 1.0"}
    assert not any(name.startswith("extensions.") for name in identity.computed)
