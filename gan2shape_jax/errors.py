"""Errors that are meant for the person at the keyboard.

Whatever is wrong with an input (a file, a config value, a machine) is raised as `UserError`; the entry
points print its message without a traceback and exit with a non-zero status.
"""

__all__ = ["UserError"]


class UserError(Exception):
    """Something the user can mend: the message names the file or value and says what to do."""
