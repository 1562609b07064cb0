"""Reads files by the package's readers in a process of its own, and tells what each took; run by `measured_reading`.

Standard input has a JSON list of [reader, path]; standard output a JSON list of what came of them, in order: `outcome`
("read", "refused" or another exception's name), `told`, `seconds` of processor time, `mib` of memory over the idle
process.
"""

import json
import pathlib
import resource
import signal
import sys
import time
import traceback
import warnings

_STATUS = pathlib.Path("/proc/self/status")
_STUCK = 300  # seconds on the clock: it waits for something that never comes

WIDTH, SIDE = 512, 64  # of latents, of depths and masks


def _readers():
    from gan2shape_jax import json_files
    from gan2shape_jax.inputs import array_files, data, image_files, masks

    def config(path):
        from gan2shape_jax.config import saved

        return saved.read_config(path)

    def settings(path):
        from gan2shape_jax.config.load import load_config

        return load_config(str(path))

    return {
        "latent": lambda path: array_files.load_latent(path, WIDTH),
        "depth": lambda path: array_files.load_depth(path, SIDE, None, 0.9, 1.1),
        "statistics": lambda path: array_files.load_mvn(path, 6),
        "json": lambda path: json_files.read_json(path, "a note"),
        "config.json": config,
        "yaml": settings,
        "names": data.read_names,
        "picture": lambda path: _picture(image_files, path),
        "alpha": lambda path: image_files.open_alpha(path, cut=True),
        "mask": lambda path: masks.load_mask(path, SIDE, 48),
    }


def _picture(image_files, path):
    """What a run does with a picture: the transparent part is asked for, it is cut and shrunk."""
    image_files.has_alpha(path)
    picture = image_files.open_rgb(path, cut=True)
    return image_files.crop_and_resize(picture, picture.size[0] - 1, SIDE)


def _memory(key: str) -> float:
    """Returns VmRSS (now) or VmHWM (the most since `_forget`), MiB; elsewhere than on Linux the most so far."""
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / (1024 if sys.platform == "darwin" else 1)


def _forget() -> None:
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not on this system: the most of all files so far is told for each
        pass


def _one(read, path: str, idle: float) -> dict:
    from gan2shape_jax.errors import UserError

    _forget()
    start = time.process_time()
    signal.alarm(_STUCK)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            read(pathlib.Path(path))
        outcome, told = "read", ""
    except UserError as error:
        outcome, told = "refused", str(error)
    except BaseException as error:
        outcome, told = type(error).__name__, traceback.format_exc()
    finally:
        signal.alarm(0)
    seconds = time.process_time() - start
    return {"outcome": outcome, "told": told, "seconds": seconds, "mib": max(0.0, _memory("VmHWM") - idle)}


def _stuck(number, frame):
    raise TimeoutError(f"waited for {_STUCK} s")


def main() -> None:
    signal.signal(signal.SIGALRM, _stuck)
    asked = json.loads(sys.stdin.read())
    readers = _readers()
    for reader, example in {
        "picture": sys.argv[1],
        "json": sys.argv[2],
    }.items():  # what is loaded once is no file's cost
        readers[reader](pathlib.Path(example))
    if any(reader in ("yaml", "config.json") for reader, _ in asked):
        from gan2shape_jax.config.load import load_config

        load_config("ictface")
        import gan2shape_jax.config.original.files  # noqa: F401  (imports jax)
    idle = _memory("VmRSS")
    found = [_one(readers[reader], path, idle) for reader, path in asked]
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
