"""Runs small enough to be repeated thousands of times: their commands, and what two of them must have in common."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

__all__ = ["MODES", "Killed", "command", "compare", "environment", "judge", "results", "start", "started", "stop_at"]

MODES = ("instance", "group", "joint", "lift", "predict")
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
    "instance": {"runtime.images_at_once": 1},
    "group": {"runtime.images_at_once": 2},
    "joint": {"mode": "joint", "schedule.joint": True},
    "lift": {
        "mode": "lift",
        "schedule.batches_per_iteration": 1,
        "lift.samples": 3,
        "lift.batches": 2,
        "lift.kept_out": 2,
        "lift.measured": 2,
        "lift.inversion_iterations": 3,
        "lift.latent_iterations": 2,
        "lift.inversion_samples": 2,
        "lift.masks": "none",
        "data.latent_root": None,
    },
    "predict": {"mode": "predict", "data.latent_root": None},
}


def command(mode: str, folder: pathlib.Path, networks: pathlib.Path | None = None, **more: object) -> list[str]:
    """Returns the arguments of a run in `folder/run` on two images, whose list it writes, or on a GAN's samples.

    Args:
      mode: one of `MODES`.
      folder: the folder for the run and its list.
      networks: networks of a joint run, for prediction.
      **more: further fields, with `__` in place of the dot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "names.txt"
    listed.write_text("".join(f"{name}.png\n" for name in _NAMES))
    fields = _TINY | _OF_MODE[mode] | {"workdir": folder / "run", "data.image_list": listed}
    fields |= {"networks.pretrained": networks} if networks else {}
    fields |= {name.replace("__", "."): value for name, value in more.items()}
    given = [f"--config.{field}={value}" for field, value in fields.items() if value is not None]
    return ["--config=ictface:scratch", *given]


def results(run: pathlib.Path) -> dict[str, bytes]:
    """Returns every file of every results folder of a run, or a lift's networks, by path within the run's folder."""
    folders = [path.parent for path in run.rglob("result.json")]
    wanted = [folder for folder in folders if not {"damaged"} & set(folder.relative_to(run).parts)]
    if (run / "model.safetensors").exists():
        return {name: (run / name).read_bytes() for name in _LIFTED}
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for folder in wanted
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
    }


def compare(run: pathlib.Path, whole: dict[str, bytes]) -> list[str]:
    """Returns the result files that are missing or differ in any bit from those of an undisturbed run."""
    found = results(run)
    return [name for name, content in whole.items() if found.get(name) != content]


def environment() -> dict[str, str]:
    """Returns the environment of a run in its own process."""
    root = pathlib.Path(__file__).resolve().parents[2]
    # Restarting to save memory would change the process that receives signals.
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH")))),
    }


def start(arguments: list[str], log: pathlib.Path) -> subprocess.Popen:
    """Starts a run in its own process, with its output going to a file."""
    with log.open("wb") as printed:
        return subprocess.Popen(
            [sys.executable, "-m", "gan2shape_jax.main", *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
        )


class Killed(Exception):
    """A run could not be stopped at the intended point."""


def stop_at(arguments: list[str], log: pathlib.Path, is_there: Callable[[], bool], kind: int = signal.SIGKILL) -> None:
    """Starts a run and kills it as soon as `is_there`; raises `Killed` if it ends before."""
    process = start(arguments, log)
    while not is_there():
        if process.poll() is not None:
            raise Killed(f"the run ended with {process.returncode} before it could be stopped: {log}")
        time.sleep(0.002)
    process.send_signal(kind)
    process.wait()


def steps(folder: pathlib.Path) -> Iterator[int]:
    """Yields the numbers of the complete checkpoints in a folder."""
    for path in folder.glob("*"):
        if path.name.isdecimal():
            yield int(path.name)


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
    code, text = started(command(mode, folder, networks, **fields))
    return {
        "code": code,
        "other_bits": compare(folder / "run", whole),
        "traceback": "Traceback" in text,
        "told": [line for line in text.splitlines() if line.startswith("warning: ")],
        "seconds": round(time.perf_counter() - begin, 2),
        "printed": text if code != 0 or "Traceback" in text else "",
    }
