"""Which images go together, how many at once; each gets what it gets alone, on two devices (group_cases.py)."""

import os
import pathlib
import re
import subprocess
import sys
import types

import pytest

from gan2shape_jax.training import groups


def _device(stats=None, platform="gpu"):
    """What `choose_size` asks of a device."""
    return types.SimpleNamespace(platform=platform, memory_stats=lambda: stats)


def _gpu(limit, used=0):
    return _device({"bytes_limit": limit, "bytes_in_use": used})


@pytest.mark.parametrize(
    ("devices", "images", "size"),
    [
        ([_gpu(1000, 200)], 100, 6),  # 0.8 of 800 bytes, 100 an image
        ([_gpu(1000, 200)] * 4, 100, 24),
        ([_gpu(1000, 200), _gpu(1000, 700)], 100, 4),  # the fuller device decides
        ([_gpu(1000, 200)], 3, 3),
        ([_gpu(10)], 100, 1),
        ([_gpu(10**6)], 1000, 64),
        ([_device()] * 3, 100, 3),
    ],
)
def test_free_memory_decides_how_many_images_go_together(devices, images, size):
    assert groups.choose_size(0, images, devices, lambda: 100) == size


_ONE_GPU, _CPUS = [_gpu(1000)], [_device(platform="cpu")] * 2


@pytest.mark.parametrize(
    ("wanted", "images", "devices", "size"),
    [
        *((5, 100, _ONE_GPU, 5), (5, 3, _ONE_GPU, 3), (0, 1, _ONE_GPU, 1)),
        *((0, 100, _CPUS, 1), (2, 100, _CPUS, 2), (4, 100, _CPUS, 2)),
    ],
)
def test_a_size_that_is_set_and_cpus_decide_before_free_memory(wanted, images, devices, size):
    assert groups.choose_size(wanted, images, devices, pytest.fail) == size


def test_groups_under_way_stay_as_they_are():
    units = [["a", "b", "c"], ["d"], ["e"], ["f"]]
    assert groups.grouped(units, 2) == [["a", "b", "c"], ["d", "e"], ["f"]]
    assert groups.grouped(units, 1) == [["a", "b", "c"], ["d"], ["e"], ["f"]]
    assert groups.grouped([], 4) == []


@pytest.mark.slow
def test_groups_of_images_on_two_devices():
    cases = pathlib.Path(__file__).resolve().parents[1] / "helpers" / "group_cases.py"
    # Compiled without optimisation, which is most of the time otherwise.
    environ = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(cases)]
    done = subprocess.run(command, env=environ, cwd=cases.parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 12
