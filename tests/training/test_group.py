"""Runs group_cases.py in a process of two simulated devices."""

import os
import pathlib
import re
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_groups_of_images_on_two_devices():
    cases = pathlib.Path(__file__).resolve().parents[1] / "helpers" / "group_cases.py"
    # Compiled without optimisation, which is most of the time otherwise.
    environ = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(cases)],
        env=environ,
        cwd=cases.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 12
