"""What is known of a model's errors, as a file beside it."""

import pathlib

import numpy as np
import pytest

from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.weights.digest import sha256
from gan2shape_jax.training.trust_file import TrustRecord, beside, read_trust, trust_bytes


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"a model")
    return path


def _record(**changed):
    known = {
        "usual_error": np.linspace(0, 0.02, 16, dtype=np.float32).reshape(4, 4),
        "level": 1.25,
        "side_line": np.array([-4.5, 0.1], np.float32),
        "side_range": np.array([0.008, 0.014], np.float32),
    }
    return TrustRecord(**(known | changed))


def test_a_record_comes_back(model):
    content = trust_bytes(_record(), sha256(model))
    assert content == trust_bytes(_record(), sha256(model))
    beside(model).write_bytes(content)
    found = read_trust(model, 4)
    np.testing.assert_allclose(found.usual_error, _record().usual_error, atol=2e-5)
    assert found.level == 1.25
    np.testing.assert_array_equal(found.side_line, _record().side_line)
    np.testing.assert_array_equal(found.side_range, _record().side_range)


def test_of_another_model_size_or_damage_nothing_is_taken(model):
    assert read_trust(model, 4) is None  # no file
    good = trust_bytes(_record(), sha256(model))
    bad = {
        "of another model": trust_bytes(_record(), "0" * 64),
        "short": good[:-3],
        "empty": b"",
        "not finite": trust_bytes(_record(level=np.nan), sha256(model)),
        "less than no error": trust_bytes(_record(usual_error=-np.ones((4, 4))), sha256(model)),
        "of other shapes": trust_bytes(_record(side_line=np.zeros(3)), sha256(model)),
    }
    for name, content in bad.items():
        beside(model).write_bytes(content)
        assert read_trust(model, 4) is None, name
    beside(model).write_bytes(good)
    assert read_trust(model, 8) is None
    model.write_bytes(b"another model")
    assert read_trust(model, 4) is None


def test_the_bundled_model_has_its_record():
    record = read_trust(pathlib.Path(asset("ictface/model.safetensors")), 64)
    assert 0.5 < record.level < 2 and 0.001 < record.usual_error.mean() < 0.1
    assert record.side_line[1] > 0 and 0.005 < record.side_range[0] < record.side_range[1] < 0.03
