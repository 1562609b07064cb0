"""What commands take: seconds to the page, to the first result and to the end, CPU seconds and peak memory.

    python benchmarks/speed/commands.py faces [--runs 3] [--beside CHECKOUT]
    python benchmarks/speed/commands.py photo [--photos 20] [--refine] [--runs 3] [--beside CHECKOUT]

`faces` is the main command for the six bundled faces; `photo` makes 3D of a twelve-megapixel photo, an enlarged bundled
face placed on a background with grain; of several, each has another size. Each run has its own process and a new
folder. First as many runs with an empty folder for compiled programs, then as many that find them compiled; medians of
each. `--beside` takes turns with the package in another checkout, such as a worktree of a former commit. Processor
seconds are more telling than others if somebody else uses the machine.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from gan2shape_jax.io.bundled import asset

_HERE = pathlib.Path(__file__).parents[2]
_COMMAND = "from gan2shape_jax.main import console; console()"
_FACES = 6
# Python keeps the package's bytecode, as it does of an installed package, also where it is told not to.
_LEFT_OUT = ("PYTHONDONTWRITEBYTECODE", "JAX_COMPILATION_CACHE_DIR")
_LOOK_S = 0.1  # seconds between looks at the folder
_WIDTH, _HEIGHT, _FACE = 4032, 3024, 1500  # pixels
_PLACE = (1300, 700)
_GRAIN = 4


class Taken(NamedTuple):
    """What a run took: seconds to the page of all images, the first finished one and all; CPU seconds; peak GiB."""

    page: float
    first: float
    whole: float
    processor: float
    gib: float


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("faces", "photo"))
    parser.add_argument("--photos", type=int, default=1)
    parser.add_argument("--refine", action="store_true", help="the photos")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--beside", type=pathlib.Path, metavar="CHECKOUT")
    options = parser.parse_args()
    checkouts = {"this": _HERE} | ({"beside": options.beside.resolve()} if options.beside else {})
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        if options.what == "photo":
            _write_photos(folder / "photos", options.photos)
        for kind in ("nothing compiled", "compiled before"):
            taken: dict[str, list[Taken]] = {name: [] for name in checkouts}
            for number in range(options.runs):
                for name, checkout in checkouts.items():
                    programs = folder / f"programs-{name}-{number if kind == 'nothing compiled' else 0}"
                    out = folder / f"{kind[:4]}-{name}-{number}"
                    if options.what == "faces":
                        command, images = ["--config=ictface", f"--config.workdir={out}"], _FACES
                    else:
                        command, images = ["photo", str(folder / "photos"), "--out", str(out)], options.photos
                        command += ["--refine"] if options.refine else []
                    taken[name].append(_watched(command, out, images, checkout, programs))
                    print(_line(f"{kind}, {name} {number + 1}", taken[name][-1]), flush=True)
            for name, runs in taken.items():
                print(_line(f"{kind}, {name}, median of {options.runs}", Taken(*np.median(np.array(runs), axis=0))))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


def _write_photos(folder: pathlib.Path, count: int) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(60, 200, (24, 32, 3), dtype=np.uint8))
    photo = coarse.resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC)
    face = Image.open(asset("ictface/image/008.png")).convert("RGB")
    photo.paste(face.resize((_FACE, _FACE), Image.Resampling.BICUBIC), _PLACE)
    grained = np.asarray(photo).astype(np.int16) + rng.normal(0, _GRAIN, (_HEIGHT, _WIDTH, 1)).astype(np.int16)
    whole = Image.fromarray(grained.clip(0, 255).astype(np.uint8))
    folder.mkdir()
    for number in range(count):
        shown = whole if number == 0 else whole.reduce(2 + number % 5)
        shown.save(folder / f"{number}.jpg", quality=92)


def _watched(
    arguments: Sequence[str], out: pathlib.Path, images: int, checkout: pathlib.Path, programs: pathlib.Path
) -> Taken:
    """Runs a checkout's command that writes results of so many images into `out`; looks at that folder meanwhile.

    Ends this program with what the command said if it fails.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    environment |= {"PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(programs)}
    command = [sys.executable, "-c", _COMMAND, *arguments]
    page = first = None
    with open(out.with_suffix(".log"), "w+") as log:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=checkout, env=environment)
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
    return Taken(page, first, now, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20)


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


def _line(name: str, taken: Taken) -> str:
    """Returns what a run took, in words."""
    return (
        f"{name}: page after {taken.page:.1f} s, first result after {taken.first:.1f} s, all after {taken.whole:.1f} "
        f"s, {taken.processor:.0f} processor seconds, {taken.gib:.2f} GiB"
    )


if __name__ == "__main__":
    main()
