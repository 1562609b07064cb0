"""The fields of a configuration, each described once, in `configs/base.py`.

Help, validation, the reference page and the hash of a configuration all follow from these descriptions. Fields are
named by dotted paths such as `gan.size`.
"""

import dataclasses
import difflib
import functools
import math
import re
import runpy
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from gan2shape_jax.io.bundled import folder
from gan2shape_jax.io.option_types import name_fault

__all__ = [
    "GENERAL",
    "Field",
    "affects_results",
    "as_tuples",
    "defaults",
    "faults",
    "fields",
    "flatten",
    "group_of",
    "groups",
    "nearest",
    "result_fields",
    "shown",
]

GENERAL = "general"  # the group of fields that belong to no other
_LONGEST = 60  # characters of a value in a message
_LARGEST = 10**60  # larger whole numbers are not written out; Python itself refuses to from 4300 digits on
_KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "text", tuple: "a tuple such as {}"}


@dataclasses.dataclass(frozen=True)
class Field:
    """One field; its type is that of its default.

    Attributes:
        default: its value unless a configuration sets another; None is a whole number that may be left out.
        low: the lowest value of a number.
        high: the highest value of a number.
        power_of_two: whether it has to be a power of two.
        choices: the values that a text may have, if not any.
        affects_results: whether two runs that differ in it alone may give different results.
        meaning: what it is for and its unit: the comment above it in `configs/base.py`.
    """

    default: Any
    low: float | None = None
    high: float | None = None
    power_of_two: bool = False
    choices: tuple[str, ...] = ()
    affects_results: bool = True
    meaning: str = ""

    @property
    def kind(self) -> str:
        """Its type, in words."""
        if self.default is None:
            return "a whole number or None"
        return _KINDS[type(self.default)].format(self.default)

    @property
    def limits(self) -> str:
        """Its range or choices, in words; '' if it has none."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.low is None or self.high is None:
            return ""
        low, high = (str(bound) if isinstance(bound, int) else f"{bound:.7g}" for bound in (self.low, self.high))
        return f"{'a power of two ' if self.power_of_two else ''}from {low} to {high}"

    def fault(self, value: Any) -> str:
        """Returns what is wrong with a value, to follow the field's name; '' if nothing is."""
        if fault := self.type_fault(value):
            return fault
        rule = ""
        if self.choices and value not in self.choices:
            rule = f"it is {self.limits}"
        elif self.low is not None and self.high is not None and value is not None:
            rule = self._broken_rule(value, self.low, self.high)
        return f"is {shown(value)}: {rule}" if rule else ""

    def type_fault(self, value: Any) -> str:
        """Returns what is wrong with a value's type, likewise; a whole number is accepted for any number.

        Texts that can name no file and numbers that Python refuses to write are of no type either.
        """
        kind = int if self.default is None else type(self.default)
        if kind in (int, float):
            fits = type(value) is int or (isinstance(value, kind) and not isinstance(value, bool))
            fits = fits or (value is None and self.default is None)
        else:
            fits = isinstance(value, kind)
        if not fits:
            return f"is {self.kind}, not {shown(value)}"
        rule = name_fault(value) if isinstance(value, str) else ""
        if type(value) is int and abs(value) > _LARGEST:
            rule = "no field takes so large a number"
        return f"is {shown(value)}: {rule}" if rule else ""

    def _broken_rule(self, value: float, low: float, high: float) -> str:
        if low <= value <= high and not (self.power_of_two and int(value) & (int(value) - 1)):
            return ""
        if isinstance(value, float) and not math.isfinite(value):
            return "it has to be finite"
        if self.power_of_two:
            return f"it has to be {self.limits}"
        if value < 0 and low == 0:
            return "it cannot be negative"
        return "it has to be more than 0" if value <= 0 < low else f"it lies {self.limits}"


def defaults(schema: ConfigDict) -> ConfigDict:
    """Returns the configuration with every field's default."""
    config = ConfigDict()
    for name, item in schema.items():
        if isinstance(item, ConfigDict):
            config[name] = defaults(item)
        else:
            config[name] = placeholder(int) if item.default is None else item.default
    return config


@functools.cache
def _described() -> tuple[dict[str, Field], dict[str, str]]:
    """Returns the fields, and the comments in `configs/base.py` by the path that stands below them."""
    path = folder("configs") / "base.py"
    comments, above = dict[str, str](), list[str]()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("#"):
            above.append(line.strip(" #"))
            continue
        if found := re.match(r" *config\.([\w.]+) = ", line):
            comments[found[1]] = " ".join(above)
        above = []
    items = flatten(runpy.run_path(str(path))["schema"]())
    known = {path: dataclasses.replace(items[path], meaning=text) for path, text in comments.items() if path in items}
    return known, comments


def fields() -> Mapping[str, Field]:
    """Returns every field by its path, in the order of `configs/base.py`."""
    return _described()[0]


def groups() -> dict[str, str]:
    """Returns a description of each group of fields, `GENERAL` first."""
    known, comments = _described()
    general = {GENERAL: "The seed, the results' folder, and what kind of run it is."}
    return general | {path: text for path, text in comments.items() if path not in known}


def group_of(path: str) -> str:
    """Returns the group of a field."""
    return path.partition(".")[0] if "." in path else GENERAL


def affects_results(path: str) -> bool:
    """Whether runs that differ in this field alone may give different results."""
    return path not in fields() or fields()[path].affects_results


def result_fields(config: ConfigDict | Mapping[str, Any], *, but: Collection[str] = ()) -> dict[str, Any]:
    """Returns the values of the fields that can change a result, by path; `but` names fields to leave out."""
    return {path: value for path, value in flatten(config).items() if affects_results(path) and path not in but}


def faults(values: Mapping[str, Any], *, only_types: bool = False) -> list[str]:
    """Returns a sentence for each field that is missing, unknown, or of the wrong type or range, whatever it holds."""
    known = fields()
    found = [f"config.{path} is left out: start from a whole configuration" for path in known if path not in values]
    for path in values:
        if path not in known:
            close = difflib.get_close_matches(path, known, n=1, cutoff=0.6)
            hint = f"; did you mean config.{close[0]}?" if close else ""
            found.append(f"there is no field config.{shown(path)[1:-1]}{hint} (--help lists the groups of fields)")
    for path, item in known.items():
        if path in values and (fault := (item.type_fault if only_types else item.fault)(values[path])):
            found.append(f"config.{path} {fault}")
    return found


def nearest(path: str, among: Collection[str]) -> str:
    """Returns the field that a misspelt path most likely means; `optimizer.lr` is `optimizer.learning_rate`."""
    last = {other: other.rpartition(".")[2] for other in among}
    short = {other: re.sub(r"(?<=[a-z])[a-z]+_?|_", "", name) for other, name in last.items()}
    if initials := [other for other in among if f"{other.rpartition('.')[0]}.{short[other]}" == path]:
        return initials[0]
    if close := difflib.get_close_matches(path, among, n=1, cutoff=0.6):
        return close[0]
    if same_end := difflib.get_close_matches(path.rpartition(".")[2], last.values(), n=1, cutoff=0.75):
        return next(other for other in among if last[other] == same_end[0])
    return difflib.get_close_matches(path, among, n=1, cutoff=0.0)[0]


def shown(value: Any) -> str:
    """Returns a value as shown in messages, however long it is and whatever its own `repr` does."""
    if isinstance(value, int) and abs(value) > _LARGEST:
        return f"a whole number of about {value.bit_length() * 30103 // 100000} digits"
    try:
        text = repr(value)
    except Exception as error:  # an object defined in the config file, or one with a number too long to write
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__})"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def flatten(tree: ConfigDict | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the leaves of a configuration, or of the dictionary read from its JSON, in order, by dotted path."""
    return dict(_leaves(tree, prefix))


def _leaves(tree: ConfigDict | Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, (ConfigDict, Mapping)):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def as_tuples(value: Any) -> Any:
    """Returns a value with tuples for lists, at any depth."""
    return tuple(map(as_tuples, value)) if isinstance(value, (list, tuple)) else value
