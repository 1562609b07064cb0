"""What checks the package's signatures in tests: beartype, with Python's rule that an int will do for a float."""

import beartype

_beartype = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))


def check(function):
    """Checks calls of a function, but not the making of records: while trees are mapped their fields hold anything."""
    return function if function.__name__ == "__init__" else _beartype(function)
