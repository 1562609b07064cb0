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

__all__ = ["memory", "read_one", "readers", "warm_up", "warm_up_settings"]

WIDTH, SIDE = 512, 64  # of latents, of depths and masks


def readers():
    """Returns functions of a path by name."""
    from gan2shape_jax.io import array_files, data, image_files, json_files, masks

    def config(path):
        from gan2shape_jax.config.load import read_config

        return read_config(path)

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
        "photo": lambda path: image_files.open_upright(path, least=20),
        "alpha": lambda path: image_files.open_alpha(path, cut=True),
        "mask": lambda path: masks.load_mask(path, SIDE, 48),
    }


def _picture(image_files, path):
    """What a run does with a picture: the transparent part is asked for, it is cut and shrunk."""
    image_files.has_alpha(path)
    picture = image_files.open_rgb(path, cut=True)
    return image_files.crop_and_resize(picture, picture.size[0] - 1, SIDE)


def memory(key: str) -> float:
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


def read_one(read, path: str, idle: float) -> dict:
    """Returns what came of reading a file, as the module says."""
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
    return {"outcome": outcome, "told": told, "seconds": seconds, "mib": max(0.0, memory("VmHWM") - idle)}


def _stuck(number, frame):
    raise TimeoutError(f"waited for {_STUCK} s")


def warm_up(known: dict, folder: pathlib.Path) -> None:
    """Has what is loaded once loaded, which is no file's cost; makes two files in a folder."""
    from PIL import Image

    signal.signal(signal.SIGALRM, _stuck)
    Image.new("RGB", (64, 64)).save(folder / "warm.png")
    (folder / "warm.json").write_text("{}")
    known["picture"](folder / "warm.png")
    known["json"](folder / "warm.json")


def warm_up_settings() -> None:
    """Has loaded what settings and configurations want, JAX among it."""
    import gan2shape_jax.config.published_yaml  # noqa: F401
    from gan2shape_jax.config.load import load_config

    load_config("ictface")


def main() -> None:
    asked = json.loads(sys.stdin.read())
    known = readers()
    warm_up(known, pathlib.Path(sys.argv[1]))
    if any(reader in ("yaml", "config.json") for reader, _ in asked):
        warm_up_settings()
    idle = memory("VmRSS")
    print("\n" + json.dumps([read_one(known[reader], path, idle) for reader, path in asked]))


if __name__ == "__main__":
    main()
