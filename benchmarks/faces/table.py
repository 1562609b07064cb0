"""One table: how far methods are from the true depth of rendered faces, by family and by yaw.

    python benchmarks/faces/table.py                                        # the committed test split
    python benchmarks/faces/table.py --data benchmarks/faces/data/validation --model lifted/model.safetensors
    python benchmarks/faces/table.py --results results/refined results/scratch

SIDE and MAD (unit normals, degrees) over the object less its outermost pixel, as `gan2shape-jax evaluate` has them;
inside: SIDE less four pixels of 64 more; yaw and pitch: mean absolute errors of the view, degrees. Means with 95%
intervals over persons (Student's t). `flat` is a plane, `mean` the mean depth of 256 pictures of the training split,
`ellipsoid` the prior fitted to the true mask; they know no view. `--model` takes lifted models and Unsup3D's networks,
`--ceiling` depth networks trained with true depth (`learn.py`), `--results` folders of runs on these pictures
(`committed.py unpack`): all rows are then of the pictures that all of these folders have results of, so that rows can
be compared. The background is cut off at the method's greatest depth, 1.1.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Iterator

import committed
import jax
import jax.numpy as jnp
import numpy as np
import sources

import gan2shape_jax
from gan2shape_jax.apps.evaluate.reports import interval_text, markdown_table, mean_interval
from gan2shape_jax.config import load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io.bundled import MODEL, weights_file
from gan2shape_jax.method import metrics, models, prior

_YAWS = (0, 15, 30, 45, 60, 75)  # degrees
_RIM = 4  # pixels of 64
_MODELS = [weights_file(kind, MODEL) for kind in ("ictface", "head")]


Explain = Callable[[dict, int], tuple[np.ndarray, np.ndarray | None]]


def _network(model: str) -> Explain:
    networks = committed.networks_of(pathlib.Path(model))

    def explain(truth: dict, number: int) -> tuple[np.ndarray, np.ndarray]:
        result = networks.reconstruct(truth["image"][number])
        return result.input_depth, np.degrees(result.view[:2])

    return explain


def _ceiling(model: str) -> Explain:
    networks = committed.networks_of(pathlib.Path(model)).networks
    depth = jax.jit(lambda image: models.depth(networks.params, image[None] / 127.5 - 1, networks.settings)[0])
    return lambda truth, number: (np.asarray(depth(truth["image"][number].astype(np.float32))), None)


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


def ways(networks: list[str], ceilings: list[str], runs: list[pathlib.Path], size: int) -> dict[str, Explain]:
    """Returns what each row makes of a picture: the depth in its view, and pitch and yaw or None."""
    mean, config = np.load(committed.MEAN), load_config("ictface:scratch").unlock()  # networks that start from it
    config.prior.shape = "whole_ellipsoid"
    return {
        "flat": lambda truth, number: (np.ones((size, size), np.float32), None),
        "mean": lambda truth, number: (mean, None),
        "ellipsoid": lambda truth, number: (prior.prior_depth(config, truth["mask"][number].astype(np.float32)), None),
        **{f"networks ({'/'.join(pathlib.Path(model).parts[-2:])})": _network(model) for model in networks},
        **{f"ceiling ({pathlib.Path(model).stem})": _ceiling(model) for model in ceilings},
        **{f"run ({folder.name})": _run(folder) for folder in runs},
    }


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


def groups(truth: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the names of groups of pictures, and which are in them."""
    yaw = np.abs(np.degrees(truth["view"][:, 1]))
    yield "all", yaw >= 0
    for number, family in enumerate(sources.FAMILIES):
        yield family, truth["family"] == number
    for low, high in zip(_YAWS, _YAWS[1:]):
        yield f"yaw {low} to {high}", (yaw >= low) & (yaw <= high)


def over_persons(values: np.ndarray, truth: dict[str, np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """Returns the mean of each person's chosen pictures."""
    keys = truth["person"] * 2 + truth["family"]
    return np.array([values[chosen & (keys == key)].mean() for key in np.unique(keys[chosen])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=committed.DATA / "test", help="as committed.py packs it")
    parser.add_argument("--model", nargs="+", default=_MODELS, help="files of lifted models, or networks")
    parser.add_argument("--ceiling", nargs="+", default=[], help="files of depth networks trained with true depth")
    parser.add_argument("--results", nargs="+", type=pathlib.Path, default=[], help="folders of runs on the pictures")
    options = parser.parse_args()
    try:
        print(table(finished(committed.packed.load(options.data), options.results), options))
    except (OSError, UserError) as error:
        sys.exit(f"error: {error}")


def table(truth: dict[str, np.ndarray], options: argparse.Namespace) -> str:
    """Returns the table of pictures, in Markdown; groups without a picture have no row."""
    rows = []
    for name, explain in ways(options.model, options.ceiling, options.results, truth["depth"].shape[-1]).items():
        errors = measured(truth, explain)
        for group, chosen in groups(truth):
            if not chosen.any():
                continue
            digits = {"side": 4, "inside": 4, "mad": 1, "pitch": 1, "yaw": 1}
            cells = [
                interval_text(mean_interval(over_persons(errors[key], truth, chosen)), places) if key in errors else ""
                for key, places in digits.items()
            ]
            rows.append([name, group, str(chosen.sum()), *cells])
    return markdown_table(["", "", "pictures", "SIDE", "inside", "MAD", "pitch off", "yaw off"], rows)


if __name__ == "__main__":
    main()
