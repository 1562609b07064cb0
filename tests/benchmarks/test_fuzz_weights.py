"""The changes that fuzzing makes go deep: what they change is still read as what it is, and not as any bytes."""

import io
import pathlib
import random
import sys
import zipfile

import pytest

from gan2shape_jax.io.weights.budget import Refused
from gan2shape_jax.io.weights.onnx_file import check_onnx
from gan2shape_jax.io.weights.safetensors_file import TensorFile

_ROOT = pathlib.Path(__file__).parents[2]
_CORPUS = _ROOT / "tests" / "weight_files" / "corpus"


@pytest.fixture
def fuzzing(monkeypatch):
    monkeypatch.syspath_prepend(str(_ROOT / "benchmarks" / "robustness"))
    from fuzzing import pickled, structured

    yield {**vars(pickled), **vars(structured)}
    for name in [name for name in sys.modules if name.split(".")[0] == "fuzzing"]:
        del sys.modules[name]


def _changed(change, kind, count=60):
    chance = random.Random(0)
    honest = [path.read_bytes() for path in sorted((_CORPUS / kind).glob("honest-*"))]
    return [change(chance.choice(honest), chance) for _ in range(count)]


def test_archives_stay_archives_with_checksums_that_fit(fuzzing):
    changed = _changed(fuzzing["change_archive"], "torch_zip")
    assert len(set(changed)) > 50
    for content in changed:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None


def test_headers_stay_as_long_as_they_say(fuzzing):
    outcomes = set()
    for content in _changed(fuzzing["change_header"], "safetensors"):
        try:
            TensorFile(io.BytesIO(content))
            outcomes.add("read")
        except Refused as error:
            outcomes.add(str(error)[:20])
    assert "read" in outcomes and len(outcomes) > 5


def test_messages_stay_messages(fuzzing):
    changed = _changed(fuzzing["change_messages"], "onnx")
    outcomes = set()
    for content in changed:
        try:
            check_onnx(content)
            outcomes.add("read")
        except Refused as error:
            outcomes.add(str(error)[:30])
    assert "read" in outcomes and len(outcomes) > 2


def test_pickles_are_changed_at_their_instructions(fuzzing):
    for kind in ("torch_legacy", "nvidia"):
        assert len(set(_changed(fuzzing["change_pickles"], kind))) > 50


def test_the_corpus_is_small():
    assert sum(path.stat().st_size for path in _CORPUS.glob("*/*")) <= 2**20
