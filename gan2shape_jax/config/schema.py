"""The fields of a configuration, each described once, in `configs/base.py`.

Help, validation, the reference page and the hash of a configuration all follow from these descriptions. Fields are
named by dotted paths such as `gan.size`.
"""

import dataclasses
import difflib
import functools
import re
import runpy
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from gan2shape_jax.io.bundled import folder
from gan2shape_jax.io.option_types import name_fault

GENERAL = "general"  # the group of fields that belong to no other
_LONGEST = 60  # characters of a value in a message
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
        return "a whole number or None" if self.default is None else _KINDS[type(self.default)].format(self.default)

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
        right = True
        if self.choices:
            right = value in self.choices
        elif self.low is not None and self.high is not None and value is not None:
            right = self.low <= value <= self.high and not (self.power_of_two and value & (value - 1))
        return "" if right else f"is {shown(value)}: it has to be {self.limits}"

    def type_fault(self, value: Any) -> str:
        """Returns what is wrong with a value's type, likewise; a whole number is accepted for any number."""
        kind: Any = type(self.default)
        kinds: tuple[Any, ...] = {type(None): (int, type(None)), float: (int, float)}.get(kind, (kind,))
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            return f"is {self.kind}, not {shown(value)}"
        rule = name_fault(value) if isinstance(value, str) else ""
        return f"is {shown(value)}: {rule}" if rule else ""


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
    return {path: dataclasses.replace(item, meaning=comments[path]) for path, item in items.items()}, comments


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


def result_fields(config: ConfigDict | Mapping[str, Any], *, but: Collection[str] = ()) -> dict[str, Any]:
    """Returns the values of the fields that can change a result, by path; `but` names fields to leave out."""
    free = {path for path, field in fields().items() if not field.affects_results}
    return {path: value for path, value in flatten(config).items() if path not in free.union(but)}


def faults(values: Mapping[str, Any], *, only_types: bool = False) -> list[str]:
    """Returns a sentence for each field that is missing, unknown, or of the wrong type or range, whatever it holds."""
    known = fields()
    found = [f"config.{path} is left out: start from a whole configuration" for path in known if path not in values]
    found += [
        f"there is no field config.{shown(path)[1:-1]}; did you mean config.{nearest(path, known)}? (--help lists the "
        "groups of fields)"
        for path in values
        if path not in known
    ]
    for path, item in known.items():
        if path in values and (fault := (item.type_fault if only_types else item.fault)(values[path])):
            found.append(f"config.{path} {fault}")
    return found


def nearest(path: str, among: Collection[str]) -> str:
    """Returns the name that a misspelt one most likely means; `optimizer.lr` is `optimizer.learning_rate`."""
    group, _, last = path.rpartition(".")
    if len(last) < 4:  # initials
        initials = re.compile(re.escape(f"{group}.") + "[a-z]*_".join(map(re.escape, last)) + "[a-z]*")
        if found := next(filter(initials.fullmatch, among), None):
            return found
    ends = {other: other.rpartition(".")[2] for other in among}
    if not group and (close := difflib.get_close_matches(last, ends.values(), n=1, cutoff=0.75)):
        return next(other for other in among if ends[other] == close[0])
    return difflib.get_close_matches(path, among, n=1, cutoff=0.0)[0]


def shown(value: Any) -> str:
    """Returns a value as shown in messages, however long it is and whatever its own `repr` does."""
    try:
        text = repr(value)
    except Exception as error:  # an object defined in the config file, or a number too long to write
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__})"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def flatten(tree: ConfigDict | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the leaves of a configuration, or of the dictionary read from its JSON, in order, by dotted path."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, (ConfigDict, Mapping))
        leaves |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return leaves


def as_tuples(value: Any) -> Any:
    """Returns a value with tuples for lists, at any depth."""
    return tuple(map(as_tuples, value)) if isinstance(value, (list, tuple)) else value
