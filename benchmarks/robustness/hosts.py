"""Kills one of two hosts at random moments: the other ends, with a message or by JAX, and restarting both recovers.

    python benchmarks/robustness/hosts.py --kills 4 --out hosts.json

Two processes stand for two hosts with one folder, in each mode. They are killed by SIGKILL, in turns. The surviving one
has to exit: with 0 or 1, or through JAX terminating a process whose partner is gone (joint training and a lift cannot
continue without it). Then both are restarted with the same command and have to exit with 0 and the results of two
undisturbed hosts.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import tiny_runs

_LONGEST_S = 400  # that a host whose partner is gone may take to exit
# Modes in which all hosts train one set of networks, on this many images per iteration.
_SHARED = {"joint": {}, "lift": {"schedule__batches_per_iteration": 2}}


def _port() -> int:
    with socket.socket() as port:
        port.bind(("localhost", 0))
        return port.getsockname()[1]


def start(arguments: list[str], folder: pathlib.Path, name: str) -> list[subprocess.Popen]:
    """Starts the command on two hosts; what they print goes to files in the folder."""
    port, hosts = _port(), []
    for index in range(2):
        told = {
            "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
            "JAX_NUM_PROCESSES": "2",
            "JAX_PROCESS_ID": str(index),
        }
        with (folder / f"{name}-{index}.log").open("wb") as printed:
            command = [sys.executable, "-m", "gan2shape_jax.main", *arguments]
            environment = tiny_runs.environment() | told
            hosts.append(subprocess.Popen(command, env=environment, stdout=printed, stderr=printed))
    return hosts


def work(mode: str, folder: pathlib.Path, options: argparse.Namespace, networks: pathlib.Path) -> list[dict]:
    """Kills hosts of one mode; returns the outcome of each."""
    taken = networks if mode == "predict" else None
    whole, begin = folder / "whole", time.perf_counter()
    arguments = tiny_runs.command(mode, whole, taken, **_SHARED.get(mode, {}))
    codes = [host.wait() for host in start(arguments, folder, "whole")]
    if codes != [0, 0]:
        raise SystemExit(f"{mode}: two undisturbed hosts ended with {codes}; see {folder}/whole-*.log")
    bits, seconds = tiny_runs.results(whole / "run"), time.perf_counter() - begin
    if mode == "joint":
        shutil.copy(whole / "run" / "networks.safetensors", networks)
    moments, outcomes = random.Random(f"{options.seed} {mode}"), []
    for number in range(options.kills):
        place = folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        arguments = tiny_runs.command(mode, place, taken, **_SHARED.get(mode, {}))
        hosts, after = start(arguments, folder, "killed"), moments.uniform(2, seconds)
        time.sleep(after)
        hosts[number % 2].send_signal(signal.SIGKILL)
        left = hosts[1 - number % 2]
        try:
            code = left.wait(_LONGEST_S)
        except subprocess.TimeoutExpired:
            code = "still running"
            left.kill()
        hosts[number % 2].wait()
        text = (folder / f"killed-{1 - number % 2}.log").read_text(errors="replace")
        again = [host.wait() for host in start(arguments, folder, "again")]
        other = tiny_runs.compare(place / "run", bits)
        aborted = mode in _SHARED and isinstance(code, int) and code not in (0, 1)
        good = (code in (0, 1) or aborted) and again == [0, 0] and not other and (aborted or "Traceback" not in text)
        verdict = "same bits" if good else f"NOT AS IT HAS TO BE: {other[:3]}"
        killed = f"{mode} {number}: host {number % 2} killed after {after:.1f} s"
        print(f"{killed}, the other ended with {code}; then {again}, {verdict}", flush=True)
        told = {"mode": mode, "after_s": after, "code": code, "again": again}
        outcomes.append(told | {"other_bits": other, "good": good})
        if not good:
            shutil.copytree(folder, folder.parent / f"{mode}-{number}-bad", dirs_exist_ok=True)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", choices=tiny_runs.MODES, default=list(tiny_runs.MODES))
    parser.add_argument("--kills", type=int, default=4, help="in each mode")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=pathlib.Path, help="where to work; what was made there stays")
    parser.add_argument("--out", type=pathlib.Path, help="write every outcome as JSON")
    options = parser.parse_args()
    if "predict" in options.modes and "joint" not in options.modes:
        parser.error("predict takes the networks of joint: name both")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    outcomes: list[dict] = []
    with contextlib.ExitStack() as stack:
        folder = options.folder or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for mode in (mode for mode in tiny_runs.MODES if mode in options.modes):
            shutil.rmtree(folder / mode, ignore_errors=True)
            (folder / mode).mkdir(parents=True)
            outcomes += work(mode, folder / mode, options, folder / "networks.safetensors")
    print(f"{len(outcomes)} kills, {sum(one['good'] for one in outcomes)} as it has to be")
    if options.out:
        options.out.write_text(json.dumps(outcomes, indent=1) + "\n")
    return 0 if all(one["good"] for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
