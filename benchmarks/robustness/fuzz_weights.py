"""Mutates weight files and opens them: they are read, or rejected with a message, quickly and with little memory.

    python benchmarks/robustness/fuzz_weights.py --minutes 10
    python benchmarks/robustness/fuzz_weights.py --minutes 60 --kinds torch_zip nvidia --seed 7

Files are mutated byte by byte and by their structure (instructions of pickles, entries of archives, JSON of
headers, fields of protocol buffers). Those that reach lines or messages not reached before are mutated
further, and kept if they are small: `tests/io/weights/test_hostile_files.py` opens them again.

A finding is a file that raises anything but a `UserError`, or takes more than 2 CPU seconds or 512 MiB beyond
the idle process; each is written to --findings. The exit status is 1 if there are any.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

_ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT), str(_ROOT / "tests"), str(pathlib.Path(__file__).resolve().parent)]

from helpers import hostile  # noqa: E402

_SHARE = 300  # seconds after which a worker is replaced by another, with another seed
_SILENCE = 120  # seconds beyond its time after which a worker counts as stuck


def main() -> None:
    options = _parser().parse_args()
    options.findings.mkdir(parents=True, exist_ok=True)
    if options.worker:
        _work(options)
        return
    end, faults, seed = time.monotonic() + 60 * options.minutes, 0, options.seed
    while (left := end - time.monotonic()) > 1:
        faults += _one_worker(options, min(left, _SHARE), seed)
        seed += 1
    (options.findings / "current").unlink(missing_ok=True)
    print(f"{faults} findings" + (f" in {options.findings}" if faults else ""))
    sys.exit(1 if faults else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--kinds", nargs="+", choices=hostile.KINDS, default=list(hostile.KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=pathlib.Path, default=_ROOT / "tests" / "io" / "weights" / "corpus")
    parser.add_argument("--findings", type=pathlib.Path, default=pathlib.Path("results") / "fuzz_weights")
    parser.add_argument("--worker", type=float, default=0, help=argparse.SUPPRESS)
    return parser


def _work(options: argparse.Namespace) -> None:
    from fuzzing import worker

    worker.work(worker.Options(tuple(options.kinds), options.corpus, options.findings, options.worker, options.seed))


def _one_worker(options: argparse.Namespace, seconds: float, seed: int) -> int:
    """Runs a worker to its end; returns its findings, including its own end if it comes too early."""
    command = [sys.executable, __file__, "--kinds", *options.kinds, "--corpus", str(options.corpus)]
    command += ["--findings", str(options.findings), "--seed", str(seed), "--worker", str(seconds)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=seconds + _SILENCE)
        printed, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as error:
        printed, status = (error.stdout or b"").decode(), "stuck"
    found = [line for line in printed.splitlines() if line.startswith("{")]
    print("\n".join(found), flush=True)
    count = sum("finding" in json.loads(line) for line in found)
    if status:
        kept = options.findings / f"ended-{seed}"
        (options.findings / "current").replace(kept)
        print(json.dumps({"finding": f"the worker ended ({status})", "file": kept.name}), flush=True)
        count += 1
    return count


if __name__ == "__main__":
    main()
