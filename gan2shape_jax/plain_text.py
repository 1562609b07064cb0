r"""Untrusted text, such as file names and messages about them, shown as plain text only.

A terminal obeys control characters: they move the cursor, overwrite lines, change the window's title. Here they are
shown as Python writes them (`\x1b`), as are characters that reverse the direction of the following text.
"""

__all__ = ["message_line", "one_line", "printable"]

_CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
_BREAKS = [0x2028, 0x2029]  # Unicode's line and paragraph separators
_DIRECTIONS = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SURROGATES = range(0xD800, 0xE000)  # JSON may hold them unpaired; no encoding can
_LINE = {
    code: chr(code).encode("unicode_escape").decode() for code in [*_CONTROLS, *_BREAKS, *_DIRECTIONS, *_SURROGATES]
}
_TEXT = {code: shown for code, shown in _LINE.items() if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """Returns a message with control characters escaped, except line breaks and tabs."""
    return text.translate(_TEXT)


def one_line(text: str) -> str:
    """Returns a name with control characters escaped, including line breaks and tabs."""
    return text.translate(_LINE)


def message_line(text: str) -> str:
    """Returns a message in one line, with whitespace collapsed and control characters escaped."""
    return one_line(" ".join(text.split()))
