"""Measures on a GPU or TPU what the docs call unmeasured, in order of priority, within a time limit.

    python benchmarks/speed/accelerator.py --out measured --minutes 9.5
    python benchmarks/speed/accelerator.py --out tried --tiny --minutes 30    on a CPU, to see that all of it runs

Each measurement is a program beside this one, run in its own process, which is ended when its share of the time is
up: what was measured until then is kept as OUT/NAME.txt and OUT/NAME.json; OUT/summary.json says how each ended.
If PyTorch for CUDA is installed, it is timed alongside (`--torch`); weights that have no file are drawn at random.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence

_HERE = pathlib.Path(__file__).resolve().parent
_NARROW = ("--config.networks.width=16", "--config.networks.group_base=4", "--config.sampling.batch_size=2")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One program and the time that it may take.

    Attributes:
      name: name of its files.
      program: the program beside this one.
      arguments: the program's arguments.
      seconds: the most that it may take; more if others took less.
      tiny: the arguments to use instead in a trial.
      torch: whether PyTorch is timed alongside.
    """

    name: str
    program: str
    arguments: tuple[str, ...]
    seconds: int
    tiny: tuple[str, ...]
    torch: bool = False


_STEPS = ("--random-weights", "--iterations", "6", "--only", "steps")
_TRIED = ("--configs", "ictface:scratch", "--iterations", "1", "--rows", "prior", *_NARROW)
MEASUREMENTS = (
    Measurement("celeba", "speed.py", ("--configs", "celeba", *_STEPS), 150, _TRIED, torch=True),
    Measurement(
        "celeba_bfloat16",
        "speed.py",
        ("--configs", "celeba", *_STEPS, "--config.runtime.precision=bfloat16"),
        90,
        (*_TRIED, "--config.runtime.precision=bfloat16"),
    ),
    Measurement("car", "speed.py", ("--configs", "car:published", *_STEPS), 100, _TRIED),
    Measurement(
        "rasterizer",
        "mesh_rasterizer.py",
        ("--size", "256", "--repeat", "10"),
        40,
        ("--size", "16", "--rings", "5", "--repeat", "1"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the measurements; returns 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--only", nargs="+", choices=[measurement.name for measurement in MEASUREMENTS])
    parser.add_argument("--torch", action="store_true", help="time PyTorch on CUDA beside it")
    parser.add_argument("--tiny", action="store_true", help="as little as possible, to try it")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 60 * options.minutes
    chosen = [measurement for measurement in MEASUREMENTS if options.only is None or measurement.name in options.only]
    summary: dict[str, str] = {}
    for index, measurement in enumerate(chosen):
        # A trial may take all the time that is left: a CPU compiles slowly.
        later = 0 if options.tiny else sum(other.seconds for other in chosen[index + 1 :])
        limit = max(measurement.seconds, until - time.monotonic() - later)
        summary[measurement.name] = _measured(measurement, options, min(limit, until - time.monotonic()))
        (options.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
        print(f"{measurement.name}: {summary[measurement.name]}", flush=True)
    return int(any(not state.startswith("done") for state in summary.values()))


def _measured(measurement: Measurement, options: argparse.Namespace, limit: float) -> str:
    """Runs a measurement; returns its outcome, in words."""
    if limit < 5:
        return "left out: the time was over"
    chosen = measurement.tiny if options.tiny else measurement.arguments
    command = [
        sys.executable,
        str(_HERE / measurement.program),
        *chosen,
        "--json",
        str(options.out / f"{measurement.name}.json"),
    ]
    if measurement.torch and options.torch:
        command += ["--torch", "plain", "--device", "cuda"]
    began = time.monotonic()
    # Memory is allocated as needed: another process may hold some of the device's.
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with (options.out / f"{measurement.name}.txt").open("w") as log:
        try:
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=limit, env=environment)
        except subprocess.TimeoutExpired:
            return f"ended after {limit:.0f} s, unfinished"
    taken = f"in {time.monotonic() - began:.0f} s"
    return f"done {taken}" if done.returncode == 0 else f"failed {taken}, see {measurement.name}.txt"


if __name__ == "__main__":
    raise SystemExit(main())
