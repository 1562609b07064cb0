"""The fields of a configuration, each described once, in `configs/base.py`, and the requirements on their values.

Help, validation, the reference page and what makes a run itself (`plan.identity`) all follow from these descriptions.
Fields are named by dotted paths such as `gan.size`. The files that fields name are left to `gan2shape_jax.run`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import runpy
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from gan2shape_jax.errors import ConfigError
from gan2shape_jax.io.bundled import configs
from gan2shape_jax.io.categories import categories, category_of, parsers
from gan2shape_jax.io.image_files import MOST_GIF_PIXELS

if TYPE_CHECKING:
    from gan2shape_jax.stylegan2 import Architecture

GENERAL = "general"  # the group of fields that belong to no other
LIFTS = ("lift", "finetune", "train_detail")  # the recipes that learn from a GAN's own samples
# What `networks.pretrained` names, by the recipes that begin with it.
_BEGINS_WITH = {
    "refine": "a lifted model (model.safetensors of a lift)",
    "predict": "the trained networks (networks.safetensors of a joint run, or a lifted model)",
    "finetune": "the networks.safetensors of a lift",
    "train_detail": "the model.safetensors of a lift",
}
_LONGEST = 60  # characters of a value in a message
_KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "text", tuple: "a tuple such as {}"}


@dataclasses.dataclass(frozen=True)
class Field:
    """One field; its type is that of its default, None a whole number that may be left out."""

    default: Any
    _: dataclasses.KW_ONLY
    low: float | None = None  # of a number, like `high`
    high: float | None = None
    power_of_two: bool = False  # whether it has to be one
    choices: tuple[str, ...] = ()  # the values that a text may have, if not any
    # What changes with it: what is computed; how that is drawn; or nothing that lasts, as with folders and devices.
    role: Literal["compute", "draw", "machine"] = "compute"
    file: bool = False  # whether it names a file, of which the content matters and not the path
    meaning: str = ""  # what it is for and its unit: the comment above it in `configs/base.py`
    added: bool = False  # whether another package adds it, see `extensions`; at its default it then changes nothing

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
        right = not self.choices or value in self.choices
        if self.low is not None and self.high is not None and value is not None:
            right = self.low <= value <= self.high and not (self.power_of_two and value & (value - 1))
        return "" if right else f"is {shown(value)}: it must be {self.limits}"

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
    path = configs() / "base.py"
    comments, above = dict[str, str](), list[str]()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("#"):
            above.append(line.strip(" #"))
            continue
        if match := re.match(r" *config\.([\w.]+) = ", line):
            comments[match[1]] = " ".join(above)
        above = []
    items = flatten(runpy.run_path(str(path))["schema"]())
    described = {
        path: dataclasses.replace(item, meaning=item.meaning or comments[path]) for path, item in items.items()
    }
    return described, comments


def fields() -> Mapping[str, Field]:
    """Returns every field by its path, in the order of `configs/base.py`."""
    return _described()[0]


def groups() -> dict[str, str]:
    """Returns a description of each group of fields, `GENERAL` first."""
    described, comments = _described()
    general = {GENERAL: "The seed, the results' folder, and what kind of run it is."}
    return general | {path: text for path, text in comments.items() if path not in described}


def group_of(path: str) -> str:
    """Returns the group of a field."""
    return path.partition(".")[0] if "." in path else GENERAL


def faults(values: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each field that is missing, unknown, or of the wrong type or range, whatever it holds."""
    known_fields = fields()
    problems = [
        f"config.{path} is missing: start from a complete configuration" for path in known_fields if path not in values
    ]
    problems += [no_field(path) for path in values if path not in known_fields]
    for path, item in known_fields.items():
        if path in values and (fault := item.fault(values[path])):
            problems.append(f"config.{path} {fault}")
    return problems


def no_field(path: str) -> str:
    """Returns the sentence about a field that does not exist."""
    close, name = nearest(path, fields()), shown(path)[1:-1]
    return f"there is no field config.{name}; did you mean config.{close}? (--help lists the groups of fields)"


def nearest(path: str, among: Collection[str]) -> str:
    """Returns the name that a misspelt one most likely means."""
    group, _, last = path.rpartition(".")
    if group and (real := difflib.get_close_matches(group, {name.rpartition(".")[0] for name in among}, n=1)):
        group, path = real[0], f"{real[0]}.{last}"
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


def set_field(config: ConfigDict, path: str, value: Any) -> None:
    """Sets the field at a dotted path of an unlocked configuration, regardless of its previous type."""
    *parents, last = path.split(".")
    owner = functools.reduce(lambda tree, name: tree[name], parents, config)
    with owner.ignore_type():
        owner[last] = value


def name_fault(text: str) -> str:
    """Returns why no file or folder can have this name, or ''."""
    odd = next((char for char in text if ord(char) < 32 or ord(char) == 127), "")
    if odd:
        return f"it holds the control character {odd!r}"
    if any("\ud800" <= char <= "\udfff" for char in text):
        return "it is not UTF-8"
    if max(len(part.encode()) for part in text.split("/")) > 255 or len(text.encode()) > 4000:
        return "file names cannot be so long"
    return ""


def as_tuples(value: Any) -> Any:
    """Returns a value with tuples for lists, at any depth."""
    return tuple(map(as_tuples, value)) if isinstance(value, (list, tuple)) else value


def validate(config: ConfigDict) -> None:
    """Raises a `ConfigError` that lists everything `problems` finds; warns if a category is almost a known one."""
    if messages := problems(config):
        raise ConfigError("\n".join(messages))
    exists = config.category in categories() or getattr(config.category, "record", None)
    nearly = [] if exists else difflib.get_close_matches(config.category, categories(), 1, 0.85)
    if nearly:
        own = f"config.category is {config.category!r}, a category of your own"
        warnings.warn(f"{own}: did you mean {nearly[0]!r}?", stacklevel=2)


def problems(config: ConfigDict) -> list[str]:
    """Returns a sentence for each value, or combination of values, that no run can use."""
    values = flatten(config)
    # Everything else expects values of the right type and range, and combinations expect lists of the right form.
    return faults(values) or list(_lists(values)) or [*_combinations(values), *_words(values)]


def _numbers(value: tuple[Any, ...], count: int) -> bool:
    """Returns whether these are so many numbers from -1000 to 1000."""
    return len(value) == count and all(type(item) in (int, float) and abs(item) <= 1000 for item in value)


def _lists(values: dict[str, Any]) -> Iterator[str]:
    """Checks the fields that hold several values."""
    cuboid = values["prior.cuboid"]
    if not (_numbers(cuboid, 4) and min(cuboid[:3]) > 0):
        must = "it must be length, width and height, greater than 0, and an angle in degrees"
        yield f"config.prior.cuboid is {shown(cuboid)}: {must}"
    light = values["sampling.rand_light"]
    if not _numbers(light, 7):
        yield f"config.sampling.rand_light is {shown(light)}: it must be seven numbers from -1000 to 1000"
    else:
        for i, name in ((0, "x"), (2, "y"), (4, "strength")):
            if light[i] > light[i + 1]:
                yield f"config.sampling.rand_light has the empty range {light[i : i + 2]} of {name}"
    for path in ("schedule.stages", "refinement.stages"):
        rows = values[path]
        fits = 1 <= len(rows) <= 1000 and all(isinstance(row, tuple) and len(row) == 3 for row in rows)
        if not fits or not all(type(count) is int and 0 <= count <= 10**7 for row in rows for count in row):
            must = "it must be 1 to 1000 triples of iterations such as ((600, 600, 400),), up to 10000000 each"
            yield f"config.{path} is {shown(rows)}: {must}"
    count = len(values["schedule.stages"])
    for path in ("schedule.flip1", "schedule.flip3"):
        if len(values[path]) < count or not all(isinstance(flip, bool) for flip in values[path]):
            yield f"config.{path} is {shown(values[path])}: it must be True or False for each of the {count} stages"


def _words(values: dict[str, Any]) -> Iterator[str]:
    """Checks names and folders."""
    category, source = values["category"], values["data.mask_source"]
    if not values["workdir"]:
        yield "config.workdir is empty: name a folder for the results"
    if "://" in values["checkpoint.folder"]:
        must = "it must be a folder of this machine, or one that machines share"
        yield f"config.checkpoint.folder is {shown(values['checkpoint.folder'])}: {must}"
    if not re.fullmatch("[a-z][a-z0-9_-]{0,39}", category):
        must = f"it must be one of {', '.join(categories())}, or a word of your own of a-z, 0-9, - and _"
        yield f"config.category is {shown(category)}: {must}"
    if source == "mean" and not values["lift.mean_mask"]:
        yield "config.data.mask_source is 'mean' but config.lift.mean_mask is empty: name the picture of that mask"
    parsed = "data.mask_source" if source == "parser" else "lift.masks"
    used = source == "parser" or values["recipe"] in LIFTS and values["lift.masks"] == "parser"
    if used and category_of(category).parser is None:
        why = f"no parser finds objects of the category {category!r} (there are parsers for {', '.join(parsers())})"
        yield f"config.{parsed} is 'parser', but {why}: use other masks, such as files or the images' alpha channel"
    elif source == "parser" and not values["parsing.weights"]:
        yield "config.data.mask_source is 'parser' but config.parsing.weights is empty: name the parser's weights"


def _combinations(values: dict[str, Any]) -> Iterator[str]:
    """Checks values that are valid on their own and may not go together."""
    from gan2shape_jax.networks.modules import default_group_base, default_width  # imports JAX: seconds

    recipe, pretrained = values["recipe"], values["networks.pretrained"]
    batches, size = values["schedule.batches_per_iteration"], values["image_size"]
    width = values["networks.width"] or default_width(size)
    base = values["networks.group_base"] or default_group_base(size)
    side, frames = values["outputs.picture_size"] or max(size, 192), values["outputs.turntable_frames"]
    if recipe in _BEGINS_WITH and not pretrained:
        name = f"name {_BEGINS_WITH[recipe]}, or use a variant that starts from random ones, such as ictface:scratch"
        yield f"config.recipe is {recipe!r} but config.networks.pretrained is empty: {name}"
    if recipe == "lift" and pretrained:
        why = "a lift starts from random networks; set it to '', or use the recipe 'finetune' or 'train_detail'"
        yield f"config.recipe is 'lift' but config.networks.pretrained is {shown(pretrained)}: {why}"
    if batches > 1 and not (recipe in ("joint", *LIFTS) and values["schedule.average_gradients"]):
        needs = "a recipe that trains one set of networks ('joint', 'lift', ...) and config.schedule.average_gradients"
        yield f"config.schedule.batches_per_iteration is {batches}: it needs {needs}; set it to 0 or 1"
    for less, more in (("camera.min_depth", "camera.max_depth"), ("prior.near", "prior.far")):
        if not np.float32(values[less]) < np.float32(values[more]):  # which may be the same though the doubles differ
            yield f"config.{less} must be less than config.{more}"
    if width % base:
        yield f"config.networks.width {width} does not divide into config.networks.group_base {base} groups"
    if values["outputs.animation"] and frames * side**2 > MOST_GIF_PIXELS:
        most = f"at most {MOST_GIF_PIXELS // side**2} frames fit in a GIF's memory, or config.outputs.animation=False"
        yield f"config.outputs.turntable_frames is {frames} at {side} pixels (config.outputs.picture_size): {most}"
    first = values["refinement.stages"][0]
    if not first[0] or (values["refinement.samples"] == "projected" and not first[1]):
        must = "its first step 1, and its first step 2 for a new encoder, need an iteration"
        yield f"config.refinement.stages is {shown(values['refinement.stages'])}: {must}"
    flips = zip(values["schedule.flip1"], values["schedule.flip3"], values["schedule.stages"])
    for stage, (flip1, flip3, _) in enumerate(flips, start=1):
        if flip1 and not flip3:
            yield f"config.schedule.flip1 is on in stage {stage} without flip3: switch both on, or flip1 off"


def gan_problems(config: ConfigDict, architecture: Architecture) -> list[str]:
    """Returns a sentence for each way in which a loaded GAN differs from `config.gan`."""
    gan, path = config.gan, config.gan.checkpoint
    advice = "name the checkpoint of this category or set the field"
    problems = [
        f"{path} has {field} {actual}, but config.gan.{field} is {gan[field]}: {advice}"
        for field, actual in (("size", architecture.size), ("style_dim", architecture.style_dim))
        if gan[field] != actual
    ]
    multiplier = gan.channel_multiplier
    if multiplier and architecture.size >= 64 and (channels := architecture.channels[4]) != 256 * multiplier:
        means = f"config.gan.channel_multiplier {multiplier} means {256 * multiplier} (0 accepts any)"
        problems.append(f"{path} has {channels} channels at 64 pixels, but {means}")
    if not architecture.discriminator_channels:
        advice = "convert it again with --discriminator, a file of the same training that has one"
        problems.append(f"{path} has no discriminator, by whose features the method compares images: {advice}")
    if gan.F1_d > (layers := architecture.mapping_layers):
        problems.append(f"config.gan.F1_d is {gan.F1_d}, but the mapping network of {path} has only {layers} layers")
    return problems
