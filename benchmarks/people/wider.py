"""Whole heads: the model `people` moved into a frame 1.6 times as wide, from which a lift goes on.

    python benchmarks/people/wider.py moved --pictures HEADS/image WIDE/train --outline MEAN.png --out moved.safetensors
    gan2shape-jax --config=people:head:finetune --config.networks.pretrained=moved.safetensors
    python benchmarks/people/wider.py between lifted.safetensors --pictures HEADS/image WIDE/train --outline MEAN.png \\
        --out head.safetensors

Pictures are in the wide frame, 128 pixels (`--frame 1.6` of `faces/render.py` and `portraits.py`). `moved` teaches
depth, albedo, view and light what the narrow model says of the middle of each. Around the face is what has the outline
MEAN.png, a mean of masks: each of its rows half an ellipse, as deep as it is wide, but shoulders three quarters as deep
as the head, moved so that it goes on from the face. `between` writes a lifted model again, with a depth network that
is taught the mean of what that says and the lifted one.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict
from PIL import Image
from scipy import ndimage, sparse

import gan2shape_jax
from gan2shape_jax.config import load_config
from gan2shape_jax.geometry import resample
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io.bundled import MODEL, weights_file
from gan2shape_jax.io.files import atomic_bytes
from gan2shape_jax.io.weights import safetensors_bytes
from gan2shape_jax.lift.model_file import read_model
from gan2shape_jax.method import models
from gan2shape_jax.method.factors import blend_border, depth_from_raw
from gan2shape_jax.training.network_files import networks_bytes

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "quality"))
import bundle

FRAME = 1.6  # sides of the narrow frame
_FAR = 1.02  # depth of the outline, scene units
_FACE = 0.94  # of half the narrow frame: where the narrow model is still believed
_SHOULDERS = 0.75  # of the head's depth
_BATCH, _AT_ONCE = 16, 64
_STEPS = {"moved": 600, "between": 1000}
_RATES = {"depth": 5e-4, "albedo": 3e-4, "view": 3e-4, "light": 3e-4}

Arrays = dict[str, np.ndarray]


def pictures(folders: list[pathlib.Path], side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns pictures (N, side, side, 3), uint8, and the narrow frame's part of each, as large."""
    wide, narrow = [], []
    for path in (path for folder in folders for path in sorted(folder.glob("*.[jp][pn]g"))):
        with Image.open(path) as file:
            picture = file.convert("RGB")
        rim = (picture.width - picture.width / FRAME) / 2
        wide.append(np.asarray(picture.resize((side, side), Image.Resampling.BOX)))
        inner = (rim, rim, picture.width - rim, picture.height - rim)
        narrow.append(np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS, box=inner)))
    if not wide:
        raise SystemExit(f"error: there is no .jpg or .png in {', '.join(map(str, folders))}")
    return np.stack(wide), np.stack(narrow)


def body(outline: np.ndarray, pixel: float) -> np.ndarray:
    """Returns the depth (S, S) of what has an outline, the mean mask (S, S) in [0, 1]; `pixel` is a pixel's width."""
    size = len(outline)
    half = ndimage.gaussian_filter1d((outline + outline[:, ::-1] > 1).sum(1) / 2.0, 1.0)
    head = half[size // 4 : size * 9 // 16].max()  # the rows of the face
    deep = ndimage.gaussian_filter1d(np.where(half > head + 1, _SHOULDERS * head, np.minimum(half, head)), 1.5)
    across = np.abs(np.arange(size) - (size - 1) / 2) / np.maximum(half, 0.5)[:, None]
    cap = deep[:, None] * np.sqrt(np.clip(1 - across**2, 0, 1))
    return ndimage.gaussian_filter(_FAR - pixel * cap, 0.7).astype(np.float32)


def extension(known: np.ndarray) -> np.ndarray:
    """Returns the matrix (S * S, K) that goes on from values at K known pixels, harmonically, to zero at the edge."""
    size = len(known)
    number = np.arange(size * size).reshape(size, size)
    inner = np.zeros_like(known)
    inner[1:-1, 1:-1] = ~known[1:-1, 1:-1]
    rows = number[inner]
    beside = np.concatenate([rows + step for step in (-1, 1, -size, size)])
    laplace = sparse.csr_matrix(
        (-np.ones(len(beside)), (np.tile(np.arange(len(rows)), 4), beside)), (len(rows), size**2)
    )
    free = laplace[:, rows] + 4 * sparse.identity(len(rows))
    result = np.zeros((size * size, known.sum()), np.float32)
    result[known.ravel()] = np.eye(known.sum())
    result[rows] = sparse.linalg.spsolve(free.tocsc(), -laplace[:, known.ravel()].tocsc()).toarray()
    return result


def canonical_depth(networks: Any, params: Any, images: jax.Array) -> jax.Array:
    """Returns the mean of the depths of images and of their mirror images, (N, S, S)."""
    own, mirrored = jnp.split(models.depth(params, jnp.concatenate([images, images[:, :, ::-1]]), networks.settings), 2)
    return (own + mirrored[:, :, ::-1]) / 2


def moved_depth(mask: np.ndarray, around: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """Returns the function from depth in the narrow frame (N, S, S) to that in the wide one; see the module.

    `mask` is where the narrow model has its object, `around` (S, S) what is around it, in the wide frame.
    """
    size = len(mask)
    along = np.linspace(-FRAME, FRAME, size, dtype=np.float32)
    places = jnp.stack(jnp.meshgrid(along, along), -1)[None]
    face = ndimage.binary_erosion(mask > 0.5, iterations=3).astype(np.float32)
    within = resample.grid_sample(jnp.asarray(face)[None, ..., None], places)[0, ..., 0]
    known = (np.asarray(within) > 0.5) & (np.abs(places[0]).max(-1) < _FACE)
    onwards, pixels = jnp.asarray(extension(np.asarray(known))), np.nonzero(np.asarray(known).ravel())[0]

    def moved(depth: jax.Array) -> jax.Array:
        grid = jnp.broadcast_to(places, (len(depth), *places.shape[1:]))
        inside = 1 + (resample.grid_sample(depth[..., None], grid)[..., 0] - 1) / FRAME
        apart = (inside - around).reshape(len(depth), -1)[:, pixels]
        offset = apart.mean(1, keepdims=True)  # all that is around moves along; what is left fades out
        return (around.ravel() + offset + (apart - offset) @ onwards.T).reshape(inside.shape)

    return moved


def raw_depth(depth: jax.Array, camera: Camera) -> jax.Array:
    """Returns what a depth network has to say, before tanh, for depth (N, S, S): with a mean of zero."""
    unit = (2 * depth - camera.max_depth - camera.min_depth) / (camera.max_depth - camera.min_depth)
    raw = jnp.arctanh(jnp.clip(unit, -0.98, 0.98))
    return raw - raw.mean((1, 2), keepdims=True)


def every(function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """Returns a function's results for all rows."""
    parts = [
        jax.device_get(function(*(a[k : k + _AT_ONCE] for a in arrays))) for k in range(0, len(arrays[0]), _AT_ONCE)
    ]
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


def images_of(pictures: np.ndarray) -> jax.Array:
    return jnp.asarray(pictures, jnp.float32) / 127.5 - 1


def lessons(networks: Any, wide: np.ndarray, narrow: np.ndarray, outline: pathlib.Path) -> Arrays:
    """Returns what the narrow model says of pictures, told in the wide frame: `depth` before tanh."""
    settings, frozen, params = networks.settings, networks.frozen, models.published(networks.params)
    camera, model = settings.camera, read_model(weights_file("people", MODEL))
    assert model is not None
    pixel = 2 * np.tan(np.radians(camera.fov_deg) / 2) / (settings.image_size - 1)
    with Image.open(outline) as file:
        shares = np.asarray(file.convert("L").resize(wide.shape[1:3]), np.float32) / 255
    centre = load_config("people:head").camera.rot_center_depth
    turning = dataclasses.replace(settings, camera=dataclasses.replace(camera, rot_center_depth=centre))
    move = moved_depth(np.asarray(model.mask), jnp.asarray(body(shares, float(pixel))))

    @jax.jit
    def told(wide: jax.Array, narrow: jax.Array) -> Arrays:
        picture, middle = images_of(wide), images_of(narrow)
        raw = raw_depth(move(canonical_depth(networks, params, middle)), camera)
        depth = depth_from_raw(raw, camera)
        view = models.views(params, middle, frozen.view_mean, settings)
        view = view.at[:, 3:5].divide(FRAME)
        light = models.lights(params, middle, frozen.light_mean, settings)
        texture = models.canonical_texture(picture, blend_border(depth, camera), view, light, turning)
        own, seen, mirrored, there = texture[..., :3], texture[..., 3:4], texture[..., 4:7], texture[..., 7:8]
        albedo = jnp.concatenate([jnp.where(seen > 0, own, mirrored), jnp.maximum(seen, there)], -1)
        return {"depth": raw, "view": view, "light": light, "albedo": albedo.astype(jnp.float16)}

    return every(told, wide, narrow)


def errors(networks: Any, params: Any, images: jax.Array, lesson: Any) -> jax.Array:
    """Returns the loss of those networks that `params` has; robust, and of depth before tanh, which saturates."""
    settings, frozen, total = networks.settings, networks.frozen, jnp.zeros(())
    if "depth" in params:
        raw = models._apply(params, "depth", images, settings)[..., 0]
        total += 10 * optax.huber_loss(raw - raw.mean((1, 2), keepdims=True), lesson["depth"], delta=0.1).mean() / 0.1
    if "view" in params:
        off = models.views(params, images, frozen.view_mean, settings) - lesson["view"]
        total += 4 * jnp.square(off / jnp.maximum(settings.view_range.units(), 1e-3)).mean()
        total += 30 * jnp.abs(off[:, 3:]).mean()
    if "light" in params:
        total += jnp.square(models.lights(params, images, frozen.light_mean, settings) - lesson["light"]).mean()
    if "albedo" in params:
        colours, known = lesson["albedo"][..., :3], lesson["albedo"][..., 3:]
        total += (jnp.abs(models._apply(params, "albedo", images, settings) - colours) * known).mean()
    return total


def taught(networks: Any, params: Any, wide: np.ndarray, lesson: Arrays, steps: int) -> Any:
    """Returns networks after `steps` of Adam on pictures, half of them mirrored, in other colours."""
    labels = {name: name for name in params}
    rates = {name: optax.adam(optax.cosine_decay_schedule(_RATES[name], steps, 0.05)) for name in params}
    optimizer = optax.multi_transform(rates, labels)
    signs = {name: jnp.array(models.MIRRORED[name]) for name in models.MIRRORED}

    @jax.jit
    def step(params: Any, state: Any, batch: np.ndarray, lesson: Arrays, flip: Any, gain: Any, bias: Any) -> Any:
        images = images_of(batch)
        images = jnp.clip(jnp.where(flip, images[:, :, ::-1], images) * gain + bias, -1, 1)
        mirrored = {
            name: values * signs[name] if name in signs else values[:, :, ::-1] for name, values in lesson.items()
        }
        told = {
            name: jnp.where(flip.reshape(-1, *[1] * (values.ndim - 1)), mirrored[name], values).astype(jnp.float32)
            for name, values in lesson.items()
        }
        gradient = jax.grad(lambda params: errors(networks, params, images, told))(params)
        update, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, update), state

    state, rng = optimizer.init(params), np.random.default_rng(0)
    for done in range(steps):
        chosen, flip = rng.integers(len(wide), size=_BATCH), rng.integers(2, size=(_BATCH, 1, 1, 1)) > 0
        gain = rng.uniform(0.8, 1.2, (_BATCH, 1, 1, 3)).astype(np.float32)
        bias = rng.uniform(-0.1, 0.1, (_BATCH, 1, 1, 3)).astype(np.float32)
        batch = {name: values[chosen] for name, values in lesson.items()}
        params, state = step(params, state, wide[chosen], batch, flip, gain, bias)
        if (done + 1) % 100 == 0:
            loss = errors(networks, params, images_of(wide[:_AT_ONCE]), {k: v[:_AT_ONCE] for k, v in lesson.items()})
            print(f"{done + 1} of {steps}: {loss:.4f}", flush=True)
    return jax.device_get(params)


def networks_in(tensors: Arrays) -> Any:
    """Returns the published networks among a model file's tensors, in float32."""
    return models.published(bundle.in_float32({k: v for k, v in tensors.items() if not k.startswith("statistics/")}))


def move(networks: Any, wide: np.ndarray, lesson: Arrays) -> bytes:
    """Returns the networks of `people`, moved into the wide frame."""
    params = networks_in(bundle.read(weights_file("people", MODEL))[0])
    # What the narrow network knows of depth is of no use: the nose is elsewhere.
    fresh = models.init_params(jax.random.key(0), networks.settings)["depth"]
    start = {name: params[name] for name in ("albedo", "view", "light")} | {"depth": fresh}
    return networks_bytes(params | taught(networks, start, wide, lesson, _STEPS["moved"]))


def blend(networks: Any, lifted: pathlib.Path, wide: np.ndarray, lesson: Arrays) -> bytes:
    """Returns a lifted model's file, its depth halfway to the lesson's."""
    tensors, texts = bundle.read(lifted)
    params = networks_in(tensors)

    @jax.jit
    def own(pictures: jax.Array) -> jax.Array:
        return raw_depth(canonical_depth(networks, params, images_of(pictures)), networks.settings.camera)

    halfway = {"depth": (lesson["depth"] + every(own, wide)) / 2}
    depth = taught(networks, {"depth": params["depth"]}, wide, halfway, _STEPS["between"])
    return safetensors_bytes(tensors | {k: np.asarray(v) for k, v in flatten_dict(depth, sep="/").items()}, texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(_STEPS))
    parser.add_argument("lifted", nargs="?", type=pathlib.Path, help="between: a lifted model")
    parser.add_argument("--pictures", nargs="+", type=pathlib.Path, required=True, help="folders of wide pictures")
    parser.add_argument("--outline", type=pathlib.Path, required=True, help="a mean of masks, grey")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    if (options.what == "between") != (options.lifted is not None):
        parser.error("`between` takes a lifted model, `moved` none")
    networks = gan2shape_jax.load_model("people").networks
    wide, narrow = pictures(options.pictures, networks.settings.image_size)
    lesson = lessons(networks, wide, narrow, options.outline)
    if options.lifted:
        content = blend(networks, options.lifted, wide, lesson)
    else:
        content = move(networks, wide, lesson)
    atomic_bytes(options.out, content)


if __name__ == "__main__":
    main()
