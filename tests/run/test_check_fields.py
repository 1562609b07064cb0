"""Whatever value a field is given, `--check` and the run give the same answer, and it is a sentence."""

import functools
import os
import pathlib

import jax
import pytest
from helpers.tiny import tiny_config
from ml_collections import ConfigDict

from gan2shape_jax import stylegan2
from gan2shape_jax.config import flatten, load_config, set_field
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import data
from gan2shape_jax.method import models
from gan2shape_jax.method import settings as settings_lib
from gan2shape_jax.run import check, experiment, joint, predict, prepare, runner, runtime
from gan2shape_jax.training import network_files

_DEFAULTS = flatten(load_config("base"))
_ENDLESS = 10**5000  # Python refuses to write it out

_OF_ANY_KIND = [None, {"a": 1}, b"bytes", object()]
_HOSTILE = {
    bool: [1, "True", *_OF_ANY_KIND],
    int: [-1, 0, 1, 10**9, 2**63 - 1, 2**63, _ENDLESS, -_ENDLESS, True, 1.5, float("nan"), "8", *_OF_ANY_KIND],
    float: [
        *(float("nan"), float("inf"), float("-inf"), 0.0, -0.0, -1.0, 1e9, 1e300, 1e-300, 5e-324, 1.0),
        *(_ENDLESS, True, "1.0", *_OF_ANY_KIND),
    ],
    tuple: [
        *((), (1,), [1, 2], ((),), ((1, 2),), ((1, 2, 3.5),), ((_ENDLESS, 1, 1),), ((1, 1, 1),) * 5000),
        *((float("nan"),) * 7, (0, _ENDLESS, 0, 1, 0, 1, 0), (True,) * 7, ("a",) * 4, (None,) * 4, (False,) * 4),
        *("(1, 2)", *_OF_ANY_KIND),
    ],
    str: [
        *("", ".", "/", "..", "/dev/null", "/dev/zero", "/dev/null/below", "/proc/nothing", "~nobody-of-that-name/x"),
        *("foo://bar", "gs://", "gs://bucket/x", "S3://bucket", "file:///tmp", "://", "http://127.0.0.1/x"),
        *("\0", "a\0b", "line\nbreak", "\x1b[2J", "\udcff", "n" * 300, "d/" * 3000, "FILE", "FILE/below", "PIPE"),
        *("FOLDER", "DANGLING", "DANGLING/below", "CIRCLE", 5, *_OF_ANY_KIND),
    ],
}


def _hostile(default: object) -> list:
    kind = int if default is None else type(default)
    return _HOSTILE[kind]


@pytest.fixture(autouse=True)
def _cheap(monkeypatch):
    """A run ends where it would start to compute; what it loads until then is read once."""
    monkeypatch.setattr(stylegan2, "load", functools.cache(stylegan2.load))
    monkeypatch.setattr(runtime, "set_up_runtime", lambda config: None)  # the process has started JAX already
    for module in (runner, joint, predict):
        monkeypatch.setattr(module, "run", _load_as_a_run_does)


def _load_as_a_run_does(config: ConfigDict, names: list[str]) -> int:
    """Reads what a run reads before its first iteration; here as there the values have passed all checks."""
    architecture, _ = prepare.load_frozen(config)
    if config.networks.pretrained:
        sizes = settings_lib.from_config(config, architecture, original_size=config.image_size)
        like = jax.eval_shape(lambda key: models.init_params(key, sizes), jax.random.key(0))
        network_files.load_networks(pathlib.Path(config.networks.pretrained), like, sizes, needed=("depth",))
    for name in names:
        item = data.load_item(config, name)
        if item.latent is not None:
            prepare.require_layers(item.latent, name, architecture)
        prepare.prior_of(config, item)
    return 0


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a file, a pipe, a folder, and links that lead nowhere or in a circle."""
    monkeypatch.chdir(tmp_path)
    pathlib.Path("FILE").write_text("nothing of use")
    os.mkfifo("PIPE")
    pathlib.Path("FOLDER").mkdir()
    pathlib.Path("DANGLING").symlink_to("gone")
    pathlib.Path("CIRCLE").symlink_to("CIRCLE")
    return tmp_path


def _refusal(config: ConfigDict) -> list[str]:
    """Returns the lines with which the run refuses to start, [] where it starts."""
    try:
        assert experiment.run(config) == 0
    except UserError as error:
        return str(error).split("\n")
    return []


@pytest.mark.heavy  # starts a run for each field that is checked late
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("field", _DEFAULTS)
def test_check_and_run_say_the_same_of_a_hostile_value(field, place):
    whole = tiny_config(place)
    for value in _hostile(_DEFAULTS[field]):
        if isinstance(value, dict):
            value = ConfigDict(value)  # a group where a field is expected
        config = ConfigDict(whole).copy_and_resolve_references().unlock()
        try:
            set_field(config, field, value)
        except OverflowError:  # no configuration can hold it
            continue
        found, refused = "\n".join(check.examine(config)), _refusal(config)
        assert bool(found) == bool(refused), (value, found, refused)
        assert [line for line in refused if line not in found] == [], (value, found)
    assert {path.name for path in place.iterdir()} == {"FILE", "PIPE", "FOLDER", "DANGLING", "CIRCLE", "names.txt"}
