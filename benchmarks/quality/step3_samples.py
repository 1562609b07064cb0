"""What step 3 learns from in a given time: renderings that the GAN makes plausible, its own turned pictures, or both.

    python benchmarks/quality/step3_samples.py --config head --data FACES --start lifted/model.safetensors --out stage

Each run continues from the networks in `--start`, those of a lift, until its time is used up, collecting samples
included. Unlike in `:relift`, V is trained along, but ends as it began. `renderings` are projected by an encoder of
each sample's own, `turned` lie along the axes that `turning.find` finds, and `both` takes half of its batches from
each. Prints SIDE, MAD, the worst SIDE, how much depth differs between faces, on FACES, which has the folders `image`,
`mask` and `depth`; last, those of the networks averaged over seeds. What is in OUT is not trained again.
"""

import argparse
import dataclasses
import functools
import pathlib
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.config import load_config
from gan2shape_jax.io.files import atomic_bytes
from gan2shape_jax.lift import refinement, samples, steps
from gan2shape_jax.lift.task import FIRST
from gan2shape_jax.method import models, reconstruction, turning
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import PreparedImage, ProjectedSamples
from gan2shape_jax.method.step2 import STEP2
from gan2shape_jax.method.step3 import STEP3
from gan2shape_jax.run import prepare
from gan2shape_jax.run.runtime import set_up_runtime
from gan2shape_jax.training.network_files import load_networks, networks_bytes
from gan2shape_jax.training.shared import shared
from gan2shape_jax.training.task import one_image, scores

_BATCHES = 24  # of samples for each identity
_FOUND_FROM = 4096  # samples that the GAN's axes are found from
_IDENTITIES = {"renderings": 20, "turned": 96, "both": 20}  # of a run: turned pictures cost less


@dataclasses.dataclass(frozen=True)
class Bench:
    """What all runs share."""

    config: ConfigDict  # of `:relift`
    maker: samples.SampleMaker
    start: models.Params
    turning: turning.Turning
    seconds: float

    def run(self, source: str, seed: int) -> models.Params:
        """Returns networks that have learnt from samples of the source until the time is up."""
        begin, chosen, moved = time.monotonic(), self.config.lift, jax.jit(refinement.mixed)
        settings = changed(self.maker.settings, learning_rate=chosen.first_learning_rate)
        maker = dataclasses.replace(self.maker, settings=settings, key=jax.random.key(seed))
        count = _IDENTITIES[source]
        task = shared(
            maker.problems(range(FIRST, FIRST + count)),
            maker.frozen,
            seed=seed,
            collect_iters=_BATCHES * count,
            replicas=self.config.schedule.batches_per_iteration,
            project=functools.partial(self.project, source),
        )
        state = task.begin(task.initial(self.start), Phase(1, 1, STEP2, 1, flip=False))  # with every sample's factors
        phase = Phase(2, 1, STEP3, 10**5, flip=True)
        state = task.begin(state, phase)
        constants, average, number = task.phase_constants(state, phase), self.start, 0
        print(f"{source}, seed {seed}: {time.monotonic() - begin:.0f} s until samples are there", flush=True)
        while not number or time.monotonic() - begin < self.seconds:
            state, _ = task.advance(state, phase, number, constants, 1)
            average = moved(state.params, average, min(chosen.average, (1 + number) / (10 + number)))
            number += 1
        print(f"{source}, seed {seed}: {number} iterations of step 3", flush=True)
        return jax.device_get(average | {"view": self.start["view"]})

    def project(self, source: str, state, phase, problem, frozen, settings) -> ProjectedSamples:
        """Returns an image's samples; see `Shared.project`."""
        parts = []
        if source == "both":
            settings = dataclasses.replace(settings, collect_iters=settings.collect_iters // 2)
        if source != "turned":
            parts.append(steps.projected_by_own_encoder(state, phase, problem, frozen, settings))
        if source != "renderings":
            turns = dataclasses.replace(frozen, turning=self.turning)
            parts.append(one_image(problem, turns, settings).phase_constants(state, phase))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def faces_of(name: str, data: pathlib.Path, architecture, frozen) -> list[PreparedImage]:
    """Returns the faces of a folder, ready for a prediction."""
    config = load_config(name).unlock()
    config.mode = "predict"
    config.data.update({f"{root}_root": str(data / root) for root in ("image", "mask", "depth")})
    names = sorted(path.name for path in (data / "image").glob("*.png"))
    return [prepare.load_image(config, one, architecture, frozen, data) for one in names]


def measured(params: models.Params, faces: list[PreparedImage], frozen) -> str:
    """Returns SIDE / MAD, the worst SIDE, and how much depth differs between faces."""
    settings = dataclasses.replace(faces[0].settings, mirrored=True)
    seen = [reconstruction.see(params, face.problem, frozen, settings) for face in faces]
    rows = [scores(view, face.problem, settings) for view, face in zip(seen, faces, strict=True)]
    side, mad = (np.array([row[name] for row in rows]) for name in ("side", "mad"))
    between = np.std([view.depth for view in seen], axis=0).mean()
    return f"{side.mean():.5f} / {mad.mean():.2f}, worst {side.max():.4f}, between {between:.4f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="head")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--start", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=float, default=660)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sources", nargs="+", default=list(_IDENTITIES), choices=_IDENTITIES)
    options = parser.parse_args(arguments)
    config = load_config(f"{options.config}:relift")
    set_up_runtime(config)
    architecture, frozen = prepare.load_frozen(config)
    maker = samples.maker_of(config, architecture, frozen)
    like = models.init_params(jax.random.key(0), maker.settings)
    start = load_networks(options.start, like, maker.settings)
    found = turning.find(start, frozen, maker.settings, samples=_FOUND_FROM)
    if found is None:
        parser.error("this GAN hardly turns what it draws")
    bench = Bench(config, maker, start, found, options.seconds)
    faces = faces_of(options.config, options.data, architecture, frozen)
    print(f"start: {measured(start, faces, frozen)}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for source in options.sources:
            path = options.out / f"{source}_{seed}.safetensors"
            if not path.exists():
                atomic_bytes(path, networks_bytes(bench.run(source, seed)))
            params = load_networks(path, like, maker.settings)
            print(f"{source}, seed {seed}: {measured(params, faces, frozen)}", flush=True)
    for source in options.sources:
        every = [
            load_networks(options.out / f"{source}_{seed}.safetensors", like, maker.settings) for seed in options.seeds
        ]
        params = jax.device_get(jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *every))
        atomic_bytes(options.out / f"{source}.safetensors", networks_bytes(params))
        print(f"{source}, averaged: {measured(params, faces, frozen)}", flush=True)


if __name__ == "__main__":
    main()
