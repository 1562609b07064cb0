"""Projected samples on disk: the same bits as made anew, and made anew where they are not what was written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.lift.samples import NOWHERE, KeptSamples
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.state import ProjectedSamples

_SIDE, _COUNT = 8, 3


class _Maker:
    """Counts how often samples are made."""

    made = 0

    def __call__(self):
        self.made += 1
        images = jax.random.normal(jax.random.key(self.made), (_COUNT, _SIDE, _SIDE, 3))
        return ProjectedSamples(images=images, masks=jnp.float32(images[..., 0] > 0))


def _of(kept, make, *, name="a", phase=3, value=0.0):
    square = jnp.full((_SIDE, _SIDE), value)
    return kept.of(name, phase, Factors(*[square] * 5), make)


def _same(first, second):
    return np.array_equal(first.images, second.images) and np.array_equal(first.masks, second.masks)


def test_samples_are_made_once_and_the_same_wherever_they_come_from(tmp_path):
    make = _Maker()
    first = _of(KeptSamples(tmp_path), make)
    again = _of(KeptSamples(tmp_path), make)
    assert make.made == 1 and _same(first, again)
    assert _same(first, _of(NOWHERE, _Maker()))  # nothing is kept, but they are as exact as if they were
    assert first.images.dtype == np.float32 and np.abs(first.images - _Maker()().images).max() < 1e-2


def test_another_image_phase_or_factors_have_samples_of_their_own(tmp_path):
    make, kept = _Maker(), KeptSamples(tmp_path)
    first = _of(kept, make)
    for other in ({"name": "b"}, {"phase": 4}, {"value": 1.0}):
        assert not _same(first, _of(kept, make, **other))
    assert _same(first, _of(kept, make)) and make.made == 4


def test_what_is_not_what_was_written_is_made_again(tmp_path):
    make, kept = _Maker(), KeptSamples(tmp_path)
    _of(kept, make)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    for made, harmed in enumerate((content[: len(content) // 2], b"", bytes(1 << 20)), 2):
        path.write_bytes(harmed)
        again = _of(kept, make)
        assert make.made == made and _same(again, _of(kept, make)) and make.made == made
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="cannot write"):
        _of(kept, make)


def test_what_is_kept_for_other_phases_is_removed(tmp_path):
    kept = KeptSamples(tmp_path)
    for phase in (1, 11, 2):
        _of(kept, _Maker(), phase=phase)
    (tmp_path / "notes.txt").write_text("stays")
    kept.forget_all_but(1)
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["1", "notes.txt"]
    KeptSamples(tmp_path / "absent").forget_all_but(1)
    NOWHERE.forget_all_but(1)
