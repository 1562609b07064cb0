"""Files made to do harm are refused in words, in no time and without memory; so is what fuzzing has found."""

import collections
import functools
import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest
from helpers import hostile

pytestmark = pytest.mark.hostile

_PROGRAM = pathlib.Path(hostile.__file__).parent / "program.py"
_SECONDS, _MEBIBYTES = 2, 512  # beyond the idle process
_KINDS = [kind for kind in hostile.KINDS if kind != "onnx" or importlib.util.find_spec("onnxruntime")]


@functools.cache
def _results() -> dict[str, list[dict]]:
    """What became of every file, by its kind: all of them are opened by one process that has nothing else to do."""
    done = subprocess.run([sys.executable, str(_PROGRAM), *_KINDS], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    results = collections.defaultdict(list)
    for line in done.stdout.splitlines():
        found = json.loads(line)
        results[found["kind"]].append(found)
    return results


def _told(found: dict) -> str:
    told = f"{found['reader']} of {found['name']}: {found['outcome']}"
    return f"{told} in {found['seconds']:.1f} s and {found['mebibytes']:.0f} MiB; {found['message'][:200]}"


def _hostile(kind: str) -> list[dict]:
    return [found for found in _results()[kind] if not found["name"].startswith(("corpus-", "mutated-"))]


@pytest.mark.parametrize("kind", _KINDS)
def test_there_are_many_and_each_was_opened(kind):
    names = [name for name, _ in hostile.cases(kind)]
    assert len(names) >= 100 and len(set(names)) == len(names)
    assert {found["name"] for found in _hostile(kind)} == set(names)


@pytest.mark.parametrize("kind", _KINDS)
def test_hostile_files_are_refused_in_words(kind):
    # A header alone can be in order where the tensors are not.
    assert not [_told(f) for f in _hostile(kind) if f["outcome"] != "refused" and f["reader"] != "header"]
    assert not [_told(f) for f in _hostile(kind) if f["outcome"] == "refused" and not 20 < len(f["message"]) < 10_000]


@pytest.mark.parametrize("kind", _KINDS)
def test_no_file_ends_otherwise_than_read_or_refused(kind):
    assert not [_told(found) for found in _results()[kind] if found["outcome"] not in ("read", "refused")]


@pytest.mark.parametrize("kind", _KINDS)
def test_no_file_takes_long(kind):
    assert not [_told(found) for found in _results()[kind] if found["seconds"] > _SECONDS]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is Linux's to tell")
@pytest.mark.parametrize("kind", _KINDS)
def test_no_file_takes_much_memory(kind):
    assert max(found["mebibytes"] for found in _results()[kind]) > 0  # it has been measured
    assert not [_told(found) for found in _results()[kind] if found["mebibytes"] > _MEBIBYTES]


@pytest.mark.parametrize("kind", _KINDS)
def test_the_honest_files_that_the_others_were_made_of_are_read(kind):
    honest = [found for found in _results()[kind] if found["name"].startswith("corpus-honest-")]
    read = {found["name"] for found in honest if found["outcome"] == "read"}
    # Latents alone are no file to convert.
    assert read | {"corpus-honest-expanded"} >= {found["name"] for found in honest} and read


# What was found from outside, each by its file here and by the words that it is refused with.
_FOUND = {
    "text doubled by nested calls of torch.device": ("nvidia", "device-36-2", "torch.device of what names no device"),
    "thousands of expanded tensors": ("torch_zip", "expanded-3000", "MiB of tensors and values, which a file of"),
    "an array of bytes of 2.5 GB": ("nvidia", "length-96-2500000000", "2500000000 bytes are announced where"),
    "bytes beyond the file": ("nvidia", "length-8e-1099511627776", "bytes are announced where"),
    "text beyond the file": ("torch_zip", "length-8d-1099511627776", "bytes are announced where"),
    "a list that holds itself": ("torch_zip", "bisenet-in-a-list-of-itself", "in a list, where a dictionary"),
    "a number of a million bytes": ("torch_zip", "long4", "an instruction that PyTorch's files do not need"),
    "containers that hold another twice": ("torch_legacy", "shared-list-3000-args", "an unknown kind of checkpoint"),
    "a mapping network of 10**9 layers": (
        "safetensors",
        "gan-mapping_layers-1000000000",
        "at most 16384 channels and 32",
    ),
    "an image of 2**30 pixels": ("safetensors", "gan-size-1073741824", "a StyleGAN2 of 1073741824 pixels"),
    "a header of 2**63 bytes": ("safetensors", "length-9223372036854775808", "only the beginning of one"),
    "tensors that overlap": ("safetensors", "place-overlap", "tensors that overlap"),
    "a name said twice": ("safetensors", "twice", "names something twice"),
    "entries that share their bytes": ("torch_zip", "overlap-5000", "compressed or overlapping entries"),
    "a million entries": ("torch_zip", "million", "an archive whose directory is of unreasonable length"),
    "layers counted by a name": (
        "torch_zip",
        "generator-style.999999999.weight",
        "at most 16384 channels and 32 mapping",
    ),
    "whole numbers of one hash": ("torch_zip", "key-hashes", "a dictionary key of unreasonable size"),
    "a setting endless to print": ("nvidia", "img_resolution-laughs", "is no whole number: a list"),
    "the tensors of one module in a thousand": ("nvidia", "shared-tensors-999", "has the tensors of another module"),
    "weights of an ONNX file in another": ("onnx", "elsewhere-'/etc/passwd'-2-25", "weights in other files"),
}


@pytest.mark.parametrize("attack", _FOUND)
def test_each_attack_is_told_for_what_it_is(attack):
    kind, name, words = _FOUND[attack]
    if kind not in _KINDS:
        pytest.skip("onnxruntime is not installed")
    (message, *_) = [found["message"] for found in _hostile(kind) if found["name"] == name]
    assert words in message
