"""Random streams: no two give the same numbers, and nothing is drawn from a seed that is no run's."""

import ast
import pathlib

import jax
import numpy as np
import pytest

import gan2shape_jax
from gan2shape_jax.method import streams
from gan2shape_jax.method.streams import Stream, generator_of, key_of, run_key

_PACKAGE = pathlib.Path(gan2shape_jax.__file__).parent
_SEEDED = {"key", "PRNGKey", "default_rng", "RandomState", "seed"}


def test_streams_and_their_steps_are_all_distinct():
    assert len({stream.value for stream in Stream}) == len(Stream.__members__)  # an alias is no member of its own
    keys = [
        tuple(np.asarray(jax.random.key_data(key_of(run_key(seed), stream, step))).tolist())
        for seed in (0, 1)
        for stream in Stream
        for step in (0, 1, 40)
    ]
    assert len(set(keys)) == len(keys)


def test_keys_are_folded_in_once_for_the_stream_and_once_for_the_step():
    expected = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), 22), 3)
    assert jax.random.key_data(key_of(run_key(5), Stream.TRAIN, 3)).tolist() == jax.random.key_data(expected).tolist()
    traced = jax.jit(lambda key, step: key_of(key, Stream.TRAIN, step))(run_key(5), 3)
    assert jax.random.key_data(traced).tolist() == jax.random.key_data(expected).tolist()


def test_numpys_generators_follow_key_stream_and_step():
    def drawn(seed, stream, step):
        return generator_of(run_key(seed), stream, step).integers(2**32)

    assert drawn(3, Stream.GAN_PHOTOS, 1) == drawn(3, Stream.GAN_PHOTOS, 1)
    others = [(4, Stream.GAN_PHOTOS, 1), (3, Stream.GAN_CHECK, 1), (3, Stream.GAN_PHOTOS, 2)]
    assert drawn(3, Stream.GAN_PHOTOS, 1) not in [drawn(*other) for other in others]


def _constant_seeds(source: str) -> list[int]:
    """Returns the lines on which random numbers are seeded by a number."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.args]
    return [
        call.lineno
        for call in calls
        if getattr(call.func, "attr", getattr(call.func, "id", "")) in _SEEDED
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, int)
    ]


@pytest.mark.parametrize("source", ["jax.random.key(0)", "np.random.default_rng(12)", "default_rng(0)", "PRNGKey(1)"])
def test_a_constant_seed_would_be_seen(source):
    assert _constant_seeds(source) == [1]


def test_no_number_in_the_package_is_a_seed():
    files = {str(path.relative_to(_PACKAGE)): path.read_text(encoding="utf-8") for path in _PACKAGE.rglob("*.py")}
    assert str(pathlib.Path(streams.__file__).relative_to(_PACKAGE)) in files
    found = {name: lines for name, text in files.items() if (lines := _constant_seeds(text))}
    assert found == {}


def test_no_stream_is_without_a_use():
    text = "".join(path.read_text(encoding="utf-8") for path in _PACKAGE.rglob("*.py"))
    assert [stream.name for stream in Stream if f"Stream.{stream.name}" not in text] == []
