"""Runs programs that need simulated devices: their number is fixed before a process computes anything."""

import json
import os
import pathlib
import subprocess
import sys


def records_of(program: str, *arguments: object) -> list[dict]:
    """What a program of this folder prints as `record {...}` lines; fails with its complaints unless it ends well."""
    here = pathlib.Path(__file__).resolve().parent
    paths = os.pathsep.join((str(here.parents[1]), str(here.parent), os.environ.get("PYTHONPATH", "")))
    environ = os.environ | {"PYTHONPATH": paths}
    command = [sys.executable, str(here / program), *map(str, arguments)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line.removeprefix("record ")) for line in done.stdout.splitlines() if line.startswith("record")]
