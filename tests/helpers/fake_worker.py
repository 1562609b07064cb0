"""A worker that computes nothing: what it does with a photo is what the photo's name says. For `serve.worker`."""

import errno
import os
import pathlib
import sys
import time

from PIL import Image

from gan2shape_jax.apps.serve import worker
from gan2shape_jax.errors import UserError


def load():
    return perform


def broken():
    raise UserError("no such model")


def ending():
    os._exit(0)


def perform(task, report):
    name = task["names"][0]
    if name == "refused":
        raise UserError("the photo is refused")
    if name == "faulty":
        raise ZeroDivisionError
    if name == "crash":
        os._exit(3)
    if name == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/secret")
    if name == "large":
        return report("framing", {"bytes": len(bytearray(2 * 10**9))})
    if name == "exhausted":
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
    if name == "say":
        print("a line", file=sys.stderr)
    if name in ("slow", "late"):
        report("started", {})
        time.sleep(60)
    report("framing", {"process": os.getpid()})


def quick(*models):
    """Loads what goes through all stages of a visit in a fraction of a second."""
    return _visited


def _visited(task, report):
    folder = pathlib.Path(task["folder"])
    name = task["names"][0]
    if name in ("crash", "exhausted", "faulty", "full", "late", "refused", "wrong"):
        return perform(task, report)  # what it finds of `wrong` has no squares
    time.sleep(2 if name == "slow" else 0.1)
    if "box" not in task and "together" not in task:
        Image.new("RGB", (64, 48), (99, 99, 99)).save(folder / worker.PREVIEW)
        box = {"x": 32, "y": 24, "side": 30, "roll_deg": 0}
        facts = {"width": 64, "height": 48, "boxes": [box], "absent": "", "note": "", "refines": "the light"}
        return report(worker.FRAMING, facts)
    (folder / "index.html").write_text("<p>a result</p>")
    (folder / "depth.bin").write_bytes(bytes(200_000))
    report(worker.MASK, {"mask": "grabcut"})
    time.sleep(0.1)
    return report(worker.SHAPE, {"files": ["index.html"]})
