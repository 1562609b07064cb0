"""The published implementation's settings files: each option of its YAML as fields of our configuration.

The original code determines the meaning of an option: an omitted option takes the default of its
`cfgs.get`, which often differs from its own files (`lam_perc` 1, `use_mask` true). Fields that the
original does not have come from our configuration of the same category. docs/how-to/migrating.md has the
full table. Source: https://github.com/XingangPan/GAN2Shape (run.py, gan2shape/*.py, configs/*.yml).

A file is plain data; any error is a `ConfigError` with a line for each problem, which names file and option.
"""

import contextlib
import difflib
import functools
import math
import pathlib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import yaml
from ml_collections import ConfigDict

from gan2shape_jax.config.schema import Field, as_tuples, problems, set_field, shown
from gan2shape_jax.errors import ConfigError
from gan2shape_jax.io import files

_LARGEST = 2**15  # bytes: settings take a few kilobytes, and a megabyte takes PyYAML half a minute
_DEEPEST = 10  # lists inside each other: settings have two
_MOST_STAGES = 1000  # published settings have 4
_KEEP_ALL = 1_000_000  # checkpoints: more than any run writes
_STATISTICS = "checkpoints/view_light"
# The original's categories (those for which it has a parser), and our configuration for each.
_CATEGORIES = {"face": "celeba", "synface": "synface", "cat": "cat", "car": "car", "church": "church", "horse": "horse"}
_JOINTLY = ("celeba", "synface", "cat")  # those whose networks its authors have trained jointly, too
# Options without a meaning here: results are always written, one process runs on one device, meshes are
# drawn without texture cubes. The original itself overwrites the seed and those after it from its command line.
IGNORED = (
    "model_name save_results num_scale tex_cube_size renderer_min_depth renderer_max_depth seed num_workers launcher "
    "local_rank config device distributed rank world_size gpu gpus gpu_id gpu_ids"
).split()

# Our field that takes an option's value as it is, or '', and the value where a file leaves the option out, which has
# the option's type. A depth of 0 and an empty tuple stand for what is not given.
OPTIONS: dict[str, tuple[str, Any]] = {
    # trainer
    "checkpoint_dir": ("workdir", "results"),
    "save_checkpoint_freq": ("checkpoint.every_iterations", 1),
    "keep_num_checkpoint": ("", 2),
    "use_logger": ("logging.tensorboard", True),
    "log_freq": ("logging.every_iterations", 1000),
    "joint_train": ("", False),
    "independent": ("schedule.distinct_images", True),
    "reset_weight": ("schedule.reset_weight", False),
    "num_stage": ("", 1),
    "flip1_cfg": ("", ()),
    "flip3_cfg": ("", ()),
    "stage_len_dict": ("", ()),
    "stage_len_dict2": ("", ()),
    # data
    "image_size": ("image_size", 128),
    "crop": ("data.crop", None),
    "load_gt_depth": ("", False),
    "img_list_path": ("data.image_list", ""),
    "img_root": ("data.image_root", ""),
    "latent_root": ("data.latent_root", ""),
    # model
    "category": ("category", "face"),
    "share_weight": ("schedule.average_gradients", True),
    "relative_enc": ("gan.relative_enc", False),
    "use_mask": ("schedule.use_mask", True),
    "add_mean_L": ("sampling.add_mean_L", False),
    "add_mean_V": ("sampling.add_mean_V", False),
    "min_depth": ("camera.min_depth", 0.9),
    "max_depth": ("camera.max_depth", 1.1),
    "border_depth": ("", 0.0),
    "prior_near": ("prior.near", 0.91),
    "prior_far": ("prior.far", 1.02),
    "xyz_rotation_range": ("camera.xyz_rotation_range_deg", 60.0),
    "xy_translation_range": ("camera.xy_translation_range", 0.1),
    "z_translation_range": ("camera.z_translation_range", 0.1),
    "view_scale": ("sampling.view_scale", 1.0),
    "collect_iters": ("sampling.collect_iters", 100),
    "batchsize": ("sampling.batch_size", 8),
    "lr": ("optimizer.learning_rate", 1e-4),
    "lam_perc": ("loss.lam_perc", 1.0),
    "lam_smooth": ("loss.lam_smooth", 0.01),
    "lam_regular": ("loss.lam_regular", 0.01),
    "pretrain": ("networks.pretrained", ""),
    "view_mvn_path": ("sampling.view_mvn", f"{_STATISTICS}/view_mvn.pth"),
    "light_mvn_path": ("sampling.light_mvn", f"{_STATISTICS}/light_mvn.pth"),
    "rand_light": ("sampling.rand_light", (-1.0, 1.0, -0.2, 0.8, -0.1, 0.6, -0.6)),
    # GAN
    "channel_multiplier": ("gan.channel_multiplier", 2),
    "gan_size": ("gan.size", 256),
    "gan_ckpt": ("", ""),
    "z_dim": ("gan.style_dim", 512),
    "truncation": ("gan.truncation", 1.0),
    "F1_d": ("gan.F1_d", 2),
    # renderer
    "rot_center_depth": ("", 0.0),
    "fov": ("camera.fov_deg", 10.0),
}
_REQUIRED = ("num_stage", "stage_len_dict", "img_list_path", "img_root", "latent_root", "gan_ckpt")


def load_yaml(path: str | pathlib.Path, load: Callable[[str], ConfigDict]) -> ConfigDict:
    """Returns the locked configuration equivalent to a settings file of the published implementation.

    `load` returns ours by its name; that of the file's category has the fields that the original does not have.
    Options without a meaning here are named in a single warning. The GAN's checkpoint is replaced by the converted
    file beside it. Raises `ConfigError`: the file cannot be read as YAML, or requests something impossible.
    """

    def refuse(problems: Iterable[str]) -> None:
        if lines := [f"{path}: {problem}" for problem in problems]:
            raise ConfigError("\n".join(lines[:20]))

    values_given = _options(pathlib.Path(path))
    values = {name: default for name, (_, default) in OPTIONS.items()}
    values |= {name: _value(name, value) for name, value in values_given.items() if name in OPTIONS}
    refuse(_unreadable(values_given, values))
    refuse(_impossible(values))
    config = _configuration(values, load)
    options = {field: name for name, (field, _) in OPTIONS.items() if field}
    options |= {"schedule.stages": "stage_len_dict", "schedule.flip1": "flip1_cfg", "schedule.flip3": "flip3_cfg"}
    named = functools.partial(re.sub, r"config\.([\w.]*\w)", lambda field: options.get(field[1], field[0]))
    refuse(map(named, problems(config)))
    if ignored := ", ".join(name for name in values_given if name in IGNORED):
        warnings.warn(f"{path}: ignored: {ignored} (no meaning here, see docs/how-to/migrating.md)", stacklevel=2)
    return config


def _options(path: pathlib.Path) -> dict[str, Any]:
    """Returns the options of a file, by name."""
    try:
        text = files.read_text(path, limit=_LARGEST, encoding="utf-8-sig")
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            # Nested aliases stand for more values than there is memory, and nested lists take PyYAML ever longer.
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it has an alias, *name: write the value itself in its place")
            if depth > _DEEPEST:
                raise ValueError("its lists are nested too deeply")
        content = yaml.safe_load(text)
    except FileNotFoundError:
        raise ConfigError(f"there is no config file {path}") from None
    except Exception as error:  # also for values that their tags do not fit, and for endless nesting
        raise ConfigError(f"{path} cannot be read as a settings file: {' '.join(str(error).split())[:400]}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} has no `option: value` lines")
    return {str(name): value for name, value in content.items()}


def _value(name: str, value: Any) -> Any:
    """Returns an option's value as our fields have it: 0 and 1 as flags, lists as tuples, 1e-4, a text, as a number."""
    default = OPTIONS[name][1]
    if value is None and default == "":
        return default
    if name.startswith("stage_len") and isinstance(value, dict):
        return tuple(value.get(step) for step in ("step1", "step2", "step3"))
    if isinstance(default, bool) and value in (0, 1):
        return bool(value)
    if isinstance(default, float) and isinstance(value, (int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return float(value)
    if name.startswith("flip") and isinstance(value, list) and all(flip in (0, 1) for flip in value):
        return tuple(map(bool, value))
    return as_tuples(value)


def _unreadable(options: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[str]:
    """Yields options that do not exist, have a value of the wrong type, or are missing, with what is wrong."""
    for name in options:
        if name not in [*OPTIONS, *IGNORED]:
            (close,) = difflib.get_close_matches(name, [*OPTIONS, *IGNORED], n=1, cutoff=0.0)
            yield f"there is no option {name[:40]}; the nearest is {close}"
    for name, (_, default) in OPTIONS.items():
        if name in _REQUIRED and options.get(name) in (None, ""):
            yield f"the option {name} is missing"
        elif name.startswith("stage_len") and name in options and not isinstance(options[name], dict):
            yield f"{name} is {shown(options[name])}: it must have step1, step2 and step3 with their iterations"
        elif fault := Field(default).type_fault(values[name]):
            yield f"{name} {fault}"


def _impossible(values: dict[str, Any]) -> Iterator[str]:
    """Yields options that no run can satisfy, here or in the original, with the reason."""
    if values["category"] not in _CATEGORIES:
        yield f"there is no parser for the category {values['category']}: it must be one of {', '.join(_CATEGORIES)}"
    stages = values["num_stage"]
    if not 1 <= stages <= _MOST_STAGES:
        yield f"num_stage is {stages}: it must be from 1 to {_MOST_STAGES}"
    elif stages > 1 and not values["stage_len_dict2"]:
        yield f"num_stage is {stages} but stage_len_dict2, the iterations of the later stages, is missing"
    depth, border = values["border_depth"], 0.7 * values["max_depth"] + 0.3 * values["min_depth"]
    if depth and not math.isclose(depth, border, rel_tol=1e-6):
        yield f"border_depth is {depth}: here it is always 0.7 max_depth + 0.3 min_depth, {border:.4g}; leave it out"
    if values["load_gt_depth"] and "image" not in values["img_root"]:
        yield f"load_gt_depth replaces image in img_root by depth, but {values['img_root']} has no image in it"


def _configuration(values: dict[str, Any], load: Callable[[str], ConfigDict]) -> ConfigDict:
    base, joint, stages = _CATEGORIES[values["category"]], values["joint_train"], values["num_stage"]
    config = load(f"{base}:published_joint" if joint and base in _JOINTLY else f"{base}:published").unlock()
    if values["img_root"] != config.data.image_root:
        config.data.mask_root = ""  # the masks of our configuration do not belong to these images
    checkpoint = pathlib.PurePath(values["gan_ckpt"])  # the converted file lies beside the original
    if checkpoint.suffix in (".pt", ".pth", ".pkl", ".safetensors"):
        checkpoint = checkpoint.with_suffix("")
    fields = {field: values[name] for name, (field, _) in OPTIONS.items() if field} | {
        "recipe": "joint" if joint else "train",
        "schedule.stages": (values["stage_len_dict"], *[values["stage_len_dict2"]] * (stages - 1)),
        "schedule.flip1": values["flip1_cfg"][:stages] or (False,) * stages,
        "schedule.flip3": values["flip3_cfg"][:stages] or (False,) * stages,
        "camera.rot_center_depth": values["rot_center_depth"] or (values["min_depth"] + values["max_depth"]) / 2,
        "checkpoint.keep": _KEEP_ALL if values["keep_num_checkpoint"] <= 0 else values["keep_num_checkpoint"],
        "data.depth_root": values["img_root"].replace("image", "depth") if values["load_gt_depth"] else "",
        "gan.checkpoint": f"{checkpoint.as_posix()}.safetensors",
    }
    for path, value in fields.items():
        set_field(config, path, value)
    return config.lock()
