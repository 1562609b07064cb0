"""One shape from several pictures of each person, beside each picture alone: errors, and what of a shape is one's own.

    heads="--sources DIR --split test --seed 93 --pictures 12 --count 288"
    python benchmarks/faces/render.py $heads --out turned --turned 45 15
    python benchmarks/faces/render.py $heads --out front --yaw 0
    python benchmarks/faces/several.py turned --pictures 6 --front front

SIDE and MAD (unit normals, degrees) in the view of each picture, as `gan2shape-jax evaluate` has them; yaw: the views'
mean absolute error, degrees. Without masks, as photographs have none that are sure; with those that GrabCut finds
(`--masks found`); or with the true ones.

Own shape, by the mean true depth of the same persons' pictures from in front: a shape less the mean of all persons' is
compared with the truth less its mean inside the model's mask; the mean correlation, the rank of the right truth among
all, and how many come first. With `--halves`, with the shape of as many other pictures of the same person.

    python benchmarks/faces/several.py large --pictures 6 --size 128     # of pictures of 128 pixels or more
    python benchmarks/cars/render.py --split test --seed 93 --pictures 6 --count 72 --out cars
    python benchmarks/faces/several.py cars --pictures 6 --persons 12 --model car

Errors are those at the folder's size, whatever `--size` the fit is given; other numbers are per picture.

    python benchmarks/faces/several.py turned --pictures 6 --files

has `g2s.photo` find and frame the faces in the files (of 128 pixels: `render.py --size 128`), and measures the picture
that the result shows: alone, and in the shape of all.
"""

import argparse
import pathlib
import time

import numpy as np
from PIL import Image
from scipy import ndimage

import gan2shape_jax as g2s
from gan2shape_jax import program_cache
from gan2shape_jax.geometry import render, resample
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo
from gan2shape_jax.io.bundled import cache
from gan2shape_jax.io.grabcut import grabcut_mask
from gan2shape_jax.method import metrics
from gan2shape_jax.method.joint_refinement import enlarged_camera, enlarged_depth
from gan2shape_jax.photos import explain, pipeline


def _names(folder: pathlib.Path) -> list[str]:
    return [pathlib.Path(line.split()[0]).stem for line in (folder / "list.txt").read_text().splitlines() if line]


def _depth(folder: pathlib.Path, name: str, farthest: float) -> np.ndarray:
    depth = np.load(folder / "depth" / f"{name}.npy").astype(np.float32)
    return np.where((depth > 0) & (depth < farthest), depth, farthest)


def _persons(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(folder / "truth.npz") as truth:
        return truth["car"] if "car" in truth else 2 * truth["person"] + truth["family"], truth["view"]


def _own_shapes(shapes: np.ndarray, truths: np.ndarray, mask: np.ndarray) -> str:
    """Returns how shapes (p, s, s) go with true ones, each less the mean of all: correlation, rank of the right one."""
    own, true = (values[:, mask] - values[:, mask].mean(axis=1, keepdims=True) for values in (shapes, truths))
    own, true = own - own.mean(axis=0), true - true.mean(axis=0)
    products = own @ true.T / np.outer(np.linalg.norm(own, axis=1), np.linalg.norm(true, axis=1))
    apart = np.linalg.norm(own[:, None] - true[None], axis=-1)
    rank = 1 + (apart < np.diagonal(apart)[:, None]).sum(axis=1)
    return f"{np.diagonal(products).mean():.2f}, median rank {np.median(rank):.0f}, first {(rank == 1).sum()}"


def _shown(folder: pathlib.Path, kind: str, name: str, size: int) -> Image.Image:
    picture = Image.open(folder / kind / f"{name}.png")
    return picture if size == picture.width else picture.resize((size, size), Image.Resampling.BOX)


def _seen(depth: np.ndarray, views: np.ndarray, camera: Camera) -> np.ndarray:
    """Returns a canonical depth map as it is seen in views (k, 6), with as many pixels as the camera has."""
    if len(depth) != camera.image_size:
        depth = enlarged_depth(depth, camera)
    return np.asarray(render.warp_depth(np.repeat(depth[None], len(views), 0), views, camera))


def _in_crop(depth: np.ndarray, frame: dict, size: int, farthest: float) -> np.ndarray:
    """Returns a picture's true depth as the crop of it shows it, whose side is the unit of the method's scene."""
    box = CropBox(**frame)
    row, column = np.mgrid[:size, :size]
    points = crop_to_photo(np.stack([column, row], axis=-1) + 0.5, box, size) - 0.5
    at = [points[..., 1], points[..., 0]]
    seen = ndimage.map_coordinates(depth, at, order=1, cval=farthest)
    shown = ndimage.map_coordinates((depth < farthest).astype(np.float32), at, order=1) > 0.99
    return np.where(shown, 1 + (seen - 1) * len(depth) / box.side, farthest).astype(np.float32)


def _of_files(options: argparse.Namespace) -> None:
    """Prints the errors of the photographs that results show, where the program finds and frames faces itself."""
    names, (who, _) = _names(options.heads), _persons(options.heads)
    rows = []
    for person in np.unique(who)[: options.persons]:
        chosen = [names[number] for number in np.flatnonzero(who == person)[: options.pictures]]
        files = {f"{name}.png": options.heads / "image" / f"{name}.png" for name in chosen}
        try:
            joint = g2s.photo(list(files.values()))
        except g2s.UserError as error:
            print(f"{person}: {error}")
            continue
        shown = pathlib.Path(joint.photographs[0].name)
        alone = g2s.photo(files[shown.name])
        errors = []
        for result in (alone, joint):
            camera = result.camera
            true = _depth(options.heads, shown.stem, camera.max_depth)
            truth = _in_crop(true, result.metrics["frame"], camera.image_size, camera.max_depth)
            error = metrics.depth_errors(result.input_depth, truth, camera)
            errors += [float(error["side"]), float(error["mad_unit"])]
        facts = joint.metrics["photographs"]
        rows.append([*errors, facts["used"], bool(facts.get("better"))])
        print(f"{person}: {np.round(rows[-1], 4).tolist()}", flush=True)
    before, mad, after, mad_after, used, better = np.mean(rows, axis=0)
    worse = sum(row[2] > row[0] for row in rows)
    print(
        f"{len(rows)} results of {used:.1f} files: SIDE {before:.4f} to {after:.4f}, MAD {mad:.1f} to {mad_after:.1f}"
    )
    print(f"taken {better:.0%}, worse {worse}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("heads", type=pathlib.Path)
    parser.add_argument("--pictures", type=int, default=6, help="of each person")
    parser.add_argument("--persons", type=int, default=24)
    parser.add_argument("--masks", choices=("none", "found", "true"), default="none")
    parser.add_argument("--size", type=int, default=64, help="pixels of the pictures, up to the folder's")
    parser.add_argument("--model", default="people")
    parser.add_argument("--halves", action="store_true", help="fit as many other pictures of each as well")
    parser.add_argument("--front", type=pathlib.Path, help="pictures of the same persons from in front")
    parser.add_argument("--files", action="store_true", help="have `g2s.photo` find and frame the faces")
    options = parser.parse_args()
    program_cache.set_cache_dir(cache("programs"))
    if options.files:
        _of_files(options)
        return
    kind = explain.load_kind(options.model)
    model, finder = g2s.load_model(options.model), pipeline.load_photo_model(kind, log=print).finder
    mean_mask = np.asarray(Image.fromarray(finder.mean_mask).resize((options.size,) * 2, Image.Resampling.BILINEAR))
    names, (who, views), camera = _names(options.heads), _persons(options.heads), model.networks.settings.camera
    at_size = enlarged_camera(camera, Image.open(options.heads / "image" / f"{names[0]}.png").width)
    rows, alone_shapes, shapes, truths = [], [], [], []
    others, alone_means, alone_others = [], [], []

    def given(numbers: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Returns the pictures with these numbers and their masks."""
        images, masks = [], []
        for name in (names[number] for number in numbers):
            images.append(np.asarray(_shown(options.heads, "image", name, options.size).convert("RGB")))
            true = np.asarray(_shown(options.heads, "mask", name, options.size).convert("L"), np.float32) / 255
            found = grabcut_mask(images[-1].astype(np.float32) / 127.5 - 1, mean_mask)
            masks.append({"found": found, "true": true, "none": np.ones_like(true)}[options.masks])
        return images, masks

    for person in np.unique(who)[: options.persons]:
        chosen, more = np.split(np.flatnonzero(who == person)[: 2 * options.pictures], [options.pictures])
        images, masks = given(chosen)
        alone = [model.reconstruct(image) for image in images]
        begun = time.time()
        joint = model.reconstruct(images, mask=masks)
        seconds = time.time() - begun
        order = {photograph.name: photograph for photograph in joint.photographs}
        photographs = [order[key] for key in sorted(order, key=lambda key: int(key.rsplit("-", 1)[-1]))]
        seen = np.stack([photograph.seen_from(camera) for photograph in photographs])
        truth = np.stack([_depth(options.heads, names[number], camera.max_depth) for number in chosen])
        drawn = np.concatenate([_seen(result.depth, result.view[None], at_size) for result in alone])
        errors = [metrics.depth_errors(depth, truth, at_size) for depth in (drawn, _seen(joint.depth, seen, at_size))]
        yaws = [np.stack([result.view[1] for result in alone]), seen[:, 1]]
        off = [np.degrees(np.abs(yaw - views[chosen, 1])).mean() for yaw in yaws]
        facts = joint.metrics["photographs"]
        rows.append(
            [*(error[key].mean() for error in errors for key in ("side", "mad_unit")), *off, seconds, facts["better"]]
        )
        used = sum(photograph.used for photograph in photographs)
        print(f"{person}: SIDE {rows[-1][0]:.4f} to {rows[-1][2]:.4f}, used {used}, {facts['better']}", flush=True)
        alone_shapes.append(alone[0].depth)
        shapes.append(joint.depth)
        if options.halves:
            images, masks = given(more)
            others.append(model.reconstruct(images, mask=masks).depth)
            alone_others.append(np.mean([model.reconstruct(image).depth for image in images], axis=0))
            alone_means.append(np.mean([result.depth for result in alone], axis=0))
        if options.front:
            front, (ids, _) = _names(options.front), _persons(options.front)
            seen_there = np.flatnonzero(ids == person)
            truths.append(np.mean([_depth(options.front, front[k], camera.max_depth) for k in seen_there], axis=0))
    table, family = np.array(rows, float), np.unique(who)[: options.persons] % 2
    families = [("first family", family == 0), ("second", family == 1)] if options.model == "people" else []
    for title, some in [("all", family >= 0), *families]:
        before, mad, after, mad_after, yaw, yaw_after, seconds, taken = table[some].mean(axis=0)
        worse = (table[some, 2] > table[some, 0]).sum()
        print(f"{title}: SIDE {before:.4f} to {after:.4f}, MAD {mad:.1f} to {mad_after:.1f}, {worse} worse", end=", ")
        print(f"yaw {yaw:.1f} to {yaw_after:.1f}, taken {taken:.0%}, {seconds:.1f} s each")
    mask, side = alone[0].mask > 0.5, len(alone[0].mask)
    pairs = [("truth, alone", alone_shapes, truths), ("truth, joint", shapes, truths)] if options.front else []
    pairs += [("halves, alone", alone_means, alone_others), ("halves, joint", shapes, others)] if options.halves else []
    for title, *both in pairs:
        found, against = (np.asarray(resample.resize(np.stack(some)[..., None], side))[..., 0] for some in both)
        print(f"own shape, {title}: correlation {_own_shapes(found, against, mask)}")


if __name__ == "__main__":
    main()
