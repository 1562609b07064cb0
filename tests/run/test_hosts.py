"""Several hosts: which one this is, what each does, and that a lost one takes nothing with it.

Two processes on one machine stand for two hosts.
"""

import contextlib
import csv
import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import jax
import pytest
from helpers import bump
from helpers.command_line import overrides
from helpers.killed import await_checkpoint
from helpers.tiny import tiny_config

from gan2shape_jax.config import apply_overrides
from gan2shape_jax.errors import UserError
from gan2shape_jax.plan.recipe import resolve
from gan2shape_jax.results import save_result
from gan2shape_jax.run import folder as run_folder
from gan2shape_jax.run import hosts
from gan2shape_jax.run.folder import RunFolder
from gan2shape_jax.run.hosts import Team

NAMES = ("001.png", "005.png", "006.png")
LITTLE = {"names": NAMES, "outputs__turntable_frames": 2}
NUMBERS = ("depth.npy", "albedo.npy", "view.npy", "light.npy", "history.csv", "networks.safetensors")
EXPLICIT = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NTASKS": "2"}
SLURM |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Team()),
        (EXPLICIT, Team(1, 2)),
        ({k: v for k, v in EXPLICIT.items() if k != "JAX_COORDINATOR_ADDRESS"}, Team(1, 2)),
        (EXPLICIT | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, Team()),
        (SLURM, Team(0, 2)),
        (SLURM | EXPLICIT, Team(1, 2)),
        (SLURM | {"SLURM_NTASKS": "1"}, Team()),
        ({k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"}, Team()),  # a batch script outside srun
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}, Team(3, 4)),
    ],
)
def test_the_environment_says_which_host_this_is(environ, expected):
    assert hosts.team_of(environ) == expected


@pytest.mark.parametrize("environ", [{"JAX_NUM_PROCESSES": "2"}, EXPLICIT | {"JAX_PROCESS_ID": "2"}])
def test_an_incomplete_environment_is_refused(environ):
    with pytest.raises(UserError, match="JAX_PROCESS_ID is .*: for a run on several hosts they are the host's own"):
        hosts.team_of(environ)


def test_failures_of_all_hosts_of_this_run_are_told(tmp_path):
    first, second = (RunFolder(tmp_path, None, Team(i, 2)) for i in range(2))
    RunFolder(tmp_path, None, Team(2, 3)).write_failures({"009": "long ago, when there were three"})
    first.write_failures({"001": "damaged", "006": "repaired since"})
    save_result(bump.result(), second.result("006"))
    assert second.write_failures({"005": "absent"}) == {"001": "damaged", "005": "absent"}
    assert json.loads((tmp_path / "failures.json").read_text()) == {"001": "damaged", "005": "absent"}
    second.write_failures({})
    assert first.write_failures({}) == {} and not (tmp_path / "failures.json").exists()


def test_hosts_that_train_together_wait_for_each_other(tmp_path, monkeypatch):
    config = tiny_config(tmp_path, recipe="joint", runtime__hosts_timeout_s=1)
    told = r"^host 0, 2 of 3 did not appear in .*run within 1 s: start all hosts at the same time.* one folder"
    for name, value in {**EXPLICIT, "JAX_NUM_PROCESSES": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=told), run_folder.opened(resolve(config), []):
        raise AssertionError("started")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(jax.distributed, "initialize", lambda **given: connected.append(given))
    connected = []
    with contextlib.ExitStack() as others:
        for index in (0, 2):
            place = dataclasses.replace(RunFolder.at(config), team=Team(index, 3))
            run_folder._locked(others, resolve(config), place, [])
        with run_folder.opened(resolve(config), []) as started:
            assert started.folder.team == Team(1, 3)
    given = {"coordinator_address": "a:1", "num_processes": 3, "process_id": 1, "initialization_timeout": 1}
    assert connected == [given]


def test_hosts_with_independent_images_wait_for_nobody(tmp_path, monkeypatch):
    config = tiny_config(tmp_path, names=NAMES)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: pytest.fail("connected"))
    for name, value in EXPLICIT.items():
        monkeypatch.setenv(name, value)
    with run_folder.opened(resolve(config), NAMES) as started:
        assert list(started.images) == ["005.png"] and started.folder.team == Team(1, 2)
    config = apply_overrides(config, {"runtime.hosts": "one"})
    with run_folder.opened(resolve(config), NAMES) as started:
        assert list(started.images) == list(NAMES) and started.folder.team == Team()


def test_hosts_without_an_address_are_told_that_training_together_needs_one(monkeypatch):
    monkeypatch.setenv("JAX_PROCESS_ID", "1")
    monkeypatch.delenv("JAX_COORDINATOR_ADDRESS", raising=False)
    with pytest.raises(UserError, match="JAX_COORDINATOR_ADDRESS .host:port of host 0. beside JAX_PROCESS_ID and JAX"):
        hosts.connect(Team(1, 2), 1)


def _port() -> int:
    with socket.socket() as port:
        port.bind(("localhost", 0))
        return port.getsockname()[1]


def _start(folder, count=1, **fields):
    """That many processes of one run in a folder."""
    port = _port()
    config = tiny_config(folder, schedule__stages=((3, 3, 4),), **LITTLE, **fields)
    command = [sys.executable, "-m", "gan2shape_jax.main", "--config=ictface", *overrides(config)]
    processes = []
    for index in range(count):
        of_all = (f"localhost:{port}", str(count), str(index))
        environment = os.environ | (dict(zip(EXPLICIT, of_all, strict=True)) if count > 1 else {})
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, env=environment, text=True, **both))
    return processes


def _ends(processes):
    told = [process.communicate() for process in processes]
    return [process.returncode for process in processes], [out + err for out, err in told]


def _bits(root: pathlib.Path) -> list[bytes]:
    return [(root / "results" / name[:3] / file).read_bytes() for name in NAMES for file in NUMBERS]


@pytest.mark.heavy
def test_a_killed_hosts_images_are_taken_up_again(tmp_path):
    """Host 0, which coordinates, dies in mid-image; host 1 finishes its images; a start on one host does the rest."""
    (tmp_path / "undisturbed").mkdir()
    codes, told = _ends(_start(tmp_path / "undisturbed"))
    assert codes == [0], told
    processes = _start(tmp_path, 2)
    root = tmp_path / "run"
    begun = root / "checkpoints" / "001"
    await_checkpoint(processes[0], begun, 4)
    codes, told = _ends(_start(tmp_path))  # another run, while these are at work
    assert codes == [1] and f"another run uses {root}: process {processes[0].pid} on" in told[0]
    processes[0].send_signal(signal.SIGKILL)
    codes, told = _ends(processes)
    assert codes == [-signal.SIGKILL, 0], told[1]
    assert not RunFolder(root).is_finished("001") and begun.is_dir()
    assert RunFolder(root).is_finished("005")
    codes, told = _ends(_start(tmp_path))
    assert codes == [0], told
    assert "005: finished before, skipped" in told[0]
    assert _bits(root) == _bits(tmp_path / "undisturbed" / "run")
    with (root / "results.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["name"] for row in rows] == [pathlib.PurePath(name).stem for name in NAMES]
    assert {row["status"].split(",")[0] for row in rows} == {"done"}  # behind it: how the shape compares with its prior


# How near losses are, relatively. What is seen of a surface as rough as an untrained one hangs on the last bit:
# rounding grows where it is rendered anew (step 2) and where it moves (step 3).
_NEAR = {"prior": 1e-5, "step1": 1e-5, "step2": 1e-3, "step3": 1e-2}
_JOINT = {"recipe": "joint", "schedule__flip3": (True, True), "sampling__collect_iters": 3}
_JOINT |= {"schedule__batches_per_iteration": 2, "optimizer__eps": 1e-3}


@pytest.mark.slow
def test_two_hosts_train_one_set_of_networks(tmp_path):
    """Joint training over two processes, against one process with the same two images an iteration."""
    logged = []
    for name, count in (("two", 2), ("one", 1)):
        folder = tmp_path / name
        folder.mkdir()
        codes, told = _ends(_start(folder, count, **_JOINT))
        assert codes == [0] * count, told
        assert all(RunFolder(folder / "run").is_finished(name[:3]) for name in NAMES)
        with (folder / "run" / "history.csv").open(newline="") as lines:
            logged.append([row for row in csv.DictReader(lines) if row["loss"]])
    assert {row["step"] for row in logged[0]} == set(_NEAR)
    for two, first in zip(*logged, strict=True):
        assert (two["step"], two["iteration"]) == (first["step"], first["iteration"])
        assert float(two["loss"]) == pytest.approx(float(first["loss"]), rel=_NEAR[two["step"]])


@pytest.mark.slow
def test_two_hosts_that_are_told_to_end_stop_together_and_go_on(tmp_path):
    """SIGTERM to one host of a joint run: both write the same checkpoint and end with 143; the next start ends it."""
    for name in ("undisturbed", "ended"):
        (tmp_path / name).mkdir()
    codes, told = _ends(_start(tmp_path / "undisturbed", 2, **_JOINT))
    assert codes == [0, 0], told
    processes = _start(tmp_path / "ended", 2, **_JOINT)
    await_checkpoint(processes[0], tmp_path / "ended/run/checkpoints/.all", 1)
    processes[1].send_signal(signal.SIGTERM)
    codes, told = _ends(processes)
    assert codes == [143, 143], told
    codes, told = _ends(_start(tmp_path / "ended", 2, **_JOINT))
    assert codes == [0, 0] and "continues from" in told[0], told
    files = [f"results/{name[:3]}/depth.npy" for name in NAMES] + ["networks.safetensors"]
    ended, undisturbed = (
        [(tmp_path / name / "run" / file).read_bytes() for file in files] for name in ("ended", "undisturbed")
    )
    assert ended == undisturbed
