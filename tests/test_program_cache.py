"""Programs that are traced once and kept: the same bits, and never one that was made for anything else."""

import os
import pathlib
import subprocess
import sys

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax import program_cache

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_VALUES = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


@program_cache.record
@flax.struct.dataclass
class _Both:
    waves: jax.Array
    mean: jax.Array | None


@pytest.fixture
def folder(tmp_path):
    """Where programs are cached meanwhile."""
    program_cache.set_cache_dir(tmp_path)
    yield tmp_path / "exported"
    program_cache.set_cache_dir(None)


@pytest.fixture
def traced():
    """A function as a start of the program would decorate it, and how often it has been traced."""
    times = []

    def waves(values, tree, *, power=1):
        times.append(power)
        found = jnp.sin(values @ values.T) ** power + tree["shift"]
        return _Both(found, found.mean() if power > 1 else None)

    return lambda: program_cache.jit(waves, static_argnames=("power",)), times, waves


def _call(function, values=_VALUES, **static):
    return function(values, {"shift": jnp.float32(0.1)}, **static)


def _same(first, second):
    assert str(jax.tree.structure(first)) == str(jax.tree.structure(second))
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other), strict=True)


def test_a_later_start_traces_nothing_and_gets_the_same_bits(folder, traced):
    start, times, waves = traced
    for power in (1, 2):
        right = _call(jax.jit(waves, static_argnames="power"), power=power)
        times.clear()
        for _ in range(3):
            function = start()
            _same(_call(function, power=power), right)
            _same(_call(function, power=power), right)
        assert times == [power]
    assert len(list(folder.iterdir())) == 2


def test_other_shapes_types_and_options_are_other_programs(folder, traced):
    start, times, _ = traced
    calls = (_VALUES, _VALUES[:2], _VALUES.astype(np.float16), np.arange(6).reshape(2, 3))
    for count, values in enumerate(calls, 1):
        _call(start(), values)
        assert len(times) == count == len(list(folder.iterdir()))
    with jax.default_matmul_precision("highest"):
        _call(start())
    assert len(times) == len(calls) + 1


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _emptied(path):
    path.write_bytes(b"")


def _no_program(path):
    path.write_bytes(b"no program")


@pytest.mark.parametrize("damage", [_cut, _emptied, _no_program])
def test_a_program_that_cannot_be_read_is_made_anew(folder, traced, damage):
    start, times, _ = traced
    right = _call(start())
    (path,) = folder.iterdir()
    damage(path)
    for _ in range(2):
        _same(_call(start()), right)
    assert times == [1, 1]


def test_what_follows_from_another_packages_code_is_not_kept(folder, monkeypatch):
    monkeypatch.setattr(program_cache.extensions, "names", lambda kind: ("theirs",) if kind == "depth_network" else ())
    for network in ("theirs", "ours"):
        for _ in range(2):
            program_cache.jit(lambda values, of: values + len(of), static_argnames=("of",))(_VALUES, of=network)
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("what", ["jax.__version__", "version", "flax.__version__", "_sources"])
def test_a_program_of_another_version_is_not_used(folder, traced, what, monkeypatch):
    start, times, _ = traced
    right = _call(start())
    other = "0.0" if what.endswith("__version__") else lambda *names: "others"
    monkeypatch.setattr(f"gan2shape_jax.program_cache.{what}", other)
    _same(_call(start()), right)
    assert times == [1, 1] and len(list(folder.iterdir())) == 2


def test_sources_are_all_of_the_package(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    module = tmp_path / "inner" / "module.py"
    module.write_text("x = 1")
    monkeypatch.setattr(program_cache, "_PACKAGE", tmp_path)
    before = program_cache._sources.__wrapped__()
    status = module.stat()
    module.write_text("x = 2")  # of the same size and time
    os.utime(module, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert program_cache._sources.__wrapped__() != before


def test_a_folder_that_cannot_be_written_costs_only_time(traced, tmp_path):
    start, times, _ = traced
    (tmp_path / "file").write_text("")
    program_cache.set_cache_dir(tmp_path / "file")
    try:
        first = _call(start())
        _same(_call(start()), first)
    finally:
        program_cache.set_cache_dir(None)
    assert times == [1, 1]


def test_inside_other_programs_and_with_numbers_it_is_what_jax_makes_of_it(folder, traced):
    start, _, waves = traced
    function, values = start(), jnp.asarray(_VALUES)

    def total(of, values):
        return _call(of, values).waves.sum()

    for transformed in (
        lambda of: jax.jit(lambda v: total(of, v))(values),
        lambda of: jax.grad(lambda v: total(of, v))(values),
        lambda of: jax.vmap(lambda v: _call(of, v[None]).waves)(values),
        lambda of: of(values, {"shift": 0.5}).waves,
    ):
        _same(transformed(function), transformed(jax.jit(waves, static_argnames="power")))
    assert not list(folder.iterdir())


def test_what_is_compiled_already_is_kept_too(folder, traced):
    _, times, waves = traced
    compiled = jax.jit(waves, static_argnames=("power",))
    right = _call(compiled, power=2)
    for _ in range(2):
        _same(_call(program_cache.cached(compiled, static_argnames=("power",)), power=2), right)
    assert times == [2, 2] and len(list(folder.iterdir())) == 1
    program_cache.set_cache_dir(None)
    _same(_call(program_cache.cached(compiled, static_argnames=("power",)), power=2), right)  # the same program
    assert times == [2, 2]


def test_what_another_process_could_not_know_is_not_kept(folder):
    function = program_cache.jit(lambda values, of: of(values), static_argnames=("of",))
    _same(function(_VALUES, of=lambda values: values + 1), jnp.asarray(_VALUES + 1))
    assert not list(folder.iterdir())


def test_debugging_sees_every_operation(folder):
    function = program_cache.jit(lambda values: jnp.log(values) * 0)
    function(_VALUES)
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        function(_VALUES)


_PREDICTS = """
import hashlib, sys
import numpy as np
from gan2shape_jax import load_model
from gan2shape_jax.method import models
from gan2shape_jax.plan import runtime
setting, again = sys.argv[1:]
runtime.keep_programs(setting)
if again:
    def applied(*_):
        raise AssertionError("traced")
    models._apply = applied
picture = (np.indices((64, 64, 3)).sum(axis=0) % 251).astype(np.uint8)
found = load_model("people").reconstruct(picture)
arrays = found.depth, found.albedo, found.view, found.light, found.reconstructed_image, found.canonical
print("bits", *(hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() for array in arrays))
print(sorted(found.metrics.items()))
"""


@pytest.mark.slow  # it must not use the programs of other tests
def test_a_prediction_has_the_same_bits_traced_exported_and_kept(tmp_path):
    # Compiled as users do, well rather than quickly.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XDG_", "XLA_"))}
    environment |= {"PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    said = []
    for setting, again in (("off", ""), (str(tmp_path), ""), (str(tmp_path), "again")):
        command = [sys.executable, "-c", _PREDICTS, setting, again]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1] == said[2] and said[0].startswith("bits")
    assert len(list((tmp_path / "exported").iterdir())) >= 2
