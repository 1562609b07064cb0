"""Text by other hands, shown as nothing but text; and the bounds of numbers and paths on command lines."""

import argparse
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan2shape_jax.apps import option_types
from gan2shape_jax.errors import UserError, message_line, one_line, printable

# Any text, control characters and halves of surrogate pairs among it.
_ANY = st.text(st.characters(codec=None) | st.sampled_from("\x00\x1b\x07\r\n\t\x7f\x85\x9b\u2028\u202e\u2066\ud800"))


@given(_ANY)
def test_what_is_shown_has_no_control_characters_and_can_be_encoded(text):
    for shown, kept in ((one_line(text), ""), (message_line(text), ""), (printable(text), "\n\t")):
        assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in kept]
        assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
        shown.encode()  # which halves of pairs would not let


@given(st.text(st.characters(codec="utf-8", categories=["L", "M", "N", "P", "S", "Zs"])))
def test_ordinary_text_stays_as_it_is(text):
    assert one_line(text) == printable(text) == text


def test_escapes_are_those_of_python():
    assert one_line("a\x1b]0;owned\x07\nb") == r"a\x1b]0;owned\x07\nb"
    assert printable("a\x1b]0;owned\x07\nb\r") == "a\\x1b]0;owned\\x07\nb\\r"
    assert message_line("two\n  lines\x1b[2J") == r"two lines\x1b[2J"


_ANGLE = option_types.number("--yaw", -36000, 36000, "degrees")
_WHOLE = option_types.whole("--size", 1, 4096, "pixels")


def test_option_types_take_what_lies_between_their_bounds():
    assert (_ANGLE("-30.5"), _ANGLE("36000"), _WHOLE("1"), _WHOLE("4096")) == (-30.5, 36000.0, 1, 4096)
    assert option_types.seed()("4294967295") == 2**32 - 1  # the largest that JAX does not cut off


@pytest.mark.parametrize(
    "parse, text, message",
    [
        (_WHOLE, "0", "--size 0: must be between 1 and 4096 pixels"),
        (_ANGLE, "1e300", "--yaw 1e300: must be between -36000 and 36000 degrees"),
        (_ANGLE, "nan", "--yaw nan: must be a finite number"),
        (option_types.seed(), "4294967296", "--seed 4294967296: must be between 0 and 4294967295"),
        (option_types.path("--out"), "", "--out '': it is empty"),
        (option_types.path("--out"), "a\0b", "it holds the control character"),
        pytest.param(option_types.path("--out"), "n" * 300, "file names cannot be so long", id="long-name"),
        (option_types.path("--out"), "\udcff", "it is not UTF-8"),
        pytest.param(_ANGLE, "9" * 5000, r"--yaw 9{60}\.\.\.: must be a finite number", id="long-number"),
    ],
)
def test_option_types_name_their_bounds(parse, text, message):
    with pytest.raises(UserError, match=message):
        parse(text)


@pytest.mark.parametrize("parse", [_ANGLE, _WHOLE])
def test_option_types_take_no_words_for_numbers(parse):
    with pytest.raises(argparse.ArgumentTypeError, match="'many' is no"):
        parse("many")
