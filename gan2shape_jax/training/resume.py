"""What happens to a thing that is to be made and may exist already: one decision, for everything that is made.

What is made is a run, an image's result, networks that images share, a photo's result, a GAN. A folder is read once
into an `Existing`; what is asked for is a `Requested`; `decide` compares the two, and nothing else does.
"""

from __future__ import annotations

import dataclasses
import enum
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
class Existing:
    """What a folder holds of a thing."""

    state: State = "nothing"
    made_with: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # facts by name, as JSON values
    drawing: str = ""  # how it is drawn, see `Identity.drawing`; '' where that is not known
    fault: str = ""  # why it cannot be read, so that it is made again; '' if it can


@dataclasses.dataclass(frozen=True)
class Requested:
    """What is asked for."""

    made_with: Mapping[str, Any]
    drawing: str = ""
    replaces: bool = False  # whether another one that exists gives way
    place: str = ""  # where it is and what, for messages
    advice: str = "choose another --config.workdir, or move that folder away"

    @property
    def record(self) -> dict[str, Any]:
        """What the thing is known again by, for its record, as JSON values."""
        return dict(self.made_with) | {"drawing": self.drawing}


class Decision(enum.Enum):
    """What happens to a thing."""

    MAKE = "it is made from the beginning"
    RESUME = "what has begun goes on"
    SKIP = "it exists"
    REDRAW = "it exists, and is drawn anew from what is kept of it"

    @property
    def exists(self) -> bool:
        """Whether nothing is left to compute."""
        return self in (Decision.SKIP, Decision.REDRAW)


def decide(existing: Existing, requested: Requested) -> Decision:
    """Returns what happens to a thing; facts that are not known of what exists are not compared.

    Raises `UserError`: something else exists, which nothing may replace.
    """
    if existing.fault or existing.state == "nothing":
        return Decision.MAKE
    before = existing.made_with
    if other := differences(before, {name: fact for name, fact in requested.made_with.items() if name in before}):
        if requested.replaces:
            return Decision.MAKE
        raise UserError(f"{requested.place} made with other values: {', '.join(other)}; {requested.advice}")
    if existing.state in ("begun", "provisional"):
        return Decision.RESUME
    redrawn = existing.drawing and requested.drawing and existing.drawing != requested.drawing
    return Decision.REDRAW if redrawn else Decision.SKIP


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
