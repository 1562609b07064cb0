"""JSON by other hands: what is read, and that the rest is refused in words, at once and in little memory."""

import json

import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.json_files import parse_json, read_json, read_object


def test_honest_content_is_read_as_the_standard_library_reads_it(tmp_path):
    content = {"a": [1, -2.5e-3, True, None, {"é": "ü\ud800"}], "crc": 2**32 - 1, "seed": -(2**63), "b": {}, "c": []}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_object(path, "a note") == read_json(path, "a note") == content
    assert parse_json(json.dumps(content).encode(), path, "a note") == content


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"\xff{}", "can't decode byte"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"a": NaN}', "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"[1e999]", "'1e999' is too large"),
        (b"[" + b"9" * 5000 + b"]", r"9\.\.\.' is too large"),
        (b"[18446744073709551616]", "is too large"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' is given twice"),
        (b'{"x": {"a": 1, "a": 1}}', "'a' is given twice"),
        (b"[" * 100_000, "more than 32 levels"),
        (b"[" * 34 + b"]" * 34, "more than 32 levels"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "more than 32 levels"),
        (b"[" * 990_000 + b"]" * 990_000, "more than 32 levels"),
    ],
)
def test_what_nothing_could_use_is_refused_by_name(text, why, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match=why) as caught:
        read_json(path, "a note")
    assert str(path) in str(caught.value) and "as a note" in str(caught.value) and len(str(caught.value)) < 500


def test_two_and_thirty_levels_are_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[" * 32 + "]" * 32)
    assert read_json(path, "a note")


def test_what_python_writes_for_an_unknown_number_may_be_none(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": [float("nan"), float("inf"), -float("inf"), 1.5]}))
    assert read_object(path, "a note", nan_is_none=True) == {"a": [None, None, None, 1.5]}


def test_a_list_is_no_object(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[]")
    with pytest.raises(UserError, match="holds no JSON object"):
        read_object(path, "a note")


def test_an_absent_file_stays_the_readers_matter(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "absent", "a note")


def test_a_file_beyond_the_limit_is_not_read(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # without any blocks
    with pytest.raises(UserError, match="at most 4 MiB"):
        read_json(path, "a note")
