"""The options of the published implementation's settings files: kinds, defaults, and our equivalent fields.

The defaults are those of its code (`cfgs.get`), which often differ from its own files (`lam_perc` 1,
`use_mask` true). Source: https://github.com/XingangPan/GAN2Shape (run.py, gan2shape/*.py, configs/*.yml).
"""

import dataclasses
import math
from typing import Any

from gan2shape_jax.config.original.yaml_file import Entry

__all__ = ["CATEGORIES", "IGNORED", "KINDS", "OPTIONS", "REQUIRED", "Option", "fits", "value_of"]

# The original's categories (those for which it has a parser), and our configuration for each.
CATEGORIES = {"face": "celeba", "synface": "synface", "cat": "cat", "car": "car", "church": "church", "horse": "horse"}

# Options without a meaning here: results are always written, one process runs on one device, meshes are
# drawn without texture cubes. The original itself overwrites the seed and the four after it from its command line.
IGNORED = (
    "model_name",
    "save_results",
    "num_scale",
    "tex_cube_size",
    "renderer_min_depth",
    "renderer_max_depth",
    "seed",
    "num_workers",
    "launcher",
    "local_rank",
    "config",
    "device",
    "distributed",
    "rank",
    "world_size",
    "gpu",
    "gpus",
    "gpu_id",
    "gpu_ids",
)

REQUIRED = object()  # the default of an option that has none
_STATISTICS = "checkpoints/view_light"


@dataclasses.dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        kind: of its value, a key of `KINDS`.
        default: its value if a file omits it, or `REQUIRED`.
        field: our field that takes the value as it is, or ''.
        empty: whether it may be given without a value.
    """

    kind: str
    default: Any = REQUIRED
    field: str = ""
    empty: bool = False


# What a message says about a value of the wrong kind.
KINDS = {
    "text": "text is wanted",
    "flag": "true or false is wanted",
    "whole": "a whole number is wanted",
    "number": "a number is wanted",
    "flags": "a list of true and false is wanted, one a stage",
    "numbers": "a list of numbers is wanted",
    "steps": "step1, step2 and step3 with their iterations are wanted",
}

OPTIONS = {
    # trainer
    "checkpoint_dir": Option("text", "results", "workdir"),
    "save_checkpoint_freq": Option("whole", 1, "checkpoint.every_iterations"),
    "keep_num_checkpoint": Option("whole", 2),
    "use_logger": Option("flag", True, "logging.tensorboard"),
    "log_freq": Option("whole", 1000, "logging.every_iterations"),
    "joint_train": Option("flag", False, "schedule.joint"),
    "independent": Option("flag", True, "schedule.independent"),
    "reset_weight": Option("flag", False, "schedule.reset_weight"),
    "num_stage": Option("whole"),
    "flip1_cfg": Option("flags", ()),
    "flip3_cfg": Option("flags", ()),
    "stage_len_dict": Option("steps"),
    "stage_len_dict2": Option("steps", None),
    # data
    "image_size": Option("whole", 128, "image_size"),
    "crop": Option("whole", None, "data.crop", empty=True),
    "load_gt_depth": Option("flag", False),
    "img_list_path": Option("text", REQUIRED, "data.image_list"),
    "img_root": Option("text", REQUIRED, "data.image_root"),
    "latent_root": Option("text", REQUIRED, "data.latent_root"),
    # model
    "category": Option("text", "face", "category"),
    "share_weight": Option("flag", True, "schedule.share_weight"),
    "relative_enc": Option("flag", False, "gan.relative_enc"),
    "use_mask": Option("flag", True, "schedule.use_mask"),
    "add_mean_L": Option("flag", False, "sampling.add_mean_L"),
    "add_mean_V": Option("flag", False, "sampling.add_mean_V"),
    "min_depth": Option("number", 0.9, "camera.min_depth"),
    "max_depth": Option("number", 1.1, "camera.max_depth"),
    "border_depth": Option("number", None),
    "prior_near": Option("number", 0.91, "prior.near"),
    "prior_far": Option("number", 1.02, "prior.far"),
    "xyz_rotation_range": Option("number", 60.0, "camera.xyz_rotation_range_deg"),
    "xy_translation_range": Option("number", 0.1, "camera.xy_translation_range"),
    "z_translation_range": Option("number", 0.1, "camera.z_translation_range"),
    "view_scale": Option("number", 1.0, "sampling.view_scale"),
    "collect_iters": Option("whole", 100, "sampling.collect_iters"),
    "batchsize": Option("whole", 8, "sampling.batch_size"),
    "lr": Option("number", 1e-4, "optimizer.learning_rate"),
    "lam_perc": Option("number", 1.0, "loss.lam_perc"),
    "lam_smooth": Option("number", 0.01, "loss.lam_smooth"),
    "lam_regular": Option("number", 0.01, "loss.lam_regular"),
    "pretrain": Option("text", "", "networks.pretrained", empty=True),
    "view_mvn_path": Option("text", f"{_STATISTICS}/view_mvn.pth", "sampling.view_mvn"),
    "light_mvn_path": Option("text", f"{_STATISTICS}/light_mvn.pth", "sampling.light_mvn"),
    "rand_light": Option("numbers", (-1.0, 1.0, -0.2, 0.8, -0.1, 0.6, -0.6), "sampling.rand_light"),
    # GAN
    "channel_multiplier": Option("whole", 2, "gan.channel_multiplier"),
    "gan_size": Option("whole", 256, "gan.size"),
    "gan_ckpt": Option("text"),
    "z_dim": Option("whole", 512, "gan.style_dim"),
    "truncation": Option("number", 1.0, "gan.truncation"),
    "F1_d": Option("whole", 2, "gan.F1_d"),
    # renderer
    "rot_center_depth": Option("number", None),
    "fov": Option("number", 10.0, "camera.fov_deg"),
}


def fits(option: Option, value: Any) -> bool:
    """Whether a value in a file has the option's kind; 0 and 1 count as flags, as in Python."""
    if value is None:
        return option.empty
    match option.kind:
        case "text":
            return isinstance(value, str) and (value != "" or option.empty)
        case "flag":
            return _is_flag(value)
        case "whole":
            return _is_whole(value)
        case "number":
            return _is_number(value)
        case "flags":
            return isinstance(value, list) and all(map(_is_flag, value))
        case "numbers":
            return isinstance(value, list) and all(map(_is_number, value))
        case _:
            return (
                isinstance(value, dict)
                and value.keys() == {"step1", "step2", "step3"}
                and all(_is_whole(length.value) and length.value >= 0 for length in value.values())
            )


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def value_of(option: Option, entry: Entry | None) -> Any:
    """Returns the option's value: its default if the file omits it or leaves it empty."""
    if entry is None or entry.value is None:
        return option.default
    match option.kind:
        case "flag":
            return bool(entry.value)
        case "number":
            return float(entry.value)
        case "flags":
            return tuple(map(bool, entry.value))
        case "numbers":
            return tuple(map(float, entry.value))
        case "steps":
            return tuple(entry.value[step].value for step in ("step1", "step2", "step3"))
        case _:
            return entry.value
