"""What the main command takes for the six bundled faces: seconds to the page, to the first refined face and to all.

    python benchmarks/speed/first_mesh.py [--runs 3] [--beside CHECKOUT]

Each run has its own process and a new folder. First as many runs with an empty folder for compiled programs, then as
many that find them compiled; medians of each. `--beside` takes turns with the package in another checkout, such as a
worktree of a former commit. A page counts from when it shows all faces, in a former commit too. Processor seconds are
more telling than others if somebody else uses the machine.
"""

import argparse
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

_HERE = pathlib.Path(__file__).parents[2]
_COMMAND = "from gan2shape_jax.main import console; console()"
_FACES = 6
# Python keeps the package's bytecode, as it does of an installed package, also where it is told not to.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
_LOOK_S = 0.1  # seconds between looks at the folder


class Taken(NamedTuple):
    """What a run took: seconds to the page of all images, the first finished one and all; CPU seconds; peak GiB."""

    page: float
    first: float
    whole: float
    processor: float
    gib: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--beside", type=pathlib.Path, metavar="CHECKOUT")
    options = parser.parse_args(arguments)
    checkouts = {"this": _HERE} | ({"beside": options.beside.resolve()} if options.beside else {})
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        for kind in ("nothing compiled", "compiled before"):
            taken: dict[str, list[Taken]] = {name: [] for name in checkouts}
            for number in range(options.runs):
                for name, checkout in checkouts.items():
                    programs = folder / f"programs-{name}-{number if kind == 'nothing compiled' else 0}"
                    taken[name].append(_run(checkout, folder / f"{kind[:4]}-{name}-{number}", programs))
                    print(line(f"{kind}, {name} {number + 1}", taken[name][-1]), flush=True)
            for name, runs in taken.items():
                print(line(f"{kind}, {name}, median of {options.runs}", Taken(*np.median(np.array(runs), axis=0))))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


def _run(checkout: pathlib.Path, out: pathlib.Path, programs: pathlib.Path) -> Taken:
    """Runs the command of a checkout."""
    environment = _ENVIRONMENT | {"PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(programs)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-c", _COMMAND, "--config=ictface", f"--config.workdir={out}"]
    return watched(command, out, _FACES, cwd=checkout, env=environment)


def watched(command: Sequence[str], out: pathlib.Path, images: int, **process_options: Any) -> Taken:
    """Runs a command that writes results of so many images into `out`; looks at that folder meanwhile.

    `process_options` are for `subprocess.Popen`. Ends this program with what the command said if it fails.
    """
    page = first = None
    with open(out.with_suffix(".log"), "w+") as log:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=log, stderr=log, **({"env": _ENVIRONMENT} | process_options))
        while True:
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            now = time.monotonic() - began
            page = page or (now if _shown(out) == images else None)
            first = first or (now if any(map(_is_refined, out.glob("results/*/result.json"))) else None)
            if ended:
                break
            time.sleep(_LOOK_S)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or page is None or first is None:
            log.seek(0)
            raise SystemExit(log.read())
    return Taken(page, first, now, used.ru_utime + used.ru_stime, _peak_gib(used))


def _peak_gib(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def _shown(out: pathlib.Path) -> int:
    """Returns how many images the page shows."""
    try:
        return len(set(re.findall(r'<li [^>]*data-index="(\d+)"', (out / "index.html").read_text())))
    except OSError:
        return 0


def _is_refined(record: pathlib.Path) -> bool:
    try:
        return not json.loads(record.read_text())["metrics"].get("awaits_refinement")
    except (OSError, ValueError):  # just being replaced
        return False


def line(name: str, taken: Taken) -> str:
    """Returns what a run took, in words."""
    return (
        f"{name}: page after {taken.page:.1f} s, first result after {taken.first:.1f} s, all after {taken.whole:.1f} "
        f"s, {taken.processor:.0f} processor seconds, {taken.gib:.2f} GiB"
    )


if __name__ == "__main__":
    main()
