"""JSON by other hands: what is read, and that the rest is refused in words."""

import json

import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.json_files import read_json, read_object


def test_honest_content_is_read_as_the_standard_library_reads_it(tmp_path):
    content = {"a": [1, -2.5e-3, True, None, {"é": "ü\ud800"}], "crc": 2**32 - 1, "seed": -(2**63), "b": {}, "c": []}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_object(path, "a note") == read_json(path, "a note") == content
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "absent", "a note")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"\xff{}", "can't decode byte"),
        (b'{"a": NaN}', "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"[1e999]", "1e999 is no number"),
        (b"[" + b"9" * 5000 + b"]", "digits"),
        (b"[" * 100_000, "recursion"),
        (b"[]", "holds no JSON object"),
        (b" " * (4 * 2**20) + b"{}", "at most 4 MiB"),
    ],
)
def test_what_nothing_could_use_is_refused_by_name(text, why, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match=why) as caught:
        read_object(path, "a note")
    assert str(path) in str(caught.value)
