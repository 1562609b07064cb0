"""Kills runs at random moments and resumes them: the results must be bit-identical to those of an undisturbed run.

    python benchmarks/robustness/kills.py --kills 100 --out kills.json
    python benchmarks/robustness/kills.py --kills 20 --signal INT --modes instance

With `--signal INT` each run is sent two SIGINTs, as by two Ctrl-C 0.3 s apart: it has to exit with 130 within two
seconds of the second one (with 0 if it had just finished), without a traceback. Moments are drawn uniformly over the
time that an undisturbed run takes in its own process, from half a second on: until then Python is still loading the
program and handles Ctrl-C itself. A mode's resumed runs share one process, so that programs are compiled once; the
killed runs have one each.
"""

import argparse
import contextlib
import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import tiny_runs
from tiny_runs import judge, started

_LOADED_S = 0.5  # until Python has loaded the program
_BETWEEN_S = 0.3  # between two Ctrl-C
_LONGEST_S = 2.0  # from the second one to the end


def kill(arguments: list[str], log: pathlib.Path, after_s: float, kind: int) -> dict[str, object]:
    """Starts a run, sends it a signal after `after_s` seconds, and returns how it ended."""
    process = tiny_runs.start(arguments, log)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(kind)
        if kind == signal.SIGINT:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_BETWEEN_S)
            process.send_signal(kind)
    begin = time.perf_counter()
    code = process.wait()
    text = log.read_text(errors="replace")
    return {"after_s": round(after_s, 3), "code": code, "ending_s": round(time.perf_counter() - begin, 3), "text": text}


def is_good(killed: dict[str, object], kind: int) -> bool:
    """Whether a run ended as it must on that signal."""
    codes = (-signal.SIGKILL, 0) if kind == signal.SIGKILL else (130, 0)
    in_time = kind == signal.SIGKILL or float(str(killed["ending_s"])) <= _LONGEST_S
    return killed["code"] in codes and in_time and "Traceback" not in str(killed["text"])


def work(mode: str, folder: pathlib.Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """Kills the runs of one mode; returns the outcome of each."""
    kind = getattr(signal, f"SIG{options.signal}")
    whole = folder / "whole"
    code, text = started(tiny_runs.command(mode, whole))
    if code != 0:
        raise SystemExit(f"{mode}: the undisturbed run ended with {code}\n{text}")
    bits = tiny_runs.results(whole / "run")
    begin = time.perf_counter()
    process = tiny_runs.start(tiny_runs.command(mode, folder / "timed"), folder / "timed.log")
    if process.wait() != 0 or tiny_runs.compare(folder / "timed" / "run", bits):
        raise SystemExit(f"{mode}: a process of its own comes to another end; see {folder}/timed.log")
    seconds = time.perf_counter() - begin
    moments, outcomes = random.Random(f"{options.seed} {mode}"), []
    for number in range(options.kills):
        place = folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        arguments = tiny_runs.command(mode, place)
        killed = kill(arguments, folder / "killed.log", moments.uniform(_LOADED_S, seconds), kind)
        resumed = judge(mode, place, bits, None)
        good = is_good(killed, kind) and resumed["code"] == 0 and not resumed["other_bits"] and not resumed["traceback"]
        text = "" if good else killed.pop("text")
        killed.pop("text", None)
        print(
            f"{mode} {number}: {options.signal} after {killed['after_s']:.1f} s, code {killed['code']} "
            f"{killed['ending_s']} s later; resumed {'to the same bits' if good else 'NOT AS IT HAS TO BE'} in "
            f"{resumed['seconds']} s",
            flush=True,
        )
        outcomes.append({"mode": mode, "good": good, "killed": killed, "resumed": resumed, "text": text})
    return outcomes


def table(outcomes: list[dict]) -> str:
    """Returns a table: kills, how many reached the same result, and how long the slowest took to exit."""
    lines = ["| mode | kills | same end | finished before | longest to end, s |", "|---|---:|---:|---:|---:|"]
    for mode in tiny_runs.MODES:
        if every := [one for one in outcomes if one["mode"] == mode]:
            good, done = sum(one["good"] for one in every), sum(one["killed"]["code"] == 0 for one in every)
            longest = max(one["killed"]["ending_s"] for one in every)
            lines.append(f"| {mode} | {len(every)} | {good} | {done} | {longest:.2f} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = tiny_runs.MODES[:4]
    parser.add_argument("--modes", nargs="+", choices=modes, default=list(modes))
    parser.add_argument("--kills", type=int, default=10, help="in each mode")
    parser.add_argument("--signal", choices=("KILL", "INT"), default="KILL")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=pathlib.Path, help="where to work; what was made there stays")
    parser.add_argument("--out", type=pathlib.Path, help="write every outcome as JSON")
    parser.add_argument("--worker", choices=modes, help=argparse.SUPPRESS)
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
            given = ["--kills", str(options.kills), "--signal", options.signal, "--seed", str(options.seed)]
            process = [sys.executable, __file__, "--worker", mode, *given, "--folder", str(folder)]
            if subprocess.run(process, env=tiny_runs.environment(), check=False).returncode:
                return 1
            outcomes += json.loads((folder / f"{mode}.json").read_text())
    print(table(outcomes))
    if options.out:
        options.out.write_text(json.dumps(outcomes, indent=1) + "\n")
    return 0 if all(one["good"] for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
