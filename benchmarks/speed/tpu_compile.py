"""Compiles train steps for a TPU that is only described, and tells what the compiler says of them; needs no TPU.

    pip install libtpu
    python benchmarks/speed/tpu_compile.py --config ictface:scratch --steps prior step1 step2 step3
    python benchmarks/speed/tpu_compile.py --config celeba --random-weights --images 8 --topology v5e:2x2 --out tpu.json

For each step: seconds to compile; memory of arguments and temporaries beside the chip's; operations and bytes moved,
as XLA counts them, with the least time that the chip's arithmetic and its memory need for them; the cycles that
the compiler estimates, by operation and by the module that asked for it, which it does for nearly every operation but
scatters, gathers, sorts, loops of unknown length and calls, Pallas kernels among them; so these are counted beside
them, and the collectives. Estimates are no measurements.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

# Read when JAX is imported: programs are lowered on the CPU, and libtpu must not look for a TPU.
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": os.environ.get("TPU_ACCELERATOR_TYPE", "v5litepod-4"),
}

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console
from rich.table import Table

from gan2shape_jax.errors import UserError, exit_code
from gan2shape_jax.geometry import render
from gan2shape_jax.method import iteration as iteration_lib
from gan2shape_jax.method.sampling import TRAIN, phase_key
from gan2shape_jax.method.state import initial_state
from gan2shape_jax.method.steps import STEPS

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from timing import subjects, tpu_program

# Of a chip: floating-point operations and bytes a second, bytes of memory, cycles a second (cloud.google.com/tpu/docs).
_CHIPS = {"v5e": (197e12, 819e9, 16e9, 940e6), "v6e": (918e12, 1640e9, 32e9, 940e6)}
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_UNCOUNTED = ("scatter", "gather", "sort", "while", "custom-call")
_LARGEST = 10
_RENDERING = "rendering"


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says of a step; times are for one chip.

    Attributes:
      name: of the step.
      images: at once.
      compile_s: seconds to compile.
      argument_bytes: of its arguments.
      temporary_bytes: beside these.
      flops: floating-point operations.
      bytes_moved: to and from the chip's memory.
      cycles: estimated, without what has no estimate.
      floor_ms: least time by operations and by bytes.
      uncounted: operations without an estimate, by kind.
      kernels: calls of Pallas kernels, which have no estimate either, by name.
      collectives: by kind.
      largest: cycles by operation, the ten that take most.
      modules: cycles by the module of the package that asked for them.
    """

    name: str
    images: int
    compile_s: float
    argument_bytes: int
    temporary_bytes: int
    flops: float
    bytes_moved: float
    cycles: int
    floor_ms: tuple[float, float]
    uncounted: dict[str, int]
    kernels: dict[str, int]
    collectives: dict[str, int]
    largest: list[tuple[str, int]]
    modules: list[tuple[str, int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="ictface:scratch")
    parser.add_argument(
        "--steps",
        nargs="+",
        default=["prior", "step1", "step2", "step3"],
        help="by label; rendering: the rasteriser and its gradient by themselves",
    )
    parser.add_argument("--images", type=int, default=1, help="at once on the chip")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--topology", default="v5e:2x2", help="such as v5e:2x2 or v6e:2x2")
    parser.add_argument("--random-weights", action="store_true", help="draw what has no file")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file, written after each step")
    options = parser.parse_args(arguments)
    return exit_code(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    chip = options.topology.split(":")[0]
    if chip not in _CHIPS:
        raise UserError(f"--topology {options.topology}: chips that are known are {', '.join(_CHIPS)}")
    sharding = NamedSharding(Mesh(_devices(options.topology)[:1], ("x",)), PartitionSpec())
    fields = {"runtime.precision": options.precision}
    subject = subjects.load(options.config, fields, random_weights=options.random_weights)
    known = [_RENDERING, *subject.phases]
    unknown = [name for name in options.steps if name not in known]
    if unknown:
        raise UserError(f"--steps {' '.join(unknown)}: there are {', '.join(known)}")
    done: list[Compiled] = []
    for name in options.steps:
        step = _rendering(subject, options.images) if name == _RENDERING else _step(subject, name, options.images)
        done.append(_compiled(name, options.images, *step, sharding=sharding, chip=chip))
        print(_told(done[-1], chip), flush=True)
        if options.out:
            options.out.write_text(json.dumps([dataclasses.asdict(one) for one in done], indent=1) + "\n")
    _print(done, chip, options)
    return 0


def _devices(topology: str) -> Any:
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except Exception as error:  # whatever libtpu and its loader raise
        raise UserError(
            f"programs cannot be compiled for {topology}: {str(error).splitlines()[0][:300]}; pip install libtpu, and "
            "name a topology such as v5e:2x2 that matches TPU_ACCELERATOR_TYPE, such as v5litepod-4"
        ) from error


def _step(subject: subjects.Subject, name: str, images: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Returns a step of the schedule and the shapes of its arguments, of which the first is the state."""
    phase, settings, problem, frozen = subject.phases[name], subject.settings, subject.problem, subject.frozen

    def prepared(params: Any, problem: Any, frozen: Any) -> tuple[Any, Any]:
        state = iteration_lib.begin(initial_state(params, settings), phase, problem, frozen, settings)
        return state, iteration_lib.phase_constants(state, phase, problem, frozen, settings)

    static = {"step": STEPS[phase.step], "settings": settings, "flip": phase.flip}

    def step(state: Any, constants: Any, problem: Any, key: Any, iteration: Any, frozen: Any) -> Any:
        return iteration_lib.iterate(state, constants, problem, key, iteration, frozen, **static)

    state, constants = jax.eval_shape(prepared, subject.params, problem, frozen)
    key = jax.eval_shape(lambda: phase_key(problem.key, phase.number, TRAIN))
    own = (state, constants, problem, key)
    run = step
    if images > 1:
        run = jax.vmap(step, in_axes=(0, 0, 0, 0, None, None))
        own = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((images, *leaf.shape), leaf.dtype), own)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (*own, jnp.int32(0), frozen))
    return run, shapes


def _rendering(subject: subjects.Subject, images: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Returns what a step does with the rasteriser: a batch warped, its texture looked up, and the gradient."""
    settings = subject.settings
    size, batch = settings.camera.image_size, images * settings.batch_size

    def loss(scene: dict[str, jax.Array]) -> jax.Array:
        warped = render.warp_depth(scene["depth"], scene["view"], settings.camera)
        return jnp.sum(render.reconstruct(scene["texture"], warped, scene["view"], settings.camera) ** 2)

    shapes = {"depth": (batch, size, size), "view": (batch, 6), "texture": (batch, size, size, 3)}
    scene = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    return jax.grad(loss), (scene,)


def _compiled(
    name: str,
    images: int,
    run: Callable[..., Any],
    shapes: tuple[Any, ...],
    *,
    sharding: NamedSharding,
    chip: str,
) -> Compiled:
    """Compiles a function of which the first argument is given up."""
    jitted = jax.jit(run, in_shardings=sharding, out_shardings=sharding, donate_argnums=0)
    began = time.perf_counter()
    try:
        program = jitted.lower(*shapes).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        needed = re.search(r"[Uu]sed ([\d.]+\w) of ([\d.]+\w)", str(error))
        beside = f": {needed[1]} of {needed[2]}" if needed else ""
        fewer = f"--images {images // 2}" if images > 1 else "config.sampling.batch_size or --precision bfloat16"
        raise UserError(
            f"{name} with {images} images at once does not fit into a {chip}{beside}; take {fewer}"
        ) from None
    return _reported(name, images, time.perf_counter() - began, program, chip)


def _reported(name: str, images: int, seconds: float, program: Any, chip: str) -> Compiled:
    memory, cost, text = program.memory_analysis(), program.cost_analysis(), program.as_text()
    flops, moved = float(cost.get("flops", np.nan)), float(cost.get("bytes accessed", np.nan))
    by_operation, by_module = tpu_program.cycles(text)
    rate, bandwidth, *_ = _CHIPS[chip]
    return Compiled(
        name=name,
        images=images,
        compile_s=seconds,
        argument_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        flops=flops,
        bytes_moved=moved,
        cycles=sum(by_operation.values()),
        floor_ms=(flops / rate * 1e3, moved / bandwidth * 1e3),
        uncounted=tpu_program.counts(text, _UNCOUNTED),
        kernels=tpu_program.kernels(text),
        collectives=tpu_program.counts(text, _COLLECTIVES),
        largest=by_operation.most_common(_LARGEST),
        modules=by_module.most_common(),
    )


def _told(one: Compiled, chip: str) -> str:
    clock = _CHIPS[chip][3]
    lines = [
        f"{one.name}, {one.images} at once: compiled in {one.compile_s:.0f} s, {one.cycles / 1e6:.2f} million cycles "
        f"({one.cycles / clock * 1e3:.1f} ms), without {one.uncounted or 'nothing'}"
    ]
    for title, items in (("operations", one.largest), ("modules", one.modules[:_LARGEST])):
        lines += [f"  {title}:", *(f"    {cycles / 1e6:7.3f}  {name[:150]}" for name, cycles in items)]
    if one.kernels:
        lines.append("  kernels: " + ", ".join(f"{name} {count} times" for name, count in one.kernels.items()))
    return "\n".join(lines)


def _print(done: list[Compiled], chip: str, options: argparse.Namespace) -> None:
    memory = _CHIPS[chip][2] / 1e9
    title = f"{options.config}, {options.precision}, {options.topology}, {options.images} images at once: estimates"
    table = Table(*"step compile args temporaries GFLOP GB Mcycles floor uncounted collectives".split(), title=title)
    for one in done:
        table.add_row(
            one.name,
            f"{one.compile_s:.0f} s",
            f"{one.argument_bytes / 1e9:.2f} GB",
            f"{one.temporary_bytes / 1e9:.2f} of {memory:g} GB",
            f"{one.flops / 1e9:.1f}",
            f"{one.bytes_moved / 1e9:.1f}",
            f"{one.cycles / 1e6:.2f}",
            f"{one.floor_ms[0]:.2f} / {one.floor_ms[1]:.1f} ms",
            ", ".join(f"{count} {kind}" for kind, count in one.uncounted.items()) or "-",
            ", ".join(f"{count} {kind}" for kind, count in one.collectives.items()) or "-",
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    raise SystemExit(main())
