"""Runs the command line and prints what JAX says about its cache of compiled programs, as `record {...}`."""

import collections
import json
import sys

import jax

from gan2shape_jax.main import main

events: collections.Counter[str] = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.rpartition("/")[2]]))

if __name__ == "__main__":
    code = main(sys.argv[1:])
    print("record", json.dumps(events))
    sys.exit(code)
