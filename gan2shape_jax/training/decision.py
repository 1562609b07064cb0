"""What happens to a thing that is to be made and may be there already: one decision, for everything that is made.

What is made is a run, an image's result, networks that images share, a photo's result, a GAN. A folder is read once
into a `There`; what is asked for is a `Wanted`; `decide` compares the two, and nothing else does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from gan2shape_jax.config.schema import fields
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import MISSING

INPUTS = ("image", "mask", "latent", "depth")  # facts that are the SHA-256 of an image's own files
_LONGEST = 300  # characters of a value in a message


# Nothing; it has begun, and may have checkpoints; a result that another is to replace; all of it.
State = Literal["nothing", "begun", "provisional", "complete"]


@dataclasses.dataclass(frozen=True)
class There:
    """What a folder holds of a thing."""

    state: State = "nothing"
    made_with: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # facts by name, as JSON values
    drawing: str = ""  # how it is drawn, see `Identity.drawing`; '' where that is not known
    fault: str = ""  # why it cannot be read; '' if it can


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is asked for."""

    made_with: Mapping[str, Any]
    drawing: str = ""
    replaces: bool = False  # whether another one that is there gives way
    place: str = ""  # where it is and what, for messages
    advice: str = "choose another --config.workdir, or move that folder away"

    @property
    def inputs(self) -> dict[str, str]:
        """The facts that are the SHA-256 of an image's own files."""
        return {name: self.made_with[name] for name in INPUTS if name in self.made_with}

    @property
    def record(self) -> dict[str, Any]:
        """What the thing is known again by, for its record, as JSON values."""
        return dict(self.made_with) | {"drawing": self.drawing}


@dataclasses.dataclass(frozen=True)
class Start:
    """It is made from the beginning."""

    fault: str = ""  # why what is there cannot be used, and is to be set aside; '' if nothing is there


@dataclasses.dataclass(frozen=True)
class Resume:
    """What has begun goes on."""


@dataclasses.dataclass(frozen=True)
class Skip:
    """It is there."""


@dataclasses.dataclass(frozen=True)
class Redraw:
    """It is there, and is drawn anew from what is kept of it."""


@dataclasses.dataclass(frozen=True)
class Refuse:
    """Something else is there, which nothing may replace."""

    sentence: str


Decision = Start | Resume | Skip | Redraw | Refuse


def decide(there: There, wanted: Wanted) -> Decision:
    """Returns what happens to a thing.

    Facts that what is there does not tell, as an earlier version did not, are not compared.
    """
    if there.fault:
        return Start(there.fault)
    if there.state == "nothing":
        return Start()
    asked = {name: value for name, value in wanted.made_with.items() if name in there.made_with}
    if other := differences(there.made_with, asked):
        if wanted.replaces:
            return Start()
        return Refuse(f"{wanted.place} made with other values: {', '.join(other)}; {wanted.advice}")
    if there.state in ("begun", "provisional"):
        return Resume()
    if there.drawing and wanted.drawing and there.drawing != wanted.drawing:
        return Redraw()
    return Skip()


def require(decision: Decision) -> Decision:
    """Returns a decision; raises `UserError` with its sentence if it is to refuse."""
    if isinstance(decision, Refuse):
        raise UserError(decision.sentence)
    return decision


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns, for each fact of both that differs, its two values; of different recipes only these.

    Of a fact that has fields itself, those that differ are told, as `settings.rate`.
    """
    before, now = _flat(before), _flat(now)
    names = ["recipe"] if before.get("recipe") != now.get("recipe") else sorted(before.keys() & now.keys())
    changed = [name for name in names if before.get(name) != now.get(name)]
    return [f"{name} (was {_shown(name, before.get(name))}, is {_shown(name, now.get(name))})" for name in changed]


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns facts of which those that have fields are replaced by these."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        inside = {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, Mapping) else {}
        flat |= _flat(inside) if inside else {name: value}
    return flat


def _shown(name: str, value: Any) -> str:
    is_file = name in INPUTS or (name in fields() and fields()[name].file)
    if is_file and value not in ("", None, MISSING):
        return f"a file of SHA-256 {str(value)[:16]}"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
