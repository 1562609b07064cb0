"""What the published implementation's eight settings files say, as a table of facts, and its options' defaults.

Source: `configs/*.yml` of https://github.com/XingangPan/GAN2Shape at commit 97dddd9; defaults from the
`cfgs.get` calls of its `gan2shape/model.py`, `trainer.py` and `renderer/renderer.py`. Names and values
are the original's; `yaml_text` writes a file of its format from them.
"""

_CENTRAL_LIGHT = [-1, 1, -0.2, 0.8, -0.1, 0.6, -0.6]
_FACE_LIGHT = [-0.9, 0.9, -0.3, 0.8, -0.1, 0.7, -0.4]
_STATISTICS = "checkpoints/view_light/"


def _lengths(step1: int, step2: int, step3: int) -> dict[str, int]:
    return {"step1": step1, "step2": step2, "step3": step3}


def _stages(first: tuple, later: tuple | None, count: int) -> dict:
    second = {} if later is None else {"stage_len_dict2": _lengths(*later)}
    return {"num_stage": count, "stage_len_dict": _lengths(*first), **second}


# The same in all eight.
_ALL = {
    "use_logger": True,
    "log_freq": 100,
    "add_mean_L": True,
    "add_mean_V": True,
    "min_depth": 0.9,
    "max_depth": 1.1,
    "xyz_rotation_range": 60,
    "xy_translation_range": 0.1,
    "z_translation_range": 0,
    "lr": 0.0001,
    "lam_perc": 0.5,
    "lam_smooth": 0.01,
    "lam_regular": 0.01,
    "rot_center_depth": 1.0,
    "fov": 10,
    "tex_cube_size": 2,
    "image_size": 128,
    "save_checkpoint_freq": 500,
    "keep_num_checkpoint": 2,
    "share_weight": True,
    "load_gt_depth": False,
    "rand_light": _CENTRAL_LIGHT,
}
_INSTANCE = {"joint_train": False, "reset_weight": True, "save_results": True, "collect_iters": 100}
_JOINT = {
    "joint_train": True,
    "reset_weight": False,
    "save_results": False,
    "collect_iters": 800,
    "batchsize": 8,
    "keep_num_checkpoint": 2,
    "share_weight": True,
    **_stages((1500, 1500, 1500), (700, 1000, 1000), 4),
    "flip1_cfg": [False, True, True, True],
    "flip3_cfg": [True] * 4,
}
# Objects whose masks matter: cars and churches.
_OBJECT = {
    **_ALL,
    **_INSTANCE,
    "independent": False,
    "use_mask": True,
    "relative_enc": False,
    "batchsize": 8,
    "channel_multiplier": 2,
    "F1_d": 2,
    **_stages((700, 700, 600), (200, 500, 400), 4),
    "flip1_cfg": [False] * 4,
    "flip3_cfg": [False] * 4,
    "view_mvn_path": f"{_STATISTICS}view_mvn.pth",
    "light_mvn_path": f"{_STATISTICS}light_mvn.pth",
}
# Faces, of people and of cats.
_FACE = {
    **_ALL,
    "independent": True,
    "use_mask": False,
    "relative_enc": True,
    "batchsize": 16,
    "view_scale": 1.2,
    "channel_multiplier": 1,
    "F1_d": 2,
}
_FACE_INSTANCE = {
    **_FACE,
    **_INSTANCE,
    **_stages((600, 600, 400), (200, 500, 300), 4),
    "keep_num_checkpoint": 1,
    "flip1_cfg": [False] * 4,
    "flip3_cfg": [True, False, False, False],
}


def _named(name: str, category: str, model: str, size: int, gan: str) -> dict:
    return {
        "checkpoint_dir": f"results/{name}",
        "category": category,
        "model_name": f"gan2shape_{model}",
        "gan_size": size,
        "gan_ckpt": f"checkpoints/stylegan2/stylegan2-{gan}.pt",
    }


def _data(folder: str, listed: str) -> dict:
    return {"img_list_path": f"{folder}/{listed}", "img_root": folder, "latent_root": f"{folder}/latents"}


def _statistics(name: str) -> dict:
    return {
        "view_mvn_path": f"{_STATISTICS}{name}_view_mvn.pth",
        "light_mvn_path": f"{_STATISTICS}{name}_light_mvn.pth",
    }


_CAT = {"crop": 170, **_statistics("cat")}
_CELEBA = _statistics("celeba")
_SYNFACE = {
    "image_size": 64,
    "crop": 170,
    "load_gt_depth": True,
    "F1_d": 8,
    "rand_light": _FACE_LIGHT,
    "save_results": False,
    **_statistics("synface"),
}


def _synface(part: str, listed: str) -> dict:
    folder = f"data/synface/{part}"
    return {**_data(folder, listed), "img_root": f"{folder}/image"}


def _pretrained(name: str) -> dict:
    return {"pretrain": f"checkpoints/gan2shape/{name}_pretrain.pth"}


REFERENCE: dict[str, dict] = {
    "car": {**_OBJECT, **_named("car", "car", "car", 512, "car-config-f"), **_data("data/car", "list.txt")},
    "church": {
        **_OBJECT,
        **_named("church", "church", "church", 256, "church-config-f"),
        **_data("data/church", "list.txt"),
        "prior_near": 0.91,
        "prior_far": 1.0,
    },
    "cat": {
        **_FACE_INSTANCE,
        **_CAT,
        **_named("cat", "cat", "cat", 256, "catface-config-e"),
        **_data("data/cat", "list_200-215.txt"),
        **_pretrained("cat"),
    },
    "celeba": {
        **_FACE_INSTANCE,
        **_CELEBA,
        **_named("celeba", "face", "face", 128, "celeba-config-e"),
        **_data("data/celeba", "list_200-399.txt"),
        **_pretrained("celeba"),
        "share_weight": False,
    },
    "synface": {
        **_FACE,
        **_INSTANCE,
        **_SYNFACE,
        **_named("synface", "synface", "synface", 128, "synface-config-e"),
        **_synface("test", "list.txt"),
        **_pretrained("synface"),
        "num_scale": 1,
        **_stages((500, 500, 200), None, 1),
        "flip1_cfg": [False],
        "flip3_cfg": [True],
    },
    "cat_pretrain": {
        **_FACE,
        **_JOINT,
        **_CAT,
        **_named("cat_pretrain", "cat", "cat", 256, "catface-config-e"),
        **_data("data/cat", "list_0-199.txt"),
    },
    "celeba_pretrain": {
        **_FACE,
        **_JOINT,
        **_CELEBA,
        **_named("celeba_pretrain", "face", "face", 128, "celeba-config-e"),
        **_data("data/celeba", "list_0-199.txt"),
    },
    "synface_pretrain": {
        **_FACE,
        **_JOINT,
        **_SYNFACE,
        **_named("synface_pretrain", "synface", "synface", 128, "synface-config-e"),
        **_synface("train", "list_200.txt"),
        "collect_iters": 1000,
        "batchsize": 12,
        "num_stage": 8,
        "flip1_cfg": [False, *[True] * 7],
        "flip3_cfg": [True] * 8,
        "save_checkpoint_freq": 2000,
        "keep_num_checkpoint": 10,
    },
}

# What an option is where a file leaves it out.
DEFAULTS = {
    "checkpoint_dir": "results",
    "save_checkpoint_freq": 1,
    "keep_num_checkpoint": 2,
    "use_logger": True,
    "log_freq": 1000,
    "joint_train": False,
    "independent": True,
    "reset_weight": False,
    "load_gt_depth": False,
    "image_size": 128,
    "crop": None,
    "category": "face",
    "share_weight": True,
    "relative_enc": False,
    "use_mask": True,
    "add_mean_L": False,
    "add_mean_V": False,
    "min_depth": 0.9,
    "max_depth": 1.1,
    "xyz_rotation_range": 60,
    "xy_translation_range": 0.1,
    "z_translation_range": 0.1,
    "view_scale": 1.0,
    "collect_iters": 100,
    "rand_light": _CENTRAL_LIGHT,
    "batchsize": 8,
    "lr": 1e-4,
    "lam_perc": 1,
    "lam_smooth": 0.01,
    "lam_regular": 0.01,
    "pretrain": None,
    "prior_near": 0.91,
    "prior_far": 1.02,
    "view_mvn_path": f"{_STATISTICS}view_mvn.pth",
    "light_mvn_path": f"{_STATISTICS}light_mvn.pth",
    "channel_multiplier": 2,
    "gan_size": 256,
    "z_dim": 512,
    "truncation": 1,
    "F1_d": 2,
    "rot_center_depth": 1.0,
    "fov": 10,
}


def stages(facts: dict) -> tuple[tuple[int, ...], ...]:
    """The lengths of the three steps, stage by stage, that a file's schedule comes to."""
    first, later = facts["stage_len_dict"], facts.get("stage_len_dict2")
    return tuple(tuple(lengths.values()) for lengths in [first, *[later] * (facts["num_stage"] - 1)])


def _written(value) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def yaml_text(facts: dict) -> str:
    """The facts as a settings file of the original's format: one option a line, comments, step lengths indented."""
    lines = ["## trainer"]
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"    {step}: {length}  # iterations" for step, length in value.items())]
        elif value is not None:
            # YAML 1.1 takes 1e-4 for text: it wants the dot.
            text = f"{value:.4f}" if isinstance(value, float) and value < 1e-3 else _written(value)
            lines.append(f"{key}: {text}  # as published")
    return "\n".join([*lines, ""])
