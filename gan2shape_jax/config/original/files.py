"""The published implementation's settings files: each option of its YAML as fields of our configuration.

The original code determines the meaning of an option: an omitted option takes the default of its
`cfgs.get`, which often differs from its own files (`lam_perc` 1, `use_mask` true). Fields that the
original does not have come from our configuration of the same category. docs/how-to/migrating.md has the
full table. Source: https://github.com/XingangPan/GAN2Shape (run.py, gan2shape/*.py, configs/*.yml).
"""

import difflib
import math
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.config import validation
from gan2shape_jax.config.original.options import CATEGORIES, IGNORED, KINDS, OPTIONS, REQUIRED, fits, value_of
from gan2shape_jax.config.original.yaml_file import Entry, read_options
from gan2shape_jax.config.python_files import load_python, names
from gan2shape_jax.config.tree import flatten, set_field
from gan2shape_jax.errors import ConfigError

__all__ = ["load_yaml"]

_MOST_PROBLEMS = 20  # listed in one message
_MOST_STAGES = 1000  # published settings have 4
_KEEP_ALL = 1_000_000  # checkpoints: more than any run writes
_WEIGHTS = (".pt", ".pth", ".pkl")


def load_yaml(path: str | pathlib.Path) -> ConfigDict:
    """Returns the locked configuration equivalent to a settings file of the published implementation.

    Options without a meaning here are named in a single warning. The GAN's checkpoint is replaced by the converted
    file beside it.

    Raises:
        ConfigError: the file cannot be read as YAML, or requests something impossible; the message has a line
            for each problem, which names file and line.
    """
    path = pathlib.Path(path)
    entries = read_options(path)
    _refuse(path, entries, _unreadable(entries) + _missing(entries))
    values = {name: value_of(option, entries.get(name)) for name, option in OPTIONS.items()}
    _refuse(path, entries, _impossible(values))
    config = _configuration(values)
    _refuse(path, entries, _invalid(config))
    ignored = [name for name in entries if name in IGNORED]
    if ignored:
        warnings.warn(
            f"{path}: ignored: {', '.join(ignored)} (without a meaning here, see docs/how-to/migrating.md)",
            stacklevel=2,
        )
    return config


def _refuse(path: pathlib.Path, entries: dict[str, Entry], problems: list[tuple[str, str]]) -> None:
    """Raises a `ConfigError` if there are any problems, given as pairs of an option's name and what is wrong."""
    lines = [
        f"{path}, line {entries[name].line}: {problem}" if name in entries else f"{path}: {problem}"
        for name, problem in problems
    ]
    if len(lines) > _MOST_PROBLEMS:
        lines[_MOST_PROBLEMS:] = [f"{path}: and more, {len(lines)} in all"]
    if lines:
        raise ConfigError("\n".join(lines))


def _unreadable(entries: dict[str, Entry]) -> list[tuple[str, str]]:
    """Returns options that do not exist or have a value of the wrong kind, with what is wrong."""
    problems: list[tuple[str, str]] = []
    for name, entry in entries.items():
        if name in IGNORED:
            continue
        if name not in OPTIONS:
            problems.append(
                (name, f"there is no option {name}{_nearest(name) if len(problems) < _MOST_PROBLEMS else ''}")
            )
        elif not fits(OPTIONS[name], entry.value):
            problems.append(
                (name, f"{name} is {entry.text}: {KINDS[OPTIONS[name].kind]}{_hint(OPTIONS[name].kind, entry.value)}")
            )
    return problems


def _nearest(name: str) -> str:
    (close,) = difflib.get_close_matches(name, [*OPTIONS, *IGNORED], n=1, cutoff=0.0)
    return f"; the nearest is {close}"


def _hint(kind: str, value: Any) -> str:
    """Returns a hint for numbers such as 1e-4, which YAML 1.1 reads as text and later versions as a number."""
    try:
        number = kind == "number" and isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return ""
    return f" (YAML reads {value} as text: write {float(value):.1e})" if number else ""


def _missing(entries: dict[str, Entry]) -> list[tuple[str, str]]:
    return [
        (name, f"the option {name} is missing: {KINDS[option.kind]}")
        for name, option in OPTIONS.items()
        if option.default is REQUIRED and name not in entries
    ]


def _invalid(config: ConfigDict) -> list[tuple[str, str]]:
    """Returns the problems of values that have the right kind but are unusable, with the option of each."""
    options = {option.field: name for name, option in OPTIONS.items() if option.field}
    options |= {"schedule.stages": "stage_len_dict", "schedule.flip1": "flip1_cfg", "schedule.flip3": "flip3_cfg"}
    return [
        (next((name for field, name in options.items() if f"config.{field} " in problem), ""), problem)
        for problem in validation.problems(config)
    ]


def _impossible(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns options that no run can satisfy, here or in the original, with the reason."""
    return [*_of_category(values), *_of_stages(values), *_of_depths(values)]


def _of_category(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if values["category"] not in CATEGORIES:
        known = ", ".join(CATEGORIES)
        yield "category", f"there is no parser for the category {values['category']}: it is one of {known}"


def _of_stages(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    stages = values["num_stage"]
    if not 1 <= stages <= _MOST_STAGES:
        yield "num_stage", f"num_stage is {stages}: at least one stage is wanted, and at most {_MOST_STAGES}"
    if stages > 1 and values["stage_len_dict2"] is None:
        lacking = "stage_len_dict2, the iterations of the later stages, is not given"
        yield "num_stage", f"num_stage is {stages} but {lacking}"
    for name in ("flip1_cfg", "flip3_cfg"):
        if 0 < len(values[name]) < stages:
            yield name, f"{name} has {len(values[name])} entries for {stages} stages"


def _of_depths(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    given, border = values["border_depth"], 0.7 * values["max_depth"] + 0.3 * values["min_depth"]
    if given is not None and not math.isclose(given, border, rel_tol=1e-6):
        rule = f"0.7 max_depth + 0.3 min_depth, {border:.4g}"
        yield "border_depth", f"border_depth is {given}: here it always is {rule}; leave it out"
    if values["load_gt_depth"] and "image" not in values["img_root"]:
        rule = "load_gt_depth finds depths by writing depth for image in img_root"
        yield "load_gt_depth", f"{rule}, but {values['img_root']} has no image in it"


def _configuration(values: dict[str, Any]) -> ConfigDict:
    base = CATEGORIES[values["category"]]
    if values["joint_train"] and f"{base}_pretrain" in names():
        base = f"{base}_pretrain"
    config = load_python(base).copy_and_resolve_references().unlock()
    known = flatten(config)
    fields = {option.field: values[name] for name, option in OPTIONS.items() if option.field}
    fields |= _schedule(values) | _derived(values)
    if values["img_root"] != known["data.image_root"] and "data.mask_root" in known:
        fields["data.mask_root"] = ""  # the masks of our configuration do not belong to these images
    for path, value in fields.items():
        set_field(config, path, value)
    return config.lock()


def _schedule(values: dict[str, Any]) -> dict[str, Any]:
    count = values["num_stage"]
    return {
        "schedule.stages": (values["stage_len_dict"], *[values["stage_len_dict2"]] * (count - 1)),
        "schedule.flip1": values["flip1_cfg"][:count] or (False,) * count,
        "schedule.flip3": values["flip3_cfg"][:count] or (False,) * count,
    }


def _derived(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields that follow from more than one option, or from another form of one."""
    centre, keep = values["rot_center_depth"], values["keep_num_checkpoint"]
    return {
        "mode": "joint" if values["joint_train"] else "instance",
        "camera.rot_center_depth": (values["min_depth"] + values["max_depth"]) / 2 if centre is None else centre,
        "checkpoint.keep": keep if keep > 0 else _KEEP_ALL,
        "data.depth_root": values["img_root"].replace("image", "depth") if values["load_gt_depth"] else "",
        "gan.checkpoint": _converted(values["gan_ckpt"]),
    }


def _converted(checkpoint: str) -> str:
    """Returns the path of the converted file beside a checkpoint of another framework."""
    path = pathlib.PurePath(checkpoint)
    if path.suffix in _WEIGHTS:
        return path.with_suffix(".safetensors").as_posix()
    return checkpoint if path.suffix == ".safetensors" else f"{checkpoint}.safetensors"
