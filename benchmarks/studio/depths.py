"""How far what explains pictures is from their true depth: networks, runs and what knows no view, in one table.

SIDE and MAD (unit normals, degrees) over the object less its outermost pixel, as `gan2shape-jax evaluate` has them;
inside: SIDE less four pixels of 64 more; yaw and pitch: mean absolute errors of the view, degrees. Means with 95%
intervals (Student's t) over pictures, each of another person or car. The background is cut off at the method's
greatest depth, 1.1.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping

import folders
import jax.numpy as jnp
import numpy as np

import gan2shape_jax
from gan2shape_jax.apps.evaluate import markdown_table, mean_of, mean_text
from gan2shape_jax.config import load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method import metrics, prior

_RIM = 4  # pixels of 64
_DIGITS = {"side": 4, "inside": 4, "mad": 1, "pitch": 1, "yaw": 1}

Explain = Callable[[dict, int], tuple[np.ndarray, np.ndarray | None]]


def _network(model: str, config: str) -> Explain:
    networks = gan2shape_jax.load_model(pathlib.Path(model), config=config or None)

    def explain(truth: dict, number: int) -> tuple[np.ndarray, np.ndarray]:
        result = networks.reconstruct(truth["image"][number])
        return result.input_depth, np.degrees(result.view[:2])

    return explain


def _run(folder: pathlib.Path) -> Explain:
    def explain(truth: dict, number: int) -> tuple[np.ndarray, np.ndarray]:
        result = gan2shape_jax.load(folder / "results" / truth["name"][number])
        image = truth["image"][number]
        if result.image.shape != image.shape or np.abs(result.image * 255 - image).max() > 1:
            raise UserError(f"{folder}: {result.name} is not the picture that --data has there, at its size")
        return result.input_depth, np.degrees(result.view[:2])

    return explain


def finished(truth: dict[str, np.ndarray], folders: list[pathlib.Path]) -> dict[str, np.ndarray]:
    """Returns what is true of the pictures that all runs have results of; raises `UserError` if there is none."""
    names = [f"{number:06d}" for number in range(len(truth["image"]))]
    kept = [
        k
        for k, name in enumerate(names)
        if all((folder / "results" / name / "result.json").is_file() for folder in folders)
    ]
    if not kept:
        raise UserError(f"no picture has a result in every one of {', '.join(map(str, folders))}")
    return {key: value[kept] for key, value in (truth | {"name": np.array(names)}).items()}


def measured(truth: dict[str, np.ndarray], explain: Callable) -> dict[str, np.ndarray]:
    """Returns the errors of a row on every picture."""
    camera = Camera(image_size=truth["depth"].shape[-1])
    results = [explain(truth, number) for number in range(len(truth["depth"]))]
    farthest = np.where((truth["depth"] > 0) & (truth["depth"] < camera.max_depth), truth["depth"], camera.max_depth)
    depths, farthest = np.stack([depth for depth, _ in results]), farthest.astype(np.float32)
    errors = metrics.depth_errors(depths, farthest, camera)
    mask = metrics.evaluation_mask(jnp.asarray(farthest), jnp.ones(farthest.shape))
    for _ in range(_RIM * camera.width // 64):
        mask = metrics.erode(mask)
    result = {"side": errors["side"], "inside": metrics.side(depths, farthest, mask), "mad": errors["mad_unit"]}
    if results[0][1] is not None:
        off = np.abs(np.stack([view for _, view in results]) - np.degrees(truth["view"][:, :2]))
        result |= {"pitch": off[:, 0], "yaw": off[:, 1]}
    return result


def arguments(
    parser: argparse.ArgumentParser, data: pathlib.Path, model_files: Iterable[pathlib.Path]
) -> argparse.Namespace:
    """Parses the command line of a table, given what it is of by default."""
    parser.add_argument("--data", type=pathlib.Path, default=data, help="as folders.py packs it")
    parser.add_argument("--model", nargs="+", default=[*model_files], help="files of lifted models")
    parser.add_argument("--config", default="", help="of lifted models (default: that of their category)")
    parser.add_argument("--results", nargs="+", type=pathlib.Path, default=[], help="folders of runs on the pictures")
    return parser.parse_args()


def ways(options: argparse.Namespace, mean: np.ndarray, category: str) -> dict[str, Explain]:
    """Returns what each row makes of a picture: the depth in its view, and pitch and yaw or None.

    `mean` is a depth for all, `category` whose prior is fitted to the true masks.
    """
    config, flat = load_config("own").unlock(), np.ones(mean.shape, np.float32)
    lifted = {"/".join(pathlib.Path(model).parts[-2:]): _network(model, options.config) for model in options.model}
    config.category, config.prior.shape = category, "whole_ellipsoid"  # networks start from it
    return {
        "flat": lambda truth, number: (flat, None),
        "mean": lambda truth, number: (mean, None),
        "ellipsoid": lambda truth, number: (prior.prior_depth(config, truth["mask"][number].astype(np.float32)), None),
        **{f"networks ({name})": explain for name, explain in lifted.items()},
        **{f"run ({folder.name})": _run(folder) for folder in options.results},
    }


def by_yaw(truth: Mapping[str, np.ndarray], edges: Iterable[float]) -> dict[str, np.ndarray]:
    """Returns which pictures are turned so far from the canonical view, by the names of the groups; degrees."""
    yaw, ends = np.abs(np.degrees(truth["view"][:, 1])), [*edges]
    return {f"yaw {low} to {high}": (yaw >= low) & (yaw <= high) for low, high in zip(ends, ends[1:])}


def show(
    options: argparse.Namespace,
    mean: np.ndarray,
    category: str,
    groups: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]],
    more: Mapping[str, Explain] | None = None,
) -> None:
    """Prints the table in Markdown; groups without a picture have no row, `more` are rows of its own."""
    try:
        truth = finished(folders.load(options.data), options.results)
        rows = []
        for name, explain in ({**ways(options, mean, category), **(more or {})}).items():
            errors = measured(truth, explain)
            for group, chosen in {"all": np.ones(len(truth["image"]), bool), **groups(truth)}.items():
                if not chosen.any():
                    continue
                cells = [
                    mean_text(mean_of(errors[key][chosen]), places) if key in errors else ""
                    for key, places in _DIGITS.items()
                ]
                rows.append([name, group, str(chosen.sum()), *cells])
        print(markdown_table(["", "", "pictures", "SIDE", "inside", "MAD", "pitch off", "yaw off"], rows))
    except (OSError, UserError) as error:
        sys.exit(f"error: {error}")
