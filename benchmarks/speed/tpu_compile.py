"""Compiles a run's programs for TPU chips given only by description, and reports what the compiler says; needs no TPU.

    pip install libtpu
    python benchmarks/speed/tpu_compile.py --config ictface:scratch --steps prior step1 step2 step3
    python benchmarks/speed/tpu_compile.py --config celeba --random-weights --images 8 --form scanned --out tpu.json
    python benchmarks/speed/tpu_compile.py --config ictface:lift --random-weights --joint --images 4 --chips 4

`--steps` are labels of the schedule, "collecting samples", "predict" (feed-forward) and "rendering" (the rasteriser and
its gradient alone). For each: seconds to compile; memory of arguments and temporaries compared with the chip's;
operations and bytes moved, as XLA counts them, with the minimum time that the chip's arithmetic and memory need for
them; the cycles that the compiler estimates, by operation and by the module that it comes from. It estimates nearly
every operation except scatters, gathers, sorts, loops of unknown length and calls, including Pallas kernels; so these
are counted separately, as are the collectives. A loop's body is counted once. Estimates are not measurements.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

# Read when JAX is imported: programs are lowered on the CPU, and libtpu must neither look for a TPU nor object that
# another process has loaded it, since no chip is used.
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": os.environ.get("TPU_ACCELERATOR_TYPE", "v5litepod-4"),
}

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh
from rich.console import Console
from rich.table import Table

from gan2shape_jax.errors import UserError, exit_code
from gan2shape_jax.training.image_axis import AXIS, FORMS

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from timing import programs, subjects, tpu_program

# Of a chip: floating-point operations and bytes per second, bytes of memory, cycles per second
# (cloud.google.com/tpu/docs).
_CHIPS = {"v5e": (197e12, 819e9, 16e9, 940e6), "v6e": (918e12, 1640e9, 32e9, 940e6)}
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_UNCOUNTED = ("scatter", "gather", "sort", "while", "custom-call")
_LARGEST = 10


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says about a program; times are for one chip.

    Attributes:
      config, precision, topology: as requested.
      name: the program's name.
      images: images at once on a chip.
      chips: chips that share the work.
      form: how the images on a chip share it, or "joint".
      compile_s: seconds to compile.
      argument_bytes: memory of its arguments.
      temporary_bytes: memory in addition to these.
      flops: floating-point operations.
      bytes_moved: bytes moved to and from the chip's memory.
      cycles: estimated cycles, without operations that have no estimate.
      floor_ms: minimum time by operations and by bytes.
      uncounted: operations without an estimate, by kind.
      kernels: calls of Pallas kernels, which have no estimate either, by name.
      collectives: collective operations, by kind.
      largest: cycles by operation, for the ten that take the most.
      modules: cycles by the module of the package that they come from.
    """

    config: str
    precision: str
    topology: str
    name: str
    images: int
    chips: int
    form: str
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
        "--steps", nargs="+", default=["prior", "step1", "step2", "step3"], help='see above; "all": every program'
    )
    parser.add_argument("--images", type=int, default=1, help="at once on each chip")
    parser.add_argument("--form", default="vmapped", choices=FORMS, help="how several images of a chip share it")
    parser.add_argument("--chips", type=int, default=1, help="that share the work")
    parser.add_argument("--joint", action="store_true", help="one set of networks for all images of all chips")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--topology", default="v5e:2x2", help="such as v5e:2x2, v5e:4x4 or v6e:2x2")
    parser.add_argument("--random-weights", action="store_true", help="draw what has no file")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file, written after each step")
    options = parser.parse_args(arguments)
    return exit_code(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    chip = options.topology.split(":")[0]
    if chip not in _CHIPS:
        raise UserError(f"--topology {options.topology}: chips that are known are {', '.join(_CHIPS)}")
    if options.images < 1:
        raise UserError(f"--images {options.images}: give at least 1")
    devices = _devices(options.topology)
    if not 1 <= options.chips <= len(devices):
        raise UserError(f"--chips {options.chips}: {options.topology} has {len(devices)}; give 1 to {len(devices)}")
    mesh = Mesh(np.array(devices[: options.chips]), (AXIS,))
    fields = {"runtime.precision": options.precision}
    subject = subjects.load(options.config, fields, random_weights=options.random_weights)
    done: list[Compiled] = []
    for name in _wanted(options, programs.names_of(subject)):
        done.append(_compiled(subject, name, mesh, chip, options))
        print(_told(done[-1], chip), flush=True)
        if options.out:
            options.out.write_text(json.dumps([dataclasses.asdict(one) for one in done], indent=1) + "\n")
    _print(done, chip, options)
    return 0


def _wanted(options: argparse.Namespace, known: Sequence[str]) -> list[str]:
    """Returns the requested programs."""
    if options.steps == ["all"]:
        return [name for name in known if name != programs.RENDERING]
    unknown = [name for name in options.steps if name not in known]
    if unknown:
        raise UserError(f"--steps {' '.join(unknown)}: there are {', '.join(known)}")
    return options.steps


def _devices(topology: str) -> Any:
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except Exception as error:  # whatever libtpu and its loader raise
        raise UserError(
            f"programs cannot be compiled for {topology}: {str(error).splitlines()[0][:300]}; pip install libtpu, and "
            "name a topology such as v5e:2x2 that matches TPU_ACCELERATOR_TYPE, such as v5litepod-4"
        ) from error


def _compiled(subject: subjects.Subject, name: str, mesh: Mesh, chip: str, options: argparse.Namespace) -> Compiled:
    """Compiles a program of a run."""
    began = time.perf_counter()
    lowered = programs.lowered(subject, name, images=options.images, mesh=mesh, form=options.form, joint=options.joint)
    try:
        program = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        told = tpu_program.too_large(str(error), options.images)
        if told is None:
            raise
        raise UserError(f"{name} with {options.images} images at once on a {chip} {told}") from None
    memory, cost, text = program.memory_analysis(), program.cost_analysis(), program.as_text()
    flops, moved = float(cost.get("flops", np.nan)), float(cost.get("bytes accessed", np.nan))
    by_operation, by_module = tpu_program.cycles(text)
    rate, bandwidth, *_ = _CHIPS[chip]
    return Compiled(
        config=options.config,
        precision=options.precision,
        topology=options.topology,
        name=name,
        images=options.images,
        chips=options.chips,
        form="joint" if options.joint else options.form,
        compile_s=time.perf_counter() - began,
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
    chips = f"{options.chips} chip{'s' * (options.chips > 1)} of {options.topology}"
    images = "" if options.images == 1 else f", {options.images} images on each, {done[0].form}"
    title = f"{options.config}, {options.precision}, {chips}{images}: estimates for a chip"
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
