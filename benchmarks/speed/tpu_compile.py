"""Compiles a run's programs for TPU chips given only by description, and reports what the compiler says; needs no TPU.

    pip install libtpu
    python benchmarks/speed/tpu_compile.py --config ictface:scratch --steps prior step1 step2 step3
    python benchmarks/speed/tpu_compile.py --config celeba --random-weights --images 8 --out tpu.json
    python benchmarks/speed/tpu_compile.py --config ictface:lift --random-weights --joint --images 4 --chips 4

`--steps` are labels of the schedule, "collecting samples", "predict" (feed-forward) and "rendering" (the rasteriser and
its gradient alone). The cycles are the compiler's
estimate; it has none for scatters, gathers, sorts, loops of unknown length and calls, including Pallas kernels: these
are counted, as are the collectives. A loop's body is counted once. Estimates are not measurements.
"""

import argparse
import collections
import json
import os
import pathlib
import re
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

import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh
from rich.console import Console
from rich.table import Table

from gan2shape_jax.errors import UserError, exit_code
from gan2shape_jax.training.devices import AXIS

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from timing import programs, subjects

_KINDS = (
    *("scatter", "gather", "sort", "while", "custom-call"),
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="ictface:scratch")
    parser.add_argument("--steps", nargs="+", default=["prior", "step1", "step2", "step3"], help="see above")
    parser.add_argument("--images", type=int, default=1, help="at once on each chip")
    parser.add_argument("--chips", type=int, default=1, help="that share the work")
    parser.add_argument("--joint", action="store_true", help="one set of networks for all images of all chips")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--topology", default="v5e:2x2", help="such as v5e:2x2, v5e:4x4 or v6e:2x2")
    parser.add_argument("--random-weights", action="store_true", help="draw what has no file")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file, written after each step")
    options = parser.parse_args(arguments)
    return exit_code(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    mesh = Mesh(np.array(_devices(options.topology)[: options.chips]), (AXIS,))
    fields = {"runtime.precision": options.precision}
    subject = subjects.load(options.config, fields, random_weights=options.random_weights)
    title = f"{options.config}, {options.precision}, {options.images} at once, {options.chips} {options.topology} chips"
    table = Table(*"step compile arguments temporaries GB_moved million_cycles operations kernels".split(), title=title)
    done: list[dict[str, Any]] = []
    for name in options.steps:
        began = time.perf_counter()
        lowered = programs.lowered(subject, name, images=options.images, mesh=mesh, joint=options.joint)
        program = lowered.compile()
        memory, text = program.memory_analysis(), program.as_text()
        report = {
            "name": name,
            "compile_s": time.perf_counter() - began,
            "argument_gb": memory.argument_size_in_bytes / 1e9,
            "temporary_gb": memory.temp_size_in_bytes / 1e9,
            "moved_gb": float(program.cost_analysis().get("bytes accessed", np.nan)) / 1e9,
            "cycles": cycles(text),
            "operations": counts(text, _KINDS),
            "kernels": kernels(text),
        }
        done.append(report)
        figures = [f"{report[key]:.2f}" for key in ("argument_gb", "temporary_gb", "moved_gb")]
        counted = [
            ", ".join(f"{count} {kind}" for kind, count in report[key].items()) for key in ("operations", "kernels")
        ]
        table.add_row(name, f"{report['compile_s']:.0f} s", *figures, f"{report['cycles'] / 1e6:.2f}", *counted)
        print(f"{name}: compiled in {report['compile_s']:.0f} s", flush=True)
        if options.out:
            options.out.write_text(json.dumps(done, indent=1) + "\n")
    Console(width=160).print(table)
    return 0


def _devices(topology: str) -> Any:
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except Exception as error:  # whatever libtpu and its loader raise
        raise UserError(
            f"programs cannot be compiled for {topology}: {str(error).splitlines()[0][:300]}; pip install libtpu, and "
            "name a topology such as v5e:2x2 that matches TPU_ACCELERATOR_TYPE, such as v5litepod-4"
        ) from error


def cycles(text: str) -> int:
    """Returns the cycles that the compiler estimates for a program, given its text."""
    lines = (line for line in text.splitlines() if "async-done" not in line)
    return sum(int(match[1]) for line in lines if (match := re.search(r'"estimated_cycles":"?(\d+)', line)))


def counts(text: str, kinds: Sequence[str]) -> dict[str, int]:
    """Returns how many operations of the given kinds a program has, omitting kinds that it lacks."""
    numbers = {kind: len(re.findall(rf"[)\]}}] {kind}(?:-start)?\(", text)) for kind in kinds}
    return {kind: number for kind, number in numbers.items() if number}


def kernels(text: str) -> dict[str, int]:
    """Returns how often a program calls each Pallas kernel."""
    calls = re.findall(r"%([\w-]+?)(?:\.\d+)* = .*custom_call_target=\"tpu_custom_call\"", text)
    return dict(collections.Counter(calls))


if __name__ == "__main__":
    raise SystemExit(main())
