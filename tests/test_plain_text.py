"""Text by other hands, shown as nothing but text."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan2shape_jax.errors import message_line, one_line, printable

pytestmark = pytest.mark.hostile

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
    title = "\x1b]0;owned\x07"
    assert one_line(f"a{title}\nb") == r"a\x1b]0;owned\x07\nb"
    assert printable(f"a{title}\nb\r") == "a\\x1b]0;owned\\x07\nb\\r"
    assert message_line("two\n  lines\x1b[2J") == r"two lines\x1b[2J"
