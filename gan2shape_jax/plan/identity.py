"""What makes a run itself: the fields that change what is computed, and the content of the files that they name.

`config.json` keeps it beside the fields, as it was when the run began:

    "identity": {"fingerprint": 16 hex digits, "files": {field: SHA-256}, "extensions": {KIND.NAME: "PACKAGE VERSION"}}

The last is what the run uses of other packages (`extensions`), and of a category's own prior the file that it is in; it
is left out where that is nothing. Their fields count once they have a value, so that installing a package changes no
run that does not use it.
Results and checkpoints carry the fingerprint. Two runs are compared by their fields, those that a `config.json` lacks
at their defaults; so another place of the same files changes no run.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import operator
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from gan2shape_jax import extensions
from gan2shape_jax.config.load import config_of_tree
from gan2shape_jax.config.schema import fields
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.files import content_of, read_object
from gan2shape_jax.networks import modules
from gan2shape_jax.plan.recipe import RECIPES, Recipe

AUTO = 0  # the value that leaves a field to the program: a run goes on with the values that it began with


@dataclasses.dataclass(frozen=True)
class Identity:
    """What makes a run itself, and how its results are drawn."""

    computed: Mapping[str, Any]  # the fields that change what is computed; of a file that one names, the SHA-256
    drawn: Mapping[str, Any]  # the fields that change only how results are drawn
    files: Mapping[str, str]  # the SHA-256 of each file, by the field that names it
    extensions: Mapping[str, str]  # what is used of other packages, as KIND.NAME, with package and version

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ between runs whose results may differ."""
        return digest(self.computed)

    @property
    def drawing(self) -> str:
        """16 hex digits that differ between ways of drawing results."""
        return digest(self.drawn)

    def record(self) -> dict[str, Any]:
        """Returns what `config.json` says of it, as JSON values."""
        record = {"fingerprint": self.fingerprint, "files": dict(self.files)}
        return record | ({"extensions": dict(self.extensions)} if self.extensions else {})


# The kinds of extensions that a field names, by that field.
_NAMED: dict[str, extensions.Kind] = {
    "category": "category",
    "loss.perceptual": "distance",
    "networks.depth": "depth_network",
}


def _extensions_in(values: Mapping[str, Any]) -> dict[str, str]:
    """Returns what a run with these fields uses of the packages that are installed, as KIND.NAME."""
    used: list[tuple[extensions.Kind, str]] = [
        (kind, values[path]) for path, kind in _NAMED.items() if values.get(path) in extensions.names(kind)
    ]
    used += [("loss", name) for name in extensions.names("loss") if values.get(f"loss.lam_{name}")]
    used += [("output", name) for name in extensions.names("output")]
    return {f"{kind}.{name}": extensions.version(kind, name) for kind, name in used}


def _own_prior(category: str) -> dict[str, str]:
    """Returns the file that a category's own prior is in, by its SHA-256, as prior.NAME.

    {} if it has none, or if a package adds it, whose version says which one it is.
    """
    if (prior := category_of(category).prior) is None or category in extensions.names("category"):
        return {}
    while isinstance(prior, functools.partial):
        prior = prior.func
    try:
        file = inspect.getfile(prior)
    except TypeError:  # an object that is called, or built in
        file = inspect.getfile(type(prior))
    return {f"prior.{category}": f"{pathlib.Path(file).name} of SHA-256 {content_of(file)[:16]}"}


def digest(value: Any) -> str:
    """Returns 16 hex digits of JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def identity_of(
    config: ConfigDict,
    *,
    files: Mapping[str, str] | None = None,
    used: Mapping[str, str] | None = None,
) -> Identity:
    """Returns the identity of a new run with this configuration, resolved as in `Plan.config`.

    `files` are the SHA-256 of files, by field, as far as they are known; `used` is what a run has used of other
    packages, None for what one would use now.
    """
    recipe, known = RECIPES[config.recipe], files or {}
    values = {path: json.loads(json.dumps(operator.attrgetter(path)(config))) for path in fields()}
    read = {path: field for path, field in fields().items() if not _in(path, recipe.unread)}
    computed = {path: values[path] for path, field in read.items() if field.role == "compute"}
    computed = {path: value for path, value in computed.items() if value or not read[path].added}
    drawn = {path: values[path] for path, field in fields().items() if field.role == "draw"}
    if used is None:
        own = _own_prior(config.category) if computed.get("prior.shape") == "category" else {}
        used = own | _extensions_in(computed)
    named = {path: value for path, value in computed.items() if read[path].file and value}
    hashes = {path: known.get(path) or content_of(value) for path, value in named.items()}
    computed |= hashes
    for name, version in used.items():
        (drawn if name.startswith("output.") else computed)[f"extensions.{name}"] = version
    return Identity(computed, drawn, hashes, dict(used))


def _in(path: str, groups: tuple[str, ...]) -> bool:
    return any(path == group or path.startswith(f"{group}.") for group in groups)


def read_identity(path: pathlib.Path) -> tuple[ConfigDict, Identity]:
    """Returns the configuration and the identity in a run's `config.json`.

    Raises `UserError`, or `FileNotFoundError`: the file cannot be read as one.
    """
    tree = read_object(path, "a run's configuration")
    config = config_of_tree(tree, path)
    try:
        kept = tree["identity"]
        files = {str(field): str(value) for field, value in kept["files"].items()}
        used = {str(name): str(version) for name, version in kept.get("extensions", {}).items()}
    except (KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is damaged: its identity cannot be read ({error!r})") from error
    return config, identity_of(config, files=files, used=used)


def resolve_auto(config: ConfigDict, recipe: Recipe, before: ConfigDict | None = None) -> ConfigDict:
    """Returns a run's configuration with the values that it leaves to the program.

    They are as the run had them `before`; of a new run, by this machine: devices start.
    """
    side, averaged = config.image_size, config.schedule.average_gradients and recipe.shares_networks
    choices: dict[str, Callable[[], Any]] = {
        "networks.width": lambda: modules.default_width(side),
        "networks.group_base": lambda: modules.default_group_base(side),
        "schedule.batches_per_iteration": lambda: jax.device_count() if averaged else int(recipe.shares_networks),
    }
    chosen = config.copy_and_resolve_references()
    with chosen.unlocked():
        for path, choice in choices.items():
            value = operator.attrgetter(path)
            if value(config) == AUTO:
                chosen.update_from_flattened_dict({path: value(before) if before else choice()})
    return chosen
