"""Whether a GAN turns heads as solid ones turn: what its turned pictures say of a shape, beside renderings that can.

    python benchmarks/faces/rigidity.py --sources DIR

DIR as for `render.py`. Heads are seen from in front and turned by 12, 20 and 28 degrees to either side: *rendered* from
the two families, the light standing still or turning with the head; *turned*, the GAN's samples moved along its axis of
yaw; and *own*, the model's renderings of its samples, seen by a model with 0.85 of the relief, so that what is missing
is known. Every picture is flattened by the model's depth of the frontal one and its view; what optical flow then still
sees, averaged over heads, is explained in least squares by one symmetric change of depth and by shifts, or by rotations
too. Columns: by how much textures are displaced, and what no solid head explains of it (rms, pixels); how large the
change is (scene units), and its correlation with what the model's mean truly lacks; by how much heads turn more than V
sees (degrees, at the three steps; rendered: than is true).
"""

import argparse
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator

import cv2
import drawing
import jax
import jax.numpy as jnp
import numpy as np
import render
import sources
from scipy.sparse import coo_array
from scipy.sparse.linalg import lsqr

from gan2shape_jax.config import load_config
from gan2shape_jax.geometry import camera as cam
from gan2shape_jax.geometry.render import warp_depth
from gan2shape_jax.geometry.resample import grid_sample
from gan2shape_jax.lift import samples
from gan2shape_jax.method import models, pose_edit, projection, reconstruction
from gan2shape_jax.method.factors import blend_border
from gan2shape_jax.method.streams import Stream
from gan2shape_jax.run import prepare
from gan2shape_jax.run.plan import resolve

_YAWS = np.radians([0, 12, 20, 28, -12, -20, -28])
_INSIDE = np.s_[14:52, 18:46]  # of 64 pixels: brows to chin
_SOLVED = np.s_[12:54, 16:48]
_FINER, _STIFF = 4, 0.3  # pixels that flow sees for one, and the weight of the change's differences
_EPS = 1e-3
_LESS = 0.85  # of the relief
_FARTHEST = 1.08  # depth, beyond which a head is not compared
_FIRST = 10**6  # number of the first sample

Pictures = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]  # images, views, true depth of the first


class Bench:
    """A model with its GAN."""

    def __init__(self, name: str):
        config, lifting = load_config(name), load_config(f"{name}:lift")
        architecture, self.frozen = prepare.load_frozen(resolve(lifting))
        self.maker = samples.maker_of(lifting, architecture, self.frozen)
        self.settings = dataclasses.replace(self.maker.settings, mirrored=True)
        self.params = prepare.initial_params(resolve(config), self.settings)
        self.pose_edit = resolve(config).pose_edit

    def rendered(self, folder: pathlib.Path, count: int, *, with_head: bool) -> Pictures:
        """Draws persons of the training split without glasses, seen with the method's lens."""
        options = argparse.Namespace(seed=77, split="train", pictures=1, yaw=0.0, fov=10.0, turned=None)
        families = render.heads(folder, folder)
        devices = {name: drawing.on_device(family) for name, family in families.items()}
        for number in range(count):
            name = sources.FAMILIES[number % 2]
            persons, scenes = render.described(families[name]["names"], name, [number] * len(_YAWS), options)
            persons["weights"] = persons["weights"] - families[name]["mean"]
            persons["glasses"] *= 0
            scenes["gaze"] *= 0
            scenes["view"][:, 1] = _YAWS
            if with_head:
                turns = np.asarray(cam.rotation_matrix(jnp.asarray(scenes["view"][:, :3])))
                for light in ("key_direction", "lobes"):
                    scenes[light] = np.einsum("nij,n...j->n...i", turns, scenes[light]).astype(np.float32)
            drawn = drawing.draw(devices[name], persons, scenes, size=64, supersample=3)
            yield np.float32(drawn["image"]) / 127.5 - 1, scenes["view"], np.asarray(drawn["depth"][0])

    def sampled(self, count: int, *, own: bool) -> Pictures:
        """Draws the GAN's samples, from in front and turned, or the model's renderings of them."""
        for first in range(_FIRST, _FIRST + count, 8):
            for latent in self.maker.images(Stream.HELD_OUT_SAMPLE, range(first, min(first + 8, _FIRST + count)))[1]:
                steps = np.interp(_YAWS, self.pose_edit.values[0], pose_edit.OFFSETS[0])
                turned = [pose_edit.along(self.pose_edit.subspace, latent[None], 0, step)[0] for step in steps]
                latents = np.stack(turned)
                yield _predicted(self.params, latents, self.frozen, self.settings, own=own)


@functools.partial(jax.jit, static_argnames="own")
def _predicted(params, latents, frozen, settings, *, own: bool):
    images = projection.synthesize(latents, frozen, settings)
    views = models.views(params, images, frozen.view_mean, settings)
    depth = None
    if own:
        lights = models.lights(params, images, frozen.light_mean, settings)
        depth = blend_border(models.depth(params, images[:1], settings), settings.camera)
        scene = reconstruction.scene(depth, views, lights, settings)
        albedo = models.albedo(params, images[:1], depth, views[:1], lights[:1], settings)
        images = reconstruction.appearance(scene, albedo)[0]
    return images, views, None if depth is None else depth[0]


@jax.jit
def _flattened(params, images, views, settings, relief):
    """Returns depth of the first image; textures, where they are seen, and how depth and rotations displace them."""
    camera = settings.camera
    depth = blend_border(models.depth(params, images[:1], settings), camera)[0]
    depth = relief * depth + (1 - relief) * depth.mean()

    def pixels(depth, views):
        return (cam.warped_grid(depth, views, camera) + 1) / 2 * (camera.width - 1)

    there = pixels(depth, views)
    grid = cam.to_grid(there, camera)
    sheets = jnp.broadcast_to(depth, (len(views), *depth.shape))
    hidden = grid_sample(warp_depth(sheets, views, camera)[..., None], grid)[..., 0]
    visible = jnp.abs(hidden - cam.moved_points(sheets, views, camera)[..., 2]) < 0.006
    # What moves a pixel in the picture moves it on the sheet by the inverse of the sheet's projection.
    moving = jnp.stack([jnp.gradient(there, axis=2), jnp.gradient(there, axis=1)], -1)
    facing = jnp.linalg.det(moving) > 0.35
    inverse = jnp.linalg.inv(jnp.where(facing[..., None, None], moving, jnp.eye(2)))
    changes = [pixels(depth + _EPS, views)] + [pixels(depth, views + _EPS * direction) for direction in jnp.eye(6)]
    moved = jnp.stack([(change - there) / _EPS for change in changes], -1)
    effects = jnp.einsum("nhwij,nhwjk->nhwik", inverse, moved)
    effects = effects.at[..., 0].add(-effects[:1, ..., 0])
    return depth, grid_sample(images, grid), visible & facing & (jnp.abs(grid) < 1).all(-1), effects


def _contrast(texture: np.ndarray) -> np.ndarray:
    """Returns a finer grey picture without what varies slowly, uint8."""
    grey = cv2.resize(texture.mean(-1), None, fx=_FINER, fy=_FINER, interpolation=cv2.INTER_CUBIC)
    high = grey - cv2.GaussianBlur(grey, (0, 0), 12)
    return np.clip(128 + 50 * high / (np.sqrt(cv2.GaussianBlur(high**2, (0, 0), 24)) + 0.05), 0, 255).astype(np.uint8)


def measured(
    pictures: Pictures, flatten: Callable, relief: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns weights, mean displacements and effects for every turn, and what the mean shape truly lacks."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow.setFinestScale(0)
    places = np.mgrid[: 64 * _FINER, : 64 * _FINER].astype(np.float32)[::-1]
    sums, lacking = [0.0, 0.0, 0.0], []
    for images, views, true in pictures:
        depth, textures, visible, effects = map(np.asarray, flatten(images, views, relief=relief))
        if true is not None:
            off = np.ma.masked_where((true == 0) | (true > _FARTHEST), true - depth)
            lacking.append(off - off[_INSIDE].mean())
        finer = [_contrast(texture) for texture in textures]
        edges = cv2.GaussianBlur(cv2.Sobel(textures[0].mean(-1), cv2.CV_32F, 1, 0) ** 2, (0, 0), 1.2)
        for turn in range(1, len(finer)):
            there, back = flow.calc(finer[0], finer[turn], None), flow.calc(finer[turn], finer[0], None)
            returned = cv2.remap(back, *(places + np.moveaxis(there, -1, 0)), cv2.INTER_LINEAR)
            moved, astray = (
                cv2.resize(part, (64, 64), interpolation=cv2.INTER_AREA) / _FINER for part in (there, there + returned)
            )
            weight = edges / (edges + 0.15**2) * visible[turn] * visible[0] * (np.abs(moved).max(-1) < 3)
            weight = weight / (1 + (astray**2).sum(-1) / 0.5**2)
            for place, part in enumerate((weight, weight[..., None] * moved, weight[..., None, None] * effects[turn])):
                more = np.zeros((len(finer), *part.shape))
                more[turn] = part
                sums[place] = sums[place] + more
    weights = np.maximum(sums[0], 1e-6)
    lacks = np.ma.stack(lacking).mean(0).filled(0) if lacking else np.zeros((64, 64))
    return sums[0], sums[1] / weights[..., None], sums[2] / weights[..., None, None], (lacks + lacks[:, ::-1]) / 2


def explained(weights, displaced, effects, *, turns: bool) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Returns displacements, what is left of them, the symmetric change of depth, and rotations for each step."""
    height, half = weights[0][_SOLVED].shape[0], weights[0][_SOLVED].shape[1] // 2
    left = np.arange(height * half).reshape(height, half)
    index, rows, count = np.concatenate([left, left[:, ::-1]], 1).ravel(), [], height * half
    for turn in range(1, 7):
        step, mirrored = (turn - 1) % 3, models.MIRRORED["view"] if turn > 3 else [1] * 6
        weight = np.sqrt(weights[turn][_SOLVED] / weights.max()).ravel()
        for axis in (0, 1):
            effect = weight[:, None] * effects[turn][_SOLVED][..., axis, :].reshape(-1, 7)
            columns = [(index, effect[:, 0])]
            for part in range(6) if turns else (3, 4):
                column = np.full(len(index), count + 6 * step + part)
                columns.append((column, _EPS * 10 * mirrored[part] * effect[:, 1 + part]))
            rows.append((columns, weight * displaced[turn][_SOLVED][..., axis].ravel()))
    for first, other in ((left[:-1], left[1:]), (left[:, :-1], left[:, 1:])):
        stiff = np.full(first.size, _STIFF)
        rows.append(([(first.ravel(), stiff), (other.ravel(), -stiff)], np.zeros(first.size)))
    starts = np.cumsum([0] + [len(targets) for _, targets in rows])
    entries = [
        (start + np.arange(len(column)), column, value)
        for start, (columns, _) in zip(starts, rows, strict=False)
        for column, value in columns
    ]
    line, column, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    matrix = coo_array((value, (line, column)), shape=(starts[-1], count + 18)).tocsr()
    targets = np.concatenate([targets for _, targets in rows])
    solution = lsqr(matrix, targets, damp=1e-4, iter_lim=20000, atol=1e-10, btol=1e-10)[0]
    change = np.zeros((64, 64))
    change[_SOLVED] = solution[index].reshape(height, 2 * half)
    rms = (float(np.sqrt(np.mean(np.square(off)))) for off in (targets, targets - matrix @ solution))
    return *rms, change, solution[count:].reshape(3, 6) * _EPS * 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=pathlib.Path, required=True, help="folder of the clones, as for `render.py`")
    parser.add_argument("--model", default="people", help="a model of heads that is bundled")
    parser.add_argument("--count", type=int, default=24, help="heads of each kind")
    options = parser.parse_args()
    bench = Bench(options.model)
    flatten = functools.partial(_flattened, bench.params, settings=bench.settings)
    kinds = {
        "rendered": bench.rendered(options.sources, options.count, with_head=False),
        "rendered, light turns": bench.rendered(options.sources, options.count, with_head=True),
        "turned": bench.sampled(options.count, own=False),
        "own, known": bench.sampled(options.count, own=True),
    }
    lacks = None
    names = ("displaced", "left", "change", "correlation", "left, turned freely", "turns more")
    print("| |", " | ".join(names), "|\n" + "|---" * (len(names) + 1) + "|")
    for kind, pictures in kinds.items():
        *parts, lacking = measured(pictures, flatten, _LESS if "known" in kind else 1)
        lacks = lacking[_INSIDE] if lacking.any() else lacks
        before, left, change, _ = explained(*parts, turns=False)
        _, freely, _, rotations = explained(*parts, turns=True)
        change = change[_INSIDE]
        correlation = np.corrcoef(change.ravel(), lacks.ravel())[0, 1]
        more = ", ".join(f"{yaw:.1f}" for yaw in np.degrees(rotations[:, 1]))
        print(
            f"| {kind} | {before:.3f} | {left:.3f} | {change.std():.4f} | {correlation:.2f} | {freely:.3f} | {more} |"
        )


if __name__ == "__main__":
    main()
