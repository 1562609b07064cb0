"""Files that the fuzzer (`benchmarks/robustness/fuzz_inputs.py`) found to lead somewhere are read again."""

import pathlib

import pytest
from helpers.measured_reading import read_all

pytestmark = pytest.mark.hostile

_CORPUS = pathlib.Path(__file__).parent / "corpus"


def test_no_kept_file_does_harm(tmp_path):
    files = {path.name: (path.name.rsplit("-", 1)[0], path) for path in sorted(_CORPUS.iterdir())}
    assert len(files) >= 100
    assert {name: found.harm for name, found in read_all(files, tmp_path).items() if found.harm} == {}


def test_the_corpus_stays_small():
    assert sum(path.stat().st_size for path in _CORPUS.iterdir()) <= 2**20
