"""Damages every file that runs write, one at a time, and starts the same command again.

    python benchmarks/robustness/damage.py --out damage.json
    python benchmarks/robustness/damage.py --modes instance --every 7          # every seventh case
    python benchmarks/robustness/damage.py --modes group --leave-out results   # all but the files of results

For each mode (independent images, a group of two, joint, predict) an undisturbed run is made, and one that is killed
midway. Every file of either is truncated, emptied, deleted, garbled, and has one bit flipped (JSON is also replaced by
`null`, a list and 100,000 brackets); each time in a fresh copy of the folder, in which the command is then started
again. It has to exit with 0, print no traceback, and leave results bit-identical to the undisturbed run's.

A mode's starts share one process, so that programs are compiled once. That this changes nothing is checked first: the
killed run, made by another process, has to resume to the same bits.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import tiny_runs

Harm = Callable[[bytes], bytes | None]
_STATES = ("finished", "half-finished")


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :] if content else b"\x04"


HARMS: dict[str, Harm] = {
    "truncate": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "delete": lambda content: None,
    "garble": lambda content: random.Random(0).randbytes(len(content) or 1),
    "flip": _flip,
}
OF_JSON: dict[str, Harm] = {
    "null": lambda content: b"null",
    "list": lambda content: b"[]",
    "deep": lambda content: b"[" * 100_000,
}


def cases(run: pathlib.Path) -> Iterator[tuple[pathlib.PurePath, str, Harm]]:
    """Yields every file of a run with every kind of damage that applies to it."""
    for path in sorted(run.rglob("*")):
        if path.is_file():
            harms = HARMS | OF_JSON if path.suffix == ".json" or path.name == "metadata" else HARMS
            yield from ((path.relative_to(run), name, harm) for name, harm in harms.items())


def apply(path: pathlib.Path, harm: Harm) -> None:
    """Damages a file."""
    content = harm(path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


@contextlib.contextmanager
def printed() -> Iterator[Callable[[], str]]:
    """Yields a function that returns everything printed since, by whatever means."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(1), os.dup(2)
        try:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)

            def text() -> str:
                sys.stdout.flush()
                sys.stderr.flush()
                file.seek(0)
                return file.read().decode(errors="replace")

            yield text
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, former in zip((1, 2), kept, strict=True):
                os.dup2(former, descriptor)
                os.close(former)


def started(arguments: list[str]) -> tuple[object, str]:
    """Runs the command in this process; returns its exit code, or what it raised, and what it printed."""
    from gan2shape_jax.main import main

    with printed() as text:
        try:
            code: object = main(arguments)
        except BaseException as error:  # a traceback, in a process of its own
            code = f"{type(error).__name__}: {error}"
        return code, text()


def judge(
    mode: str, folder: pathlib.Path, whole: dict[str, bytes], networks: pathlib.Path | None, **fields: object
) -> dict[str, object]:
    """Starts the command in a folder, with further fields set, and returns how it ended."""
    begin = time.perf_counter()
    code, text = started(tiny_runs.command(mode, folder, networks, **fields))
    return {
        "code": code,
        "other_bits": tiny_runs.compare(folder / "run", whole),
        "traceback": "Traceback" in text,
        "told": [line for line in text.splitlines() if line.startswith("warning: ")],
        "seconds": round(time.perf_counter() - begin, 2),
        "printed": text if code != 0 or "Traceback" in text else "",
    }


def is_good(outcome: dict[str, object]) -> bool:
    """Whether a damaged run reached the same result."""
    return outcome["code"] == 0 and not outcome["other_bits"] and not outcome["traceback"]


def _half_made(mode: str, run: pathlib.Path) -> Callable[[], bool]:
    """Returns whether a run is at the point where it is killed."""
    if mode == "predict":
        return lambda: any(run.rglob("001/result.json"))
    place = {"instance": "006", "group": ".group-*", "joint": ".all", "lift": ".all"}[mode]
    return lambda: any(len(list(tiny_runs.steps(path))) >= 2 for path in (run / "checkpoints").glob(place))


def half_made(mode: str, folder: pathlib.Path, networks: pathlib.Path | None, **fields: object) -> pathlib.Path:
    """Returns a run that was killed midway."""
    for attempt in range(5):
        place = folder / f"half-{attempt}"
        with contextlib.suppress(tiny_runs.Killed):
            arguments = tiny_runs.command(mode, place, networks, **fields)
            tiny_runs.stop_at(arguments, folder / f"half-{attempt}.log", _half_made(mode, place / "run"))
            return place
    raise SystemExit(f"{mode}: the run was never to be stopped in time; see {folder}/half-*.log")


def _train(networks: pathlib.Path) -> None:
    """Makes the networks that a prediction needs, by an undisturbed run of joint training."""
    place = networks.with_suffix("")
    code, text = started(tiny_runs.command("joint", place))
    if code != 0:
        raise SystemExit(f"joint: the undisturbed run ended with {code}\n{text}")
    shutil.copy(place / "run" / "networks.safetensors", networks)


def work(mode: str, folder: pathlib.Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """Runs all cases of one mode; returns the outcome of each."""
    networks = folder.parent / "networks.safetensors" if mode == "predict" else None
    if networks and not networks.exists():
        _train(networks)
    whole, fields = folder / "whole", {"outputs__preset": options.preset}
    code, text = started(tiny_runs.command(mode, whole, networks, **fields))
    if code != 0:
        raise SystemExit(f"{mode}: the undisturbed run ended with {code}\n{text}")
    bits = tiny_runs.results(whole / "run")
    if mode == "joint":
        shutil.copy(whole / "run" / "networks.safetensors", folder.parent)
    half = half_made(mode, folder, networks, **fields)
    outcomes = []
    for state, source in (("finished", whole), ("half-finished", half)):
        if state not in options.states:
            continue
        place = folder / "case"
        every = [case for case in enumerate(cases(source / "run")) if case[1][0].parts[0] not in options.leave_out]
        chosen = every[options.first :: options.every]
        for number, (file, name, harm) in [(-1, (None, "nothing", None)), *chosen]:
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(source, place)
            if file is not None:
                apply(place / "run" / file, harm)
            outcome = judge(mode, place, bits, networks, **fields)
            outcomes.append({"mode": mode, "state": state, "file": str(file), "harm": name, **outcome})
            print(f"{mode} {state} {number} {file} {name}: {_in_words(outcome)}", flush=True)
            if number < 0 and not is_good(outcome):
                raise SystemExit(f"{mode} {state}: without any damage the run ends otherwise\n{outcome['printed']}")
    return outcomes


def _in_words(outcome: dict[str, object]) -> str:
    verdict = "same end" if is_good(outcome) else f"FAILED ({outcome['code']}, other bits: {outcome['other_bits']})"
    return f"{verdict}, {outcome['seconds']} s"


def table(outcomes: list[dict[str, object]]) -> str:
    """Returns a table: cases, how many reached the same result, how many were reported, seconds per case."""
    groups: dict[tuple[object, object], list[dict[str, object]]] = collections.defaultdict(list)
    for one in outcomes:
        groups[one["mode"], one["state"]].append(one)
    lines = ["| mode | run | cases | same end | other code | other bits | traceback | told | s a case |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for (mode, state), every in groups.items():
        counts = (
            len(every),
            sum(map(is_good, every)),
            sum(one["code"] != 0 for one in every),
            sum(bool(one["other_bits"]) for one in every),
            sum(bool(one["traceback"]) for one in every),
            sum(bool(one["told"]) for one in every),
        )
        mean = sum(float(str(one["seconds"])) for one in every) / len(every)
        lines.append(f"| {mode} | {state} | {' | '.join(map(str, counts))} | {mean:.1f} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", choices=tiny_runs.MODES, default=list(tiny_runs.MODES))
    parser.add_argument("--every", type=int, default=1, help="do only every n-th case")
    parser.add_argument("--first", type=int, default=0, help="number of the first case that is done")
    parser.add_argument("--states", nargs="+", choices=_STATES, default=list(_STATES), help="of the runs harmed")
    parser.add_argument("--preset", default="all", help="config.outputs.preset: a case of few pictures is quicker")
    parser.add_argument("--leave-out", nargs="+", default=[], help="folders of a run whose files are not harmed")
    parser.add_argument("--folder", type=pathlib.Path, help="where to work; what was made there stays")
    parser.add_argument("--out", type=pathlib.Path, help="write every outcome as JSON")
    parser.add_argument("--worker", choices=tiny_runs.MODES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.worker:
            outcomes = work(options.worker, folder / options.worker, options)
            (folder / f"{options.worker}.json").write_text(json.dumps(outcomes, indent=1))
            return 0
        outcomes = []
        modes = [mode for mode in tiny_runs.MODES if mode in options.modes]
        for mode in modes:
            shutil.rmtree(folder / mode, ignore_errors=True)
            (folder / mode).mkdir(parents=True)
            given = ["--worker", mode, "--every", str(options.every), "--first", str(options.first)]
            given += ["--states", *options.states, "--preset", options.preset]
            given += ["--leave-out", *options.leave_out] if options.leave_out else []
            process = [sys.executable, __file__, *given, "--folder", str(folder)]
            if subprocess.run(process, env=tiny_runs.environment(), check=False).returncode:
                return 1
            outcomes += json.loads((folder / f"{mode}.json").read_text())
    print(table(outcomes))
    if options.out:
        options.out.write_text(json.dumps(outcomes, indent=1) + "\n")
    return 0 if all(map(is_good, outcomes)) else 1


if __name__ == "__main__":
    sys.exit(main())
