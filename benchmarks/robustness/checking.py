"""What detecting damage costs: flushing writes to the disk, and checking finished results at a start.

    python benchmarks/robustness/checking.py RESULT --copies 60

RESULT is the results folder of one image. It is copied with and without flushing; then the copies are checked as at a
start, once from the disk (the system is asked to drop their pages from the cache) and once from memory.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import tempfile
import time

from gan2shape_jax.io import atomic_files
from gan2shape_jax.results import folder_record
from gan2shape_jax.run.survey import look_through


def copy(source: pathlib.Path, target: pathlib.Path) -> float:
    """Writes a results folder as a run does; returns the seconds."""
    contents = {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()}
    contents.pop(folder_record.FILE, None)
    begin = time.perf_counter()
    with atomic_files.atomic_folder(target) as fresh:
        for name, content in contents.items():
            (fresh / name).write_bytes(content)
        folder_record.write_record(fresh, {})
    return time.perf_counter() - begin


def forget(folder: pathlib.Path) -> None:
    """Asks the system to read these files from the disk next time."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=pathlib.Path)
    parser.add_argument("--copies", type=int, default=60)
    parser.add_argument("--folder", type=pathlib.Path, help="where to work (default: the system's temporary folder)")
    options = parser.parse_args()
    through = atomic_files._write_through, atomic_files._write_entries_through
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        root = pathlib.Path(scratch)
        seconds = {True: [], False: []}
        stems = [f"{number:04}" for number in range(options.copies)]
        for stem in stems:
            for written_through in (False, True):
                calls = through if written_through else (lambda path: None,) * 2
                atomic_files._write_through, atomic_files._write_entries_through = calls
                shutil.rmtree(root / stem, ignore_errors=True)
                seconds[written_through].append(copy(options.result, root / stem))
        sizes = [path.stat().st_size for path in (root / stems[0]).iterdir()]
        print(f"a results folder of {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB, is written in")
        for written_through, every in seconds.items():
            how = "with" if written_through else "without"
            print(f"  {statistics.median(every) * 1e3:.0f} ms {how} writing through (longest {max(every) * 1e3:.0f})")
        for how in ("from the disk", "from memory"):
            if how == "from the disk":
                forget(root)
            begin = time.perf_counter()
            found = look_through(stems, lambda stem: root / stem, made_by="", told=True)
            took = time.perf_counter() - begin
            assert len(found.finished) == len(stems), found.damaged
            each = took / len(stems)
            rate = sum(sizes) / each / 1e9
            print(f"looking through {len(stems)} of them {how}: {took:.2f} s, {rate:.2f} GB/s")
            print(f"  1,000 of them: {each * 1e3:.0f} s")


if __name__ == "__main__":
    main()
