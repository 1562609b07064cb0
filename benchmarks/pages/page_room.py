"""Measures how much fits into a run's page, and the time to write it, with a run's results copied many times.

    python -m gan2shape_jax.main --config=configs/ictface.py:predict --config.workdir=RUN
    python benchmarks/pages/page_room.py RUN --counts 6 15 500 2000

Prints one line of a Markdown table for each number of images: bytes, what is inside, CPU seconds to write the page
for the first time, and again when nothing is new.
"""

import argparse
import pathlib
import shutil
import tempfile
import time

from gan2shape_jax.results import Fragments, Row, load_metrics, write_page
from gan2shape_jax.results.page.entries import FILES
from gan2shape_jax.results.page.fragment import FILE

_KINDS = ("model", "extras", "file")


def _line(results: list[pathlib.Path], count: int, scratch: pathlib.Path) -> str:
    rows = []
    for k in range(count):
        source = results[k % len(results)]
        folder = scratch / "results" / f"{k:05}"
        folder.mkdir(parents=True)
        for name in (FILE, *(name for offer in FILES for name in offer.files)):
            if (source / name).is_file():
                shutil.copy(source / name, folder / name)
        rows.append(Row(f"{k:05}", metrics=load_metrics(source)))
    fragments, seconds = Fragments(), []
    for _ in range(2):
        began = time.process_time()
        write_page(scratch, rows, fragments=fragments)
        seconds.append(time.process_time() - began)
    text = (scratch / "index.html").read_text()
    inside = [text.count("<img src="), *(text.count(f'id="{kind}-') for kind in _KINDS)]
    counts = " | ".join(f"{number:,}" for number in (count, len(text.encode()), *inside))
    return f"| {counts} | {seconds[0]:.2f} | {seconds[1]:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, help="a run's folder")
    parser.add_argument("--counts", type=int, nargs="+", default=[6, 15, 500, 2000], help="numbers of images")
    options = parser.parse_args()
    results = sorted(path.parent for path in (options.run / "results").rglob("result.json"))
    print("| images | bytes | small pictures | models | with further pictures | files | first, s | again, s |")
    print("|" + "---:|" * 8)
    for count in options.counts:
        with tempfile.TemporaryDirectory() as scratch:
            print(_line(results, count, pathlib.Path(scratch)), flush=True)


if __name__ == "__main__":
    main()
