"""A worker that computes nothing: what it does with a photo is what the photo's name says. For `serving.device`."""

import os
import time

from gan2shape_jax.apps.serve import worker
from gan2shape_jax.errors import UserError


def perform(task, tell):
    name = task["name"]
    if name == "refused":
        raise UserError("the photo is refused")
    if name == "faulty":
        raise ZeroDivisionError
    if name == "crash":
        os._exit(3)
    if name == "print":
        print("this must not be taken for a message")
    if name in ("slow", "stubborn"):
        tell("begun", {})
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                time.sleep(0.02)
            except KeyboardInterrupt:
                if name == "slow":
                    raise
    tell("framing", {"process": os.getpid()})


if __name__ == "__main__":
    worker.Worker(*worker.own_pipes(), perform).serve()
