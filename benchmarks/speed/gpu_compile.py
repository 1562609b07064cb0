"""Compiles a run's programs for a GPU given only by description, and reports what the compiler says; needs no GPU.

    pip install --no-deps jax-cuda12-plugin jax-cuda12-pjrt      (of the version of jax; or `.[gpu]`)
    python benchmarks/speed/gpu_compile.py --config ictface:scratch --steps prior step1 step2 step3
    python benchmarks/speed/gpu_compile.py --config celeba --random-weights --images 8 --steps step3 --out gpu.json

`--steps` are those of tpu_compile.py. For each: seconds to compile; memory of arguments and temporaries compared with
the GPU's; launches in one iteration, by kind: fusions, calls of cuDNN and cuBLAS, the rest. Without a device XLA does
not autotune, so the figures do not include cuDNN's workspace, and it estimates no time.
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

# Read when JAX is imported: programs are lowered on the CPU, and no algorithm can be tried out on a GPU.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0".strip()

import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh
from rich.console import Console
from rich.table import Table

from gan2shape_jax.errors import UserError, exit_code
from gan2shape_jax.training.image_axis import AXIS, FORMS

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from timing import gpu_program, programs, subjects


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says about a program.

    Attributes:
      config, precision, gpu: as requested.
      name: the program's name.
      images: images processed at once.
      form: how these share the GPU, or "joint".
      compile_s: seconds to compile.
      argument_bytes: memory of its arguments.
      temporary_bytes: memory in addition to these.
      launches: launches in one iteration, by kind.
    """

    config: str
    precision: str
    gpu: str
    name: str
    images: int
    form: str
    compile_s: float
    argument_bytes: int
    temporary_bytes: int
    launches: dict[str, int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="ictface:scratch")
    parser.add_argument("--steps", nargs="+", default=["prior", "step1", "step2", "step3"])
    parser.add_argument("--images", type=int, default=1, help="at once")
    parser.add_argument("--form", default="vmapped", choices=FORMS, help="how several images share the GPU")
    parser.add_argument("--joint", action="store_true", help="one set of networks for all images")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--gpu", default="a100", choices=sorted(gpu_program.GPUS))
    parser.add_argument("--random-weights", action="store_true", help="draw what has no file")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file, written after each step")
    options = parser.parse_args(arguments)
    return exit_code(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    if options.images < 1:
        raise UserError(f"--images {options.images}: give at least 1")
    mesh = Mesh(np.array(_devices(options.gpu)[:1]), (AXIS,))
    fields = {"runtime.precision": options.precision}
    subject = subjects.load(options.config, fields, random_weights=options.random_weights)
    done: list[Compiled] = []
    for name in options.steps:
        done.append(_compiled(subject, name, mesh, options))
        if options.out:
            options.out.write_text(json.dumps([dataclasses.asdict(one) for one in done], indent=1) + "\n")
    _print(done, options)
    return 0


def _devices(gpu: str) -> Any:
    described = gpu_program.GPUS[gpu].target()
    try:
        return topologies.get_topology_desc(platform="cuda", topology="1x1x1", target_config=described).devices
    except Exception as error:  # whatever the plugin and its loader raise
        raise UserError(
            f"programs cannot be compiled for an {gpu}: {str(error).splitlines()[0][:300]}; "
            "pip install --no-deps jax-cuda12-plugin jax-cuda12-pjrt, of the version of jax"
        ) from error


def _compiled(subject: subjects.Subject, name: str, mesh: Mesh, options: argparse.Namespace) -> Compiled:
    """Compiles a program of a run."""
    began = time.perf_counter()
    lowered = programs.lowered(subject, name, images=options.images, mesh=mesh, form=options.form, joint=options.joint)
    program = lowered.compile()
    seconds, memory = time.perf_counter() - began, program.memory_analysis()
    return Compiled(
        config=options.config,
        precision=options.precision,
        gpu=options.gpu,
        name=name,
        images=options.images,
        form="joint" if options.joint else options.form,
        compile_s=seconds,
        argument_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        launches=gpu_program.launches(program.as_text()),
    )


def _print(done: list[Compiled], options: argparse.Namespace) -> None:
    images = "" if options.images == 1 else f", {options.images} images at once, {done[0].form}"
    title = f"{options.config}, {options.precision}, one {options.gpu.upper()}{images}: compiled, not run"
    table = Table("step", "compile", "args", "temporaries", "launches", title=title)
    whole = gpu_program.GPUS[options.gpu].memory_bytes / 1e9
    for one in done:
        table.add_row(
            one.name,
            f"{one.compile_s:.0f} s",
            f"{one.argument_bytes / 1e9:.2f} GB",
            f"{one.temporary_bytes / 1e9:.2f} of {whole:.0f} GB",
            ", ".join(f"{count} {kind}" for kind, count in one.launches.items()),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    raise SystemExit(main())
