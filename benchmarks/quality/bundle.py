"""Makes the bundled GANs and models small enough for a package index, and says what that changes.

    python benchmarks/quality/bundle.py ictface cat people  # rewrites gan2shape_jax/assets/KIND in place
    python benchmarks/quality/bundle.py people --out DIR        # writes DIR/people/... and leaves the assets alone

The GAN's weights become float16. Each network of the model is rounded to multiples of a step, a share of a power of two
near each tensor's deviation, and stored in float16; of the steps that change no output on 64 samples of the GAN by more
than a share of its range (`BOUNDS`), it is a coarse one that packs well. Zeros at the end of numbers, and weights that
weight decay has made next to nothing, are what the archive then packs. Files name those they belong to by SHA-256:
model, detector and trust record are told their GAN's and model's new ones.
"""

import argparse
import json
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors import safe_open

from gan2shape_jax import stylegan2
from gan2shape_jax.config import load_config
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.files import atomic_bytes, sha256
from gan2shape_jax.io.weights import safetensors_bytes
from gan2shape_jax.lift import model_file, samples
from gan2shape_jax.method import models
from gan2shape_jax.method.streams import Stream
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import resolve

# Largest change of any output, as a share of its range; 2e-3 of an albedo is half a grey level of 255, and an output of
# the encoder is only compared with another. Where there is `DETAIL`, albedo is not shown: an image's difference from it
# is compared with what was measured on samples.
BOUNDS = {"depth": 1e-4, "albedo": 2e-3, "detail": 2e-3, "view": 1e-3, "light": 1e-3, "encoder": 4e-3}
UNSEEN_BOUND = 1e-2
_TRIES = 4  # steps that are fine enough, of which the one that packs best is taken
_STEPS = [part / 2**power for power in range(4, 14) for part in (1.75, 1.5, 1.25, 1)]  # shares of deviations
_SAMPLES = 64

Tensors = dict[str, np.ndarray]


def read(path: pathlib.Path) -> tuple[Tensors, dict[str, str]]:
    """Returns a file's tensors and its header's texts."""
    with safe_open(path, "np") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata())


def rounded(tensors: Mapping[str, np.ndarray], share: float) -> Tensors:
    """Returns kernels rounded to `share` of a power of two near their deviation, and all else, in float16."""
    halves = {}
    for name, value in tensors.items():
        exact = np.asarray(value, np.float32)
        if exact.ndim > 1 and exact.std() > 0:
            step = np.float32(share * 2.0 ** round(float(np.log2(exact.std()))))
            exact = np.round(exact / step) * step
        halves[name] = exact.astype(np.float16)
    return halves


def in_float32(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns tensors by the parts of their names, as networks take them."""
    return dict(unflatten_dict({name: np.float32(value) for name, value in tensors.items()}, sep="/"))


def packed(tensors: Mapping[str, np.ndarray]) -> int:
    """Returns the bytes that tensors take in an archive."""
    return sum(len(zlib.compress(value.tobytes())) for value in tensors.values())


def smallest(stored: Tensors, images: np.ndarray, settings: model_file.Settings) -> tuple[Tensors, dict[str, float]]:
    """Returns a model's tensors, each network as small as its bound allows, and the changes of their outputs."""
    networks = {name: value for name, value in stored.items() if not name.startswith("statistics/")}
    before, tries = in_float32(networks), {name.split("/")[0]: 0 for name in networks}
    bounds = BOUNDS | ({"albedo": UNSEEN_BOUND} if models.DETAIL in tries else {})
    small, changes = dict(stored), dict[str, float]()
    for share in _STEPS:
        pending = sorted(network for network, count in tries.items() if count < _TRIES)
        if not pending:
            break
        tried = rounded(networks, share)
        measured = jax.device_get(
            model_file._changes(before, in_float32(tried), jnp.asarray(images), settings=settings)
        )
        for network in [name for name in pending if measured[name] <= bounds[name]]:
            tries[network] += 1
            its = {name: value for name, value in tried.items() if name.split("/")[0] == network}
            # Numbers that fewer bits write out pack better: a finer step may take less room than the coarsest.
            if network not in changes or packed(its) < packed({name: small[name] for name in its}):
                small, changes[network] = small | its, float(measured[network])
    if missing := tries.keys() - changes.keys():
        raise SystemExit(f"no step is fine enough for {', '.join(sorted(missing))}")
    return small, changes


def main() -> None:
    """Converts the files of each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", help="configurations, such as people or people:head")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(asset("")))
    options = parser.parse_args()
    for kind in options.kinds:
        print(json.dumps(convert(kind, options.out / kind.replace(":", "/"))), flush=True)


def convert(kind: str, out: pathlib.Path) -> dict[str, object]:
    """Writes a kind's files; returns what changed."""
    source, config = pathlib.Path(asset(kind.replace(":", "/"))), load_config(f"{kind}:lift")
    maker = samples.maker_of(config, *inputs.load_frozen(resolve(config)))
    images, _ = maker.images(Stream.HELD_OUT_SAMPLE, range(_SAMPLES))
    small, changes = smallest(read(source / "model.safetensors")[0], images, maker.settings)

    out.mkdir(parents=True, exist_ok=True)
    gan, texts = read(source / "gan.safetensors")
    atomic_bytes(out / "gan.safetensors", safetensors_bytes({k: v.astype(np.float16) for k, v in gan.items()}, texts))
    architecture, weights = stylegan2.load(out / "gan.safetensors")
    remade = inputs.load_frozen(resolve(config), (architecture, weights))
    again, _ = samples.maker_of(config, *remade).images(Stream.HELD_OUT_SAMPLE, range(_SAMPLES))

    owner = {"gan_sha256": sha256(out / "gan.safetensors")}
    tensors, texts = small, read(source / "model.safetensors")[1]
    atomic_bytes(out / "model.safetensors", safetensors_bytes(tensors, texts | owner))
    owner["model_sha256"] = sha256(out / "model.safetensors")
    for path in (source / "detector.safetensors", source / "model.trust.safetensors"):
        if path.is_file():
            tensors, texts = read(path)
            atomic_bytes(out / path.name, safetensors_bytes(tensors, {k: owner.get(k, v) for k, v in texts.items()}))
    files = sorted(out.glob("*.safetensors"))
    return {
        "kind": kind,
        "changes of outputs, shares of their range": changes,
        "samples of the GAN, of 255": {
            "mean": float(np.abs(images - again).mean() * 127.5),
            "most": float(np.abs(images - again).max() * 127.5),
        },
        "packed MB": {path.name: round(len(zlib.compress(path.read_bytes())) / 1e6, 1) for path in files},
    }


if __name__ == "__main__":
    main()
