"""Errors that are meant for the person at the keyboard.

Whatever is wrong with an input (a file, a config value, a machine) is raised as `UserError`; the entry
points print its message without a traceback and exit with a non-zero status.
"""

import errno

__all__ = ["DiskFullError", "UserError", "refused"]


class UserError(Exception):
    """Something the user can mend: the message names the file or value and says what to do."""


class DiskFullError(UserError):
    """There is no room to write: unlike other errors of one image it ends the whole run."""


def refused(error: OSError, message: str) -> UserError:
    """What to raise where the file system refused: `message`, and why it did."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"{message}: the disk is full; make room and run the same command again")
    return UserError(f"{message}: {error.strerror or error}")
