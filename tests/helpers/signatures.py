"""What checks the package's signatures in tests: beartype, with Python's rule that an int will do for a float."""

from typing import Any

import beartype

_beartype = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))


def check(function):
    """Checks calls of a function, but not the making of records: while trees are mapped their fields hold anything.

    Nor is a check made where nothing is annotated: functions inside functions are decorated again in each call.
    """
    nothing = all(hint is Any for hint in function.__annotations__.values())  # as jaxtyping says it
    return function if nothing or function.__name__ == "__init__" else _beartype(function)
