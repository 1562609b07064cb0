r"""Text that others have written, such as names of files and messages about them, shown as nothing but text.

A terminal obeys control characters: they move the cursor, overwrite lines, change the window's title. Here they are
shown as Python writes them (`\x1b`), and with them the characters that reverse the direction of what follows.
"""

__all__ = ["message_line", "one_line", "printable"]

_CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
_BREAKS = [0x2028, 0x2029]  # Unicode's own separators of lines and paragraphs
_DIRECTIONS = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SURROGATES = range(0xD800, 0xE000)  # JSON may hold them by themselves; no encoding can
_LINE = {
    code: chr(code).encode("unicode_escape").decode() for code in [*_CONTROLS, *_BREAKS, *_DIRECTIONS, *_SURROGATES]
}
_TEXT = {code: shown for code, shown in _LINE.items() if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """Returns a message with its control characters escaped; line breaks and tabs stay."""
    return text.translate(_TEXT)


def one_line(text: str) -> str:
    """Returns a name with its control characters escaped, line breaks and tabs among them."""
    return text.translate(_LINE)


def message_line(text: str) -> str:
    """Returns a message in one line, white space made single, its control characters escaped."""
    return one_line(" ".join(text.split()))
