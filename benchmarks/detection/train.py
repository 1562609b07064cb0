"""Teaches the face detector by scenes, without end: it goes on where its file of state stopped.

    python benchmarks/detection/scenes.py POOL ...                       # once, see there
    python benchmarks/detection/train.py POOL --state benchmarks/detection/data/state.safetensors --steps 100000
    python benchmarks/detection/train.py --state STATE --onnx detector.onnx

State is parameters, their slow average, which is what is used, and Adam's moments. It is a function of the pool and the
number of steps alone, wherever a run stopped, and is written whole every `--every` steps. Steps see, in turn, 16 scenes
of 128 pixels, 4 of 256, 16 of 128 and 2 of 384.
"""

import argparse
import concurrent.futures
import ctypes
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import network
import numpy as np
import optax
import scenes
from flax.traverse_util import flatten_dict, unflatten_dict

from gan2shape_jax.io.files import atomic_bytes
from gan2shape_jax.io.weights import open_safetensors, safetensors_bytes

SEED = 1
_BATCHES = ((128, 16), (256, 4), (128, 16), (384, 2))  # pixels and scenes, in turn
_RATE, _WARM, _SLOWER = 2e-3, 300, 4000  # the largest step, and steps until it, and from which it falls by a root
_AVERAGED, _KEPT = 0.999, 0.99  # what remains of the average, and of normalisation, after a step
_RANGES = {8: (0, 40), 16: (28, 100), 32: (70, 1e9)}  # pixels of the faces that a stride is taught to see
_NEAR, _INNER = 1.25, 0.45  # strides and sides of the face within which a place sees its middle
_WEIGHTS = {"cls": 1.0, "obj": 1.0, "bbox": 2.0, "kps": 10.0}


class State(NamedTuple):
    """All that training goes on with."""

    params: network.Params
    kept: network.Params
    average: dict[str, network.Params]  # of both
    moments: optax.ScaleByAdamState


_adam = optax.chain(optax.clip_by_global_norm(5.0), optax.scale_by_adam(mu_dtype=jnp.float16))


def initial() -> State:
    """Returns the state before the first step."""
    params = network.initial(SEED)
    kept = network.unseen(params)
    return State(params, kept, {"params": params, "kept": kept}, _adam.init(params)[1])


def state_bytes(state: State) -> bytes:
    """Returns a state as a file."""
    moments = {"mu": state.moments.mu, "nu": state.moments.nu}
    flat = flatten_dict({"params": state.params, "kept": state.kept, "average": state.average, **moments}, sep="/")
    tensors = {name: np.asarray(value) for name, value in flat.items()}
    return safetensors_bytes(tensors, {"format": "face detector, taught", "steps": str(int(state.moments.count))})


def read_state(path: pathlib.Path) -> State:
    """Returns a state from its file; raises `UserError`."""
    with open_safetensors(path) as file:
        tree = unflatten_dict({name: jnp.asarray(file.read(name)) for name in file.shapes}, sep="/")
        count = jnp.asarray(int(file.metadata["steps"]), jnp.int32)
    moments = optax.ScaleByAdamState(count, tree.pop("mu"), tree.pop("nu"))
    return State(**tree, moments=moments)


def targets(landmarks: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Returns what each place of a scene is taught, all strides one after another, from small to large.

    `share` (n,) is 1 where a face is to be seen, 0 where none is and -1 where neither counts; `box` (n, 4) and `marks`
    (n, 10) are in pixels from the place: the middle, the sides, and the landmarks; `side` (n,) is the face's.
    """
    landmarks = landmarks[np.isfinite(landmarks).all((1, 2))]
    boxes = scenes.face_box(landmarks)
    unseen = scenes.hardly(boxes, size)
    rows = []
    for stride in network.STRIDES:
        at = network.places(size, stride)
        share, which = np.zeros(len(at), np.float32), np.zeros(len(at), int)
        if len(boxes):
            away = np.abs(boxes[None, :, :2] - at[:, None]).max(-1)  # (n, faces)
            share[(away < 0.6 * boxes[:, 2]).any(1)] = -1
            low, high = _RANGES[stride]
            fits = (boxes[:, 2] >= low) & (boxes[:, 2] < high) & ~unseen
            near = np.minimum(_NEAR * stride, np.maximum(_INNER * boxes[:, 2], 0.75 * stride))
            away = np.where(fits & (away < near), away, np.inf)
            which = away.argmin(1)
            share[np.isfinite(away.min(1))] = 1
        marks = (landmarks if len(boxes) else np.zeros((1, 5, 2)))[which] - at[:, None]
        box = (boxes if len(boxes) else np.ones((1, 3)))[which]
        sides = np.repeat(box[:, 2:], 2, 1)
        rows.append((share, np.concatenate([box[:, :2] - at, sides], 1), marks.reshape(-1, 10), box[:, 2]))
    names = ("share", "box", "marks", "side")
    return {name: np.concatenate(parts).astype(np.float32) for name, parts in zip(names, zip(*rows))}


def batch(pool: scenes.Pool, step: int) -> dict[str, np.ndarray]:
    """Returns the scenes of a step, BGR, and what is taught by them."""
    size, count = _BATCHES[step % len(_BATCHES)]
    rows = []
    for number in range(count):
        picture, landmarks = scenes.scene(pool, np.random.default_rng([SEED, step, number]), size)
        rows.append({"picture": picture[..., ::-1]} | targets(landmarks, size))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def loss(outputs: dict[str, jax.Array], taught: dict[str, jax.Array]) -> jax.Array:
    """Returns how wrong outputs are, for each place that sees a face."""
    joined = {
        name: jnp.concatenate([outputs[f"{name}{stride}"] for stride in network.STRIDES], 1) for name in network.OUTPUTS
    }
    size = taught["picture"].shape[1]
    strides = jnp.concatenate([jnp.full((size // s) ** 2, s, jnp.float32) for s in network.STRIDES])[:, None]
    there, counted = taught["share"] > 0, taught["share"] >= 0
    middle, sides = joined["bbox"][..., :2] * strides, jnp.exp(jnp.clip(joined["bbox"][..., 2:], -4, 6)) * strides
    low, high = middle - sides / 2, middle + sides / 2
    true, wide = taught["box"][..., :2], taught["box"][..., 2:]
    common = jnp.maximum(jnp.minimum(high, true + wide / 2) - jnp.maximum(low, true - wide / 2), 0).prod(-1)
    fit = common / (sides.prod(-1) + wide.prod(-1) - common + 1e-6)
    off = (joined["kps"] * strides - taught["marks"]) / taught["side"][..., None]
    off = jnp.where(there[..., None], off, 0)
    apart = jnp.where(there, jnp.abs((middle - true) / wide).sum(-1) + jnp.abs(jnp.log(sides / wide)).sum(-1), 0)
    goal = {"cls": there.astype(jnp.float32), "obj": jax.lax.stop_gradient(jnp.where(there, fit, 0))}
    parts = {"kps": jnp.sqrt(off**2 + 1e-4).mean(-1) * there, "bbox": jnp.where(there, 1 - fit, 0) + 0.2 * apart}
    for name, wanted in goal.items():
        logit = joined[name][..., 0]
        unsure = jnp.abs(jax.nn.sigmoid(logit) - wanted) ** 1.5 if name == "cls" else 1.0
        parts[name] = unsure * optax.sigmoid_binary_cross_entropy(logit, wanted) * counted
    total = sum(_WEIGHTS[name] * part.sum() for name, part in parts.items())
    return total / jnp.maximum(there.sum(), 8)


@jax.jit
def advance(state: State, taught: dict[str, jax.Array]) -> tuple[State, jax.Array]:
    """Returns the state after a step, and the loss before it."""

    def wrong(params: network.Params) -> tuple[jax.Array, Any]:
        outputs, seen = network.apply(params, state.kept, taught["picture"].astype(jnp.float32), taught=True)
        return loss(outputs, taught), seen

    (value, seen), gradient = jax.value_and_grad(wrong, has_aux=True)(state.params)
    count = state.moments.count.astype(jnp.float32)
    updates, (_, moments) = _adam.update(gradient, (optax.EmptyState(), state.moments))
    rate = _RATE * jnp.minimum((count + 1) / _WARM, 1) / jnp.sqrt(1 + jnp.maximum(count - _WARM, 0) / _SLOWER)
    params = jax.tree.map(lambda now, update: now - rate * update.astype(jnp.float32), state.params, updates)
    kept = _mixed(state.kept, seen, _KEPT)
    share = jnp.minimum(_AVERAGED, (1 + count) / (10 + count))
    average = _mixed(state.average, {"params": params, "kept": kept}, share)
    return State(params, kept, average, moments), value


def _mixed(old: Any, new: Any, share: float | jax.Array) -> Any:
    return jax.tree.map(lambda before, now: share * before + (1 - share) * now, old, new)


def _batches(pool: scenes.Pool, first: int, last: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields the batches of steps, each drawn while the one before is used."""
    with concurrent.futures.ThreadPoolExecutor(1) as drawing:
        ahead = drawing.submit(batch, pool, first)
        for step in range(first, last):
            this, ahead = ahead, drawing.submit(batch, pool, step + 1)
            yield this.result()


def _keep_memory() -> None:
    """Has glibc keep what it has freed: fetching it anew from the system takes a third of a step's time."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        for option, value in ((-1, 2**31 - 1), (-2, 2**28), (-3, 2**30)):  # trim, pad, map
            ctypes.CDLL(None).mallopt(option, value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=pathlib.Path, nargs="?", help="folder of `scenes.py`")
    parser.add_argument("--state", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=0, help="in all, with those that the state has seen")
    parser.add_argument("--every", type=int, default=500, help="steps after which the state is written")
    parser.add_argument("--onnx", type=pathlib.Path, help="file that the detector is written to")
    options = parser.parse_args()
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    _keep_memory()
    state = read_state(options.state) if options.state.exists() else initial()
    first, losses, began = int(state.moments.count), [], time.perf_counter()
    if first < options.steps:
        if options.pool is None:
            parser.error("training needs the folder of scenes.py")
        pool = scenes.load(options.pool)
        for step, taught in enumerate(_batches(pool, first, options.steps), start=first + 1):
            state, value = advance(state, taught)
            losses.append(float(value))
            if step % options.every == 0 or step == options.steps:
                atomic_bytes(options.state, state_bytes(state))
                each = (time.perf_counter() - began) / (step - first)
                print(f"step {step}: loss {np.mean(losses):.3f}, {each:.2f} s a step", flush=True)
                losses.clear()
    if options.onnx is not None:
        atomic_bytes(options.onnx, network.onnx_bytes(**state.average))


if __name__ == "__main__":
    main()
