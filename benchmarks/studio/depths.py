"""One table: how far methods are from the true depth of rendered faces or cars, by family and by yaw.

    python benchmarks/studio/depths.py faces                                # the committed test split
    python benchmarks/studio/depths.py faces --data benchmarks/faces/data/validation --model lifted/model.safetensors
    python benchmarks/studio/depths.py cars --results results/refined results/scratch

`flat` is a plane, `mean` the mean depth of 256 pictures of the training split, `ellipsoid` the prior fitted to the true
mask, `box` a cuboid of the training cars' mean length, width and height that is seen as the picture's car truly is; the
others know no view. `--model` takes lifted models, `--results` folders of runs on these pictures (`folders.py unpack`):
all rows are then of the pictures that all of these folders have results of, so that rows can be compared.

SIDE and MAD (unit normals, degrees) over the object less its outermost pixel, as `gan2shape-jax evaluate` has them;
inside: SIDE less four pixels of 64 more; yaw and pitch: mean absolute errors of the view, degrees. Means with 95%
intervals (Student's t) over pictures, each of another person or car. The background is cut off at the method's
greatest depth, 1.1.
"""

import argparse
import functools
import pathlib
import sys
from collections.abc import Callable, Mapping

import chance
import folders
import jax
import jax.numpy as jnp
import numpy as np

import gan2shape_jax
from gan2shape_jax.apps.evaluate import markdown_table, mean_of, mean_text
from gan2shape_jax.config import load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.mesh_rasterizer import rasterize
from gan2shape_jax.io.bundled import MODEL, names_of, weights_file
from gan2shape_jax.method import metrics, prior

_HERE = pathlib.Path(__file__).resolve().parents[1]
_RIM = 4  # pixels of 64
_YAWS = (0, 15, 30, 45, 60, 75)  # degrees from the canonical view
_CATEGORIES = {"faces": "ictface", "cars": "car"}  # whose prior is fitted
_CARS = 256  # whose measures are averaged
# Corners of the cube, and its sides as triangles.
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
_SIDES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
_FACES = np.array([[side[0], *side[k : k + 2]] for side in _SIDES for k in (1, 2)])
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


def groups(truth: Mapping[str, np.ndarray], what: str) -> dict[str, np.ndarray]:
    """Returns the groups of pictures: families of faces or kinds of cars, and how far they are turned."""
    if what == "faces":
        import sources

        named = {family: truth["family"] == number for number, family in enumerate(sources.FAMILIES)}
    else:
        import cars

        named = {kind: truth["kind"] == number for number, kind in enumerate(cars.KINDS)}
    yaw = np.abs(np.degrees(truth["view"][:, 1]))
    return named | {f"yaw {low} to {high}": (yaw >= low) & (yaw <= high) for low, high in zip(_YAWS, _YAWS[1:])}


def _boxes() -> Explain:
    """Returns what has a cuboid of a mean car's sides in the true view, and the farthest depth where it is not."""
    import cars
    import drawing

    known = chance.stacked([cars.car(chance.generator(0, chance.SPLITS.index("train"), k, 0)) for k in range(_CARS)])
    mean = {name: known[name].mean() for name in ("long", "wide", "high")}
    corners = _CORNERS * np.array([mean["wide"], mean["high"], mean["long"]]) * drawing.unit_of(mean) / 2

    @functools.partial(jax.jit, static_argnames="size")
    def drawn(view: jax.Array, size: int) -> jax.Array:
        points = corners @ drawing.turn_of(view).T + view[3:] + jnp.array([0, 0, 1.0])
        fragments = rasterize(points, Camera(image_size=size), faces=jnp.asarray(_FACES))
        return jnp.where(fragments.triangle >= 0, fragments.depth, folders.FARTHEST)

    return lambda truth, number: (np.asarray(drawn(truth["view"][number], truth["depth"].shape[-1])), None)


def _show(options: argparse.Namespace, data: pathlib.Path) -> None:
    """Prints the table in Markdown; groups without a picture have no row."""
    mean = np.load(data / "train_mean.npy")
    every = ways(options, mean, _CATEGORIES[options.what]) | ({"box": _boxes()} if options.what == "cars" else {})
    truth, rows = finished(folders.load(options.data), options.results), []
    for name, explain in every.items():
        errors = measured(truth, explain)
        for group, chosen in {"all": np.ones(len(truth["image"]), bool), **groups(truth, options.what)}.items():
            if chosen.any():
                cells = [
                    mean_text(mean_of(errors[key][chosen]), places) if key in errors else ""
                    for key, places in _DIGITS.items()
                ]
                rows.append([name, group, str(chosen.sum()), *cells])
    print(markdown_table(["", "", "pictures", "SIDE", "inside", "MAD", "pitch off", "yaw off"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=_CATEGORIES)
    parser.add_argument("--data", type=pathlib.Path, help="as folders.py packs it (default: the test split)")
    parser.add_argument("--model", nargs="+", help="files of lifted models (default: those that are bundled)")
    parser.add_argument("--config", default="", help="of lifted models (default: that of their category)")
    parser.add_argument("--results", nargs="+", type=pathlib.Path, default=[], help="folders of runs on the pictures")
    options = parser.parse_args()
    sys.path.insert(0, str(_HERE / options.what))
    data = _HERE / options.what / "data"
    bundled = [file for name, file in names_of(MODEL).items() if name == "car"]
    if options.what == "faces":
        bundled = [weights_file("ictface", MODEL), data / "head" / "model.safetensors", weights_file("people", MODEL)]
    options.data, options.model = options.data or data / "test", options.model or bundled
    try:
        _show(options, data)
    except (OSError, UserError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
