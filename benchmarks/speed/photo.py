"""What `gan2shape-jax photo` takes for a twelve-megapixel photo: seconds to the page and to the end, and memory.

    python benchmarks/speed/photo.py [--photos 20] [--refine] [--runs 3] [--beside PYTHON]

The photo is an enlarged bundled face placed on a background with grain; of several, each has another size. Every run
has its own process; the first one, which compiles programs or finds them compiled, is listed separately. With an empty
folder as XDG_CACHE_HOME it is a first start after installing. CPU time is more telling than wall time if others use the
machine. `--beside` names the Python of another checkout's environment, whose runs take turns with these.
"""

import argparse
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence

import numpy as np
from first_mesh import Taken, line, watched
from PIL import Image

from gan2shape_jax.io.bundled import asset

_WIDTH, _HEIGHT, _FACE = 4032, 3024, 1500  # pixels
_PLACE = (1300, 700)
_GRAIN = 4


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1)
    parser.add_argument("--refine", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--beside", metavar="PYTHON", help="of another checkout's environment")
    options = parser.parse_args(arguments)
    pythons = {"": sys.executable} | ({"beside, ": options.beside} if options.beside else {})
    runs: dict[str, list[Taken]] = {name: [] for name in pythons}
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        (folder / "photos").mkdir()
        whole = _photo()
        for number in range(options.photos):
            shown = whole if number == 0 else whole.reduce(2 + number % 5)
            shown.save(folder / "photos" / f"{number}.jpg", quality=92)
        extra = ["--refine"] if options.refine else []
        for number in range(options.runs + 1):
            for name, python in pythons.items():
                runs[name].append(_run(python, folder, f"{name[:-2]}{number}", options.photos, extra))
                print(line(f"{name}warm {number}" if number else f"{name}first", runs[name][-1]), flush=True)
    for name, taken in runs.items():
        print(line(f"{name}warm, median", Taken(*np.median(np.array(taken[1:]), axis=0))))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


def _photo() -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(60, 200, (24, 32, 3), dtype=np.uint8))
    photo = coarse.resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC)
    face = Image.open(asset("ictface/image/008.png")).convert("RGB")
    photo.paste(face.resize((_FACE, _FACE), Image.Resampling.BICUBIC), _PLACE)
    grained = np.asarray(photo).astype(np.int16) + rng.normal(0, _GRAIN, (_HEIGHT, _WIDTH, 1)).astype(np.int16)
    return Image.fromarray(grained.clip(0, 255).astype(np.uint8))


def _run(python: str, folder: pathlib.Path, name: str, photos: int, extra: list[str]) -> Taken:
    out = folder / name
    command = [python, "-m", "gan2shape_jax.main", "photo", str(folder / "photos"), "--out", str(out)]
    return watched([*command, *extra], out, photos, cwd=folder)


if __name__ == "__main__":
    main()
