"""Lets disks of many sizes fill up during runs: a run ends with a message, and resumes bit for bit once there is room.

    sudo python benchmarks/robustness/full_disk.py --modes instance joint --sizes 12 --out full_disk.json

The workdir lies on a file system in memory (tmpfs, which requires the right to mount one). Its sizes range from a
fiftieth of what the undisturbed run leaves to as much as it takes with its checkpoints, so that writing latents,
checkpoints and results all run out of space. Such a run has to exit with 1 (0 if everything fitted), without a
traceback and without partial results; then the file system is enlarged, and the same command has to exit with 0 and
the bits of the undisturbed run.
"""

import argparse
import contextlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import tiny_runs
from damage import started

_PLENTY_MIB = 2048
_CHECKPOINTS_KIB = 24 * 1024  # more than all checkpoints of an image take at once


def _size(folder: pathlib.Path) -> int:
    """Returns the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def _disk(place: pathlib.Path, kib: int):
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def _half_results(run: pathlib.Path) -> list[str]:
    """Returns the results folders that are incomplete."""
    from gan2shape_jax.errors import UserError
    from gan2shape_jax.results import load_result

    harm = []
    for folder in (run / "results").glob("*"):
        if folder.is_dir() and not folder.name.startswith("."):
            try:
                load_result(folder)
            except UserError as error:
                harm.append(f"{folder.name}: {error}")
    return harm


def work(mode: str, folder: pathlib.Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """Fills the disk during the runs of one mode; returns the outcome of each."""
    whole = folder / "whole"
    code, text = started(tiny_runs.command(mode, whole))
    if code != 0:
        raise SystemExit(f"{mode}: the undisturbed run ended with {code}\n{text}")
    bits, most = tiny_runs.results(whole / "run"), _size(whole) / 1024
    outcomes = []
    for number in range(options.sizes):
        kib = int(most * 0.02 + (most + _CHECKPOINTS_KIB) * number / max(options.sizes - 1, 1))
        place = folder / f"disk-{number}"
        with _disk(place, kib):
            # A run that expects to need more space than there is would not start.
            code, text = started(tiny_runs.command(mode, place, None, **{"runtime.allow_large": True}))
            told = [line for line in text.splitlines() if line.startswith("error:")]
            half = _half_results(place / "run")
            subprocess.run(["mount", "-o", f"remount,size={_PLENTY_MIB}m", str(place)], check=True)
            again, text_again = started(tiny_runs.command(mode, place))
            other = tiny_runs.compare(place / "run", bits)
        good = (
            code in (0, 1)
            and again == 0
            and not (half or other)
            and "Traceback" not in text + text_again
            and (code == 0 or bool(told) or "failed" in text)
        )
        print(
            f"{mode} {kib} KiB: {code}, {told[:1]}; then {again}, {'same bits' if good else 'NOT AS IT HAS TO BE'}",
            flush=True,
        )
        outcomes.append(
            {"mode": mode, "kib": kib, "code": code, "told": told, "half": half, "again": again, "other_bits": other,
             "good": good, "text": "" if good else text + text_again}
        )  # fmt: skip
    shutil.rmtree(whole)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", choices=tiny_runs.MODES[:4], default=list(tiny_runs.MODES[:4]))
    parser.add_argument("--sizes", type=int, default=12, help="of the disk, in each mode")
    parser.add_argument("--folder", type=pathlib.Path, help="where to work")
    parser.add_argument("--out", type=pathlib.Path, help="write every outcome as JSON")
    parser.add_argument("--worker", choices=tiny_runs.MODES[:4], help=argparse.SUPPRESS)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.worker:
            outcomes = work(options.worker, folder / options.worker, options)
            (folder / f"{options.worker}.json").write_text(json.dumps(outcomes, indent=1))
            return 0
        outcomes = []
        for mode in options.modes:
            shutil.rmtree(folder / mode, ignore_errors=True)
            (folder / mode).mkdir(parents=True)
            process = [
                sys.executable,
                __file__,
                "--worker",
                mode,
                "--sizes",
                str(options.sizes),
                "--folder",
                str(folder),
            ]
            if subprocess.run(process, env=tiny_runs.environment(), check=False).returncode:
                return 1
            outcomes += json.loads((folder / f"{mode}.json").read_text())
    ended = sum(one["code"] == 1 for one in outcomes)
    print(f"{len(outcomes)} disks, {ended} of them too small; {sum(one['good'] for one in outcomes)} as it has to be")
    if options.out:
        options.out.write_text(json.dumps(outcomes, indent=1) + "\n")
    return 0 if all(one["good"] for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
