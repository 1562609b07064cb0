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
import io
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from gan2shape_jax.main import main as run_command

_LOADED_S = 0.5  # until Python has loaded the program
_BETWEEN_S = 0.3  # between two Ctrl-C
_LONGEST_S = 2.0  # from the second one to the end
_NAMES = ("001", "006")
_LIFTED = ("model.safetensors", "networks.safetensors", "history.csv")
# Thin networks, a few iterations, a checkpoint every second one; latents by inversion, so that they are saved.
_TINY = {
    "networks.width": 8,
    "networks.group_base": 4,
    "networks.zdim": 16,
    "networks.encoder_width": 4,
    "prior.iterations": 6,
    "schedule.stages": ((5, 5, 6),),
    "schedule.flip1": (False,),
    "schedule.flip3": (False,),
    "sampling.batch_size": 2,
    "sampling.collect_iters": 2,
    "checkpoint.every_iterations": 2,
    "logging.every_iterations": 3,
    "logging.tensorboard": False,
    "outputs.animation": False,
    "outputs.gan_images": False,
    "outputs.picture_size": 32,
    "outputs.turntable_frames": 2,
    "inversion.steps": 3,
    "data.latent_root": "",
}
_OF_MODE = {
    "instance": {},
    "joint": {"recipe": "joint"},
    "lift": {
        "recipe": "lift",
        "schedule.batches_per_iteration": 1,
        "lift.samples": 3,
        "lift.batches": 2,
        "lift.held_out": 2,
        "lift.measured": 2,
        "lift.inversion_iterations": 3,
        "lift.latent_iterations": 2,
        "lift.inversion_samples": 2,
        "lift.view_iterations": 1,
        "lift.masks": "none",
    },
}
_TRAIN_GAN = (
    "--size 16 --channels 8 --base 64 --style-width 8 --batch 4 --features none --every 80 --images 320".split()
)
_MODES = (*_OF_MODE, "train-gan")


def command(mode: str, folder: pathlib.Path) -> list[str]:
    """Returns the arguments of a tiny run in `folder/run`, whose input it writes: of images, a lift, or a GAN."""
    folder.mkdir(parents=True, exist_ok=True)
    if mode == "train-gan":
        (photos := folder / "photos").mkdir(exist_ok=True)
        for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)):
            Image.fromarray(pixels).save(photos / f"{number:02d}.png")
        return [mode, str(photos), "--out", str(folder / "run"), *_TRAIN_GAN]
    listed = folder / "names.txt"
    listed.write_text("".join(f"{name}.png\n" for name in _NAMES))
    fields = _TINY | _OF_MODE[mode] | {"workdir": folder / "run", "data.image_list": listed}
    return ["--config=ictface:scratch", *(f"--config.{field}={value}" for field, value in fields.items())]


def results(run: pathlib.Path) -> dict[str, bytes]:
    """Returns every file of every results folder, a lift's networks, or a GAN with its samples, by path in the run."""
    if (run / "gan.safetensors").exists():
        files = [run / "gan.safetensors", run / "history.csv", *sorted((run / "samples").iterdir())]
        return {path.name: path.read_bytes() for path in files}
    if (run / "model.safetensors").exists():
        return {name: (run / name).read_bytes() for name in _LIFTED}
    folders = [path.parent for path in run.rglob("result.json")]
    files = [path for folder in folders for path in folder.iterdir() if not path.name.startswith(".")]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in sorted(files)}


def start(arguments: list[str], log: pathlib.Path) -> subprocess.Popen:
    """Starts a run in its own process, with its output going to a file."""
    with log.open("wb") as printed:
        program = [sys.executable, "-m", "gan2shape_jax.main", *arguments]
        return subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed)


def kill(arguments: list[str], log: pathlib.Path, after_s: float, kind: int) -> dict[str, object]:
    """Starts a run, sends it a signal after `after_s` seconds, and returns how it ended."""
    process = start(arguments, log)
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
    seconds = time.perf_counter() - begin
    codes, text = (-signal.SIGKILL if kind == signal.SIGKILL else 130, 0), log.read_text(errors="replace")
    good = code in codes and "Traceback" not in text and (kind == signal.SIGKILL or seconds <= _LONGEST_S)
    return {"after_s": round(after_s, 3), "code": code, "ending_s": round(seconds, 3), "good": good, "text": text}


def resume(arguments: list[str], run: pathlib.Path, bits: dict[str, bytes]) -> dict[str, object]:
    """Runs the command to its end in this process and compares its results with those of an undisturbed run."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run_command(arguments)
    other = [name for name, content in results(run).items() if bits.get(name) != content] + [
        *bits.keys() - results(run)
    ]
    good = code == 0 and not other and "Traceback" not in printed.getvalue()
    return {"code": code, "other_bits": other, "good": good, "text": printed.getvalue()}


def work(mode: str, folder: pathlib.Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """Kills the runs of one mode; returns the outcome of each."""
    kind = getattr(signal, f"SIG{options.signal}")
    if run_command(command(mode, folder / "whole")) != 0:
        raise SystemExit(f"{mode}: the undisturbed run has failed")
    bits = results(folder / "whole" / "run")
    begin = time.perf_counter()
    process = start(command(mode, folder / "timed"), folder / "timed.log")
    if process.wait() != 0 or results(folder / "timed" / "run") != bits:
        raise SystemExit(f"{mode}: a process of its own comes to another end; see {folder}/timed.log")
    seconds = time.perf_counter() - begin
    moments, outcomes = random.Random(f"{options.seed} {mode}"), []
    for number in range(options.kills):
        shutil.rmtree(folder / "case", ignore_errors=True)
        arguments = command(mode, folder / "case")
        killed = kill(arguments, folder / "killed.log", moments.uniform(_LOADED_S, seconds), kind)
        resumed = resume(arguments, folder / "case" / "run", bits)
        good = bool(killed["good"] and resumed["good"])
        print(
            f"{mode} {number}: {options.signal} after {killed['after_s']:.1f} s, code {killed['code']} "
            f"{killed['ending_s']} s later; resumed {'to the same bits' if good else 'NOT AS IT HAS TO BE'}",
            flush=True,
        )
        outcomes.append({"mode": mode, "good": good, "killed": killed, "resumed": resumed})
    return outcomes


def table(outcomes: list[dict]) -> str:
    """Returns a table: kills, how many reached the same result, and how long the slowest took to exit."""
    lines = ["| mode | kills | same end | finished before | longest to end, s |", "|---|---:|---:|---:|---:|"]
    for mode in _MODES:
        if every := [outcome for outcome in outcomes if outcome["mode"] == mode]:
            good, done = (
                sum(outcome["good"] for outcome in every),
                sum(outcome["killed"]["code"] == 0 for outcome in every),
            )
            longest = max(outcome["killed"]["ending_s"] for outcome in every)
            lines.append(f"| {mode} | {len(every)} | {good} | {done} | {longest:.2f} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", choices=_MODES, default=list(_MODES))
    parser.add_argument("--kills", type=int, default=10, help="in each mode")
    parser.add_argument("--signal", choices=("KILL", "INT"), default="KILL")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=pathlib.Path, help="where to work; what was made there stays")
    parser.add_argument("--out", type=pathlib.Path, help="write every outcome as JSON")
    options = parser.parse_args()
    root = str(pathlib.Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    with contextlib.ExitStack() as stack:
        folder = options.folder or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        outcomes = []
        for mode in options.modes:
            shutil.rmtree(folder / mode, ignore_errors=True)
            outcomes += work(mode, folder / mode, options)
    print(table(outcomes))
    if options.out:
        options.out.write_text(json.dumps(outcomes, indent=1) + "\n")
    return 0 if all(outcome["good"] for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
