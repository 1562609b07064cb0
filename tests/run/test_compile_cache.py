"""Compiled programs on disk: a second start compiles nothing and gives the same bits; no folder is no crash."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest
from helpers.command_line import overrides
from helpers.tiny import tiny_config

from gan2shape_jax.run import compile_cache

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _start(workdir: pathlib.Path, cache: pathlib.Path, **environment) -> dict[str, int]:
    """What JAX counts while a tiny run goes through every step, in a process of its own with that user cache folder."""
    workdir.mkdir()
    config = tiny_config(
        workdir, prior__iterations=1, schedule__stages=((1, 1, 1),), outputs__picture_size=32, sampling__collect_iters=1
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, str(_ROOT / "tests/helpers/counted_start.py"), "--config=ictface", *overrides(config)],
        env=kept
        | {"PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'tests'}", "XDG_CACHE_HOME": str(cache)}
        | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("record"))
    return json.loads(line.removeprefix("record"))


@pytest.mark.slow  # it must not use the programs of other tests
def test_a_second_start_compiles_nothing_and_gives_the_same_bits(tmp_path):
    cache = tmp_path / "cache"
    cold = _start(tmp_path / "cold", cache)
    assert cold["cache_misses"] > 100 and len(list(cache.glob("gan2shape_jax/xla-*/*-cache"))) > 100
    warm = _start(tmp_path / "warm", cache)
    assert warm.get("cache_misses", 0) == 0 and warm["cache_hits"] > 100
    for file in ("depth.npy", "albedo.npy", "view.npy", "light.npy", "networks.safetensors"):
        first, second = (tmp_path / name / "run" / "results" / "001" / file for name in ("cold", "warm"))
        assert first.read_bytes() == second.read_bytes(), file


@pytest.fixture
def no_cache(monkeypatch):
    """A process without a cache, as a start finds it; afterwards all is as it was."""
    names = ("jax_compilation_cache_dir", *compile_cache._OPTIONS)
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    for option in compile_cache._OPTIONS:
        monkeypatch.delenv(option.upper(), raising=False)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_users_cache_folder_is_the_default(no_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = compile_cache.use("")
    assert folder == compile_cache.default_folder() and folder.is_dir()
    if sys.platform == "linux":
        assert folder.parent == tmp_path / "gan2shape_jax"
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0


def test_a_folder_of_the_configuration_is_used(no_cache, tmp_path):
    assert compile_cache.use(str(tmp_path / "mine")) == tmp_path / "mine"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")


def test_off_keeps_none(no_cache):
    assert compile_cache.use("off") is None and jax.config.jax_compilation_cache_dir is None


def test_the_environments_own_cache_stays(no_cache, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))  # what JAX makes of the variable
    assert compile_cache.use(str(tmp_path / "mine")) == tmp_path / "theirs"
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_cannot_be_made_is_a_warning(no_cache, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match=r"compiled programs are not kept.*file/inside cannot be written"):
        assert compile_cache.use(str(tmp_path / "file" / "inside")) is None
    assert jax.config.jax_compilation_cache_dir is None
