"""Records and checksums: every flipped bit is noticed, and so is what has another form."""

import json

import pytest

from gan2shape_jax.io import records
from gan2shape_jax.io.records import Damaged

CONTENT = {"names": ["a", "ü"], "loss": 0.1, "nested": {"x": None, "y": [1, 2.5, True]}}


def test_a_record_comes_back_as_it_was(tmp_path):
    path = tmp_path / "deep" / "a.json"
    records.write(path, CONTENT)
    assert records.unseal(records.read(path, "a note"), path) == CONTENT


def test_every_flipped_bit_of_a_record_is_noticed(tmp_path):
    path = tmp_path / "a.json"
    records.write(path, CONTENT)
    whole = path.read_bytes()
    for place in range(8 * len(whole)):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            found = records.unseal(records.read(path, "a note"), path)
        except Damaged as error:
            assert str(path) in str(error)
        else:
            assert found == CONTENT, place  # white space, and capital hex digits of \u00fc


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "3", '"a"', "{}", "{", "[" * 100_000, '{"checksum": 5}', '{"checksum": "0"}', '{"a": NaN}'],
)
def test_json_of_another_form_is_damage(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(Damaged, match="a.json"):
        records.unseal(records.read(path, "a note"), path)


def test_what_is_no_file_is_damage(tmp_path):
    with pytest.raises(Damaged, match="is a folder"):
        records.read(tmp_path, "a note")
    with pytest.raises(FileNotFoundError):
        records.read(tmp_path / "absent", "a note")


def _folder(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "a.bin").write_bytes(bytes(5000))
    (tmp_path / "inside" / "b.txt").write_text("b")
    return records.checksums_below(tmp_path)


def test_files_are_listed_with_size_and_checksum(tmp_path):
    files = _folder(tmp_path)
    assert set(files) == {"a.bin", "inside/b.txt"} and files["a.bin"] == [5000, records.checksum(bytes(5000))]
    (tmp_path / "more.png").write_bytes(b"not listed: somebody else's")
    assert records.harm_below(tmp_path, json.loads(json.dumps(files))) == ""


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda path: path.unlink(), "a.bin is missing"),
        (lambda path: path.write_bytes(b""), "a.bin has 0 bytes instead of 5000"),
        (lambda path: path.write_bytes(bytes(2500) + b"\x01" + bytes(2499)), "a.bin has another checksum"),
    ],
)
def test_harm_is_told_by_file(tmp_path, harm, told):
    files = _folder(tmp_path)
    harm(tmp_path / "a.bin")
    assert told in records.harm_below(tmp_path, files)


@pytest.mark.parametrize("files", [None, [], {"a.bin": 5}, {"a.bin": [5000]}, {"a.bin": None}, {"a\0b": [1, "0"]}])
def test_lists_of_another_form_are_harm(tmp_path, files):
    _folder(tmp_path)
    assert records.harm_below(tmp_path, files)


def test_numbers_that_json_has_not_become_none():
    assert records.finite({"a": float("nan"), "b": [float("inf"), 1.0], "c": "x"}) == {
        "a": None,
        "b": [None, 1.0],
        "c": "x",
    }
