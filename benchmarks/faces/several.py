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
all, and how many come first.

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
from gan2shape_jax.geometry import render
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo
from gan2shape_jax.io.bundled import cache
from gan2shape_jax.io.grabcut import grabcut_mask
from gan2shape_jax.method import metrics
from gan2shape_jax.photos import explain, pipeline


def _names(folder: pathlib.Path) -> list[str]:
    return [pathlib.Path(line.split()[0]).stem for line in (folder / "list.txt").read_text().splitlines() if line]


def _depth(folder: pathlib.Path, name: str, farthest: float) -> np.ndarray:
    depth = np.load(folder / "depth" / f"{name}.npy").astype(np.float32)
    return np.where((depth > 0) & (depth < farthest), depth, farthest)


def _persons(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(folder / "truth.npz") as truth:
        return 2 * truth["person"] + truth["family"], truth["view"]


def _own_shapes(shapes: np.ndarray, truths: np.ndarray, mask: np.ndarray) -> str:
    """Returns how shapes (p, s, s) go with true ones, each less the mean of all: correlation, rank of the right one."""
    own, true = (values[:, mask] - values[:, mask].mean(axis=1, keepdims=True) for values in (shapes, truths))
    own, true = own - own.mean(axis=0), true - true.mean(axis=0)
    products = own @ true.T / np.outer(np.linalg.norm(own, axis=1), np.linalg.norm(true, axis=1))
    apart = np.linalg.norm(own[:, None] - true[None], axis=-1)
    rank = 1 + (apart < np.diagonal(apart)[:, None]).sum(axis=1)
    return f"{np.diagonal(products).mean():.2f}, median rank {np.median(rank):.0f}, first {(rank == 1).sum()}"


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
    parser.add_argument("--front", type=pathlib.Path, help="pictures of the same persons from in front")
    parser.add_argument("--files", action="store_true", help="have `g2s.photo` find and frame the faces")
    options = parser.parse_args()
    program_cache.set_cache_dir(cache("programs"))
    if options.files:
        _of_files(options)
        return
    model, finder = g2s.load_model("people"), pipeline.load_photo_model(explain.load_kind("people"), log=print).finder
    mean_mask = np.asarray(Image.fromarray(finder.mean_mask).resize((64, 64), Image.Resampling.BILINEAR))
    names, (who, views), camera = _names(options.heads), _persons(options.heads), model.networks.settings.camera
    rows, alone_shapes, shapes, truths = [], [], [], []
    for person in np.unique(who)[: options.persons]:
        chosen = np.flatnonzero(who == person)[: options.pictures]
        images, masks = [], []
        for name in (names[number] for number in chosen):
            images.append(np.asarray(Image.open(options.heads / "image" / f"{name}.png").convert("RGB")))
            true = np.asarray(Image.open(options.heads / "mask" / f"{name}.png").convert("L"), np.float32) / 255
            found = grabcut_mask(images[-1].astype(np.float32) / 127.5 - 1, mean_mask)
            masks.append({"found": found, "true": true, "none": np.ones_like(true)}[options.masks])
        alone = [model.reconstruct(image) for image in images]
        begun = time.time()
        joint = model.reconstruct(images, mask=masks)
        seconds = time.time() - begun
        order = {photograph.name: photograph for photograph in joint.photographs}
        photographs = [order[key] for key in sorted(order, key=lambda key: int(key.rsplit("-", 1)[-1]))]
        seen = np.stack([photograph.seen_from(camera) for photograph in photographs])
        drawn = np.asarray(render.warp_depth(np.repeat(joint.depth[None], len(seen), 0), seen, camera))
        truth = np.stack([_depth(options.heads, names[number], camera.max_depth) for number in chosen])
        errors = [
            metrics.depth_errors(depth, truth, camera)
            for depth in (np.stack([result.input_depth for result in alone]), drawn)
        ]
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
        if options.front:
            front, (ids, _) = _names(options.front), _persons(options.front)
            seen_there = np.flatnonzero(ids == person)
            truths.append(np.mean([_depth(options.front, front[k], camera.max_depth) for k in seen_there], axis=0))
    table, family = np.array(rows, float), np.unique(who)[: options.persons] % 2
    for title, some in (("all", family >= 0), ("first family", family == 0), ("second", family == 1)):
        before, mad, after, mad_after, yaw, yaw_after, seconds, taken = table[some].mean(axis=0)
        worse = (table[some, 2] > table[some, 0]).sum()
        print(f"{title}: SIDE {before:.4f} to {after:.4f}, MAD {mad:.1f} to {mad_after:.1f}, {worse} worse", end=", ")
        print(f"yaw {yaw:.1f} to {yaw_after:.1f}, taken {taken:.0%}, {seconds:.1f} s each")
    if options.front:
        mask = alone[0].mask > 0.5
        for title, found in (("alone", alone_shapes), ("joint", shapes)):
            print(f"own shape, {title}: correlation {_own_shapes(np.stack(found), np.stack(truths), mask)}")


if __name__ == "__main__":
    main()
