"""A worker that computes nothing: what it does with a photo is what the photo's name says. For `serve.worker`."""

import os
import sys
import time

from gan2shape_jax.errors import UserError


def load():
    return perform


def broken():
    raise UserError("no such model")


def ending():
    os._exit(0)


def perform(task, report):
    name = task["name"]
    if name == "refused":
        raise UserError("the photo is refused")
    if name == "faulty":
        raise ZeroDivisionError
    if name == "crash":
        os._exit(3)
    if name == "say":
        print("a line", file=sys.stderr)
    if name == "slow":
        report("started", {})
        time.sleep(60)
    report("framing", {"process": os.getpid()})
