"""Reading flat YAML: values with their lines; whatever else a YAML file may hold is refused in one line."""

import pathlib
import tempfile

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gan2shape_jax.config.original.yaml_file import Entry, read_options
from gan2shape_jax.errors import ConfigError


def _read(folder: pathlib.Path, content: str | bytes):
    path = folder / "a.yml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_options(path)


def test_values_come_with_their_lines(tmp_path):
    text = "# note\na: 1\nb: [true, 0.5, x]\n\nsteps:\n    one: 3\n    two: no\nc:\nd: 'x y'  # note\n"
    found = _read(tmp_path, text)
    assert found == {
        "a": Entry(1, 2, "1"),
        "b": Entry([True, 0.5, "x"], 3, "[true, 0.5, x]"),
        "steps": Entry({"one": Entry(3, 6, "3"), "two": Entry(False, 7, "no")}, 5, "one: 3 two: no"),
        "c": Entry(None, 8, "nothing"),
        "d": Entry("x y", 9, "'x y'"),
    }


def test_byte_order_mark_carriage_returns_and_block_lists_are_read(tmp_path):
    found = _read(tmp_path, b"\xef\xbb\xbfa: 1\r\nb:\r\n- 1\r\n- 2\r\n")
    assert found["a"].value == 1 and found["b"].value == [1, 2] and found["b"].line == 2


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("a: 1\nb:\t2\n", 2, "a tab: YAML wants spaces"),
        ("a: 1\n\tb: 2\n", 2, "a tab: YAML wants spaces"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "no valid YAML"),
        ("a: 1\n  b: 2\n", 2, "no valid YAML"),
        ("a: 'x\n", 2, "no valid YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "a is given twice, first in line 1"),
        ("s:\n  one: 1\n  one: 2\n", 3, "one is given twice, first in line 2"),
        ("a: 1\n---\nb: 2\n", 2, "no valid YAML"),
        ("- a\n- b\n", 1, "`option: value` lines are wanted"),
        ("just words\n", 1, "`option: value` lines are wanted, not just words"),
        ("a: 1\nb: !!python/object/apply:os.system ['touch x']\n", 2, "apply:os.system .* is no text, no number"),
        ("a: !!set {x, y}\n", 1, "is no text, no number"),
        ("!!python/object:os.x\na: 1\n", 1, "is no text, no number"),
        ("a: 1\nb: !!python/name:os.system\n", 2, "is no text, no number"),
        ("a: 2001-01-01\n", 1, "2001-01-01 is no text, no number"),
        ("a: !!binary aGk=\n", 1, "no text, no number"),
        ("a: !!int x\n", 1, "is no int"),
        ("a: !!bool x\n", 1, "is no bool"),
        ("a: 1" + "0" * 5000 + "\n", 1, r"\.\.\. is no int"),
        ("a: [[1], 2]\n", 1, "no text, no number"),
        ("s:\n  t:\n    u: 1\n", 3, "one level is read"),
        ("? [1, 2]\n: 3\n", 1, "is no option's name"),
        ("base: &b {x: 1}\nmore:\n  <<: *b\n", 3, "is no option's name"),
        ("a: *gone\n", 1, "no valid YAML: found undefined alias"),
        ("a: &a [*a]\n", 1, "no text, no number"),
    ],
)
def test_anything_else_is_refused_by_file_and_line(content, line, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        _read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path}/a.yml, line {line}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# nothing but a note\n", "is empty"),
        (b"\xff\xfe\x00", "cannot be read as text"),
        (b"a: \x07\n", "line 1: a character that no YAML file may hold"),
        (b"a: " + b"[" * 5000, "nests too deeply"),
        (b"a: " + b"x" * 2**20, "some kilobytes"),
        (None, "there is no config file"),
    ],
)
def test_file_that_is_no_settings_file_is_refused(content, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        read_options(tmp_path / "gone.yml") if content is None else _read(tmp_path, content)
    assert str(tmp_path) in str(caught.value)


def test_aliases_that_multiply_are_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    with pytest.raises(ConfigError, match="line 1: .* is no text, no number"):
        _read(tmp_path, "\n".join(lines))


@settings(max_examples=200, deadline=None)
@example("!0 :")
@example("!!0 :")
@example("!!int x :")
@example("=: 1")
@example("0b_: 1")
@given(st.one_of(st.text(max_size=60), st.text("ab:- []{}&*!<\n\t'\"#,0.", max_size=60)))
def test_any_text_is_read_as_yaml_does_or_is_a_config_error(text):
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = _read(pathlib.Path(folder), text)
        except (ConfigError, UnicodeEncodeError):
            return
    plain = {name: entry.value for name, entry in found.items()}
    if not any(isinstance(value, dict) for value in plain.values()):
        normal = {key if isinstance(key, str) else None: value for key, value in yaml.safe_load(text).items()}
        assert list(plain.values()) == list(normal.values())
