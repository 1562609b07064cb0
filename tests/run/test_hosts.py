"""Hosts that train together: which one this is, and that they wait for each other.

Two processes on one machine stand for two hosts.
"""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import pytest
from helpers.command_line import overrides
from helpers.killed import await_checkpoint
from helpers.tiny import tiny_config

from gan2shape_jax.errors import FatalRunError, UserError
from gan2shape_jax.io import output_folders
from gan2shape_jax.plan.recipe import resolve
from gan2shape_jax.run import experiment, lock
from gan2shape_jax.run import folder as run_folder
from gan2shape_jax.run.folder import RunFolder
from gan2shape_jax.training import devices

NAMES = ("001.png", "005.png", "006.png")
LITTLE = {"names": NAMES, "outputs__turntable_frames": 2}
NUMBERS = ("depth.npy", "albedo.npy", "view.npy", "light.npy", "history.csv", "networks.safetensors")
EXPLICIT = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NTASKS": "2"}
SLURM |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (0, 1)),
        (EXPLICIT, (1, 2)),
        ({k: v for k, v in EXPLICIT.items() if k != "JAX_COORDINATOR_ADDRESS"}, (1, 2)),
        (EXPLICIT | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, (0, 1)),
        (SLURM, (0, 2)),
        (SLURM | EXPLICIT, (1, 2)),
        (SLURM | {"SLURM_NTASKS": "1"}, (0, 1)),
        ({k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"}, (0, 1)),  # a batch script outside srun
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}, (3, 4)),
    ],
)
def test_the_environment_says_which_host_this_is(environ, expected):
    assert devices.host_of(environ) == expected


@pytest.mark.parametrize("environ", [{"JAX_NUM_PROCESSES": "2"}, EXPLICIT | {"JAX_PROCESS_ID": "2"}])
def test_an_incomplete_environment_is_refused(environ):
    with pytest.raises(UserError, match="JAX_PROCESS_ID is .*: for a run on several hosts they are the host's own"):
        devices.host_of(environ)


def _meeting(tmp_path, monkeypatch, count, **fields):
    """The plan of a joint run of which this process is host 1 of so many."""
    for name, value in {**EXPLICIT, "JAX_NUM_PROCESSES": str(count)}.items():
        monkeypatch.setenv(name, value)
    return resolve(tiny_config(tmp_path, recipe="joint", runtime__hosts_timeout_s=1, **fields))


def test_hosts_that_train_together_wait_for_the_first_one(tmp_path, monkeypatch):
    plan = _meeting(tmp_path, monkeypatch, 3)
    told = r"^host 0 of 3 did not appear in .*run within 1 s: start all hosts at the same time.* one folder"
    with pytest.raises(UserError, match=told), run_folder.opened(plan, []):
        raise AssertionError("started")
    assert not (tmp_path / "run").exists()
    with lock.hold(tmp_path / "run", run="another"), pytest.raises(UserError, match=told), run_folder.opened(plan, []):
        raise AssertionError("started")


@pytest.mark.parametrize("late", [False, True])
def test_hosts_meet_in_the_folder_and_are_connected(tmp_path, monkeypatch, late):
    """Host 0 in a thread, which starts first or last, after one that was killed."""
    plan, folder = _meeting(tmp_path, monkeypatch, 2), tmp_path / "run"
    run = "this"
    monkeypatch.setattr(run_folder, "digest", lambda _: run)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **given: connected.append(given))
    connected, done = [], threading.Event()
    folder.mkdir()
    (folder / ".lock.json").write_text(json.dumps({"run": run, "token": "of a killed one"}))
    (folder / output_folders.MARKER).write_text('{"kind": "run"}')

    def first():
        time.sleep(0.3 * late)
        with lock.hold(folder, run=run):
            lock.meet(folder, run, 0, 2, 10)
            done.wait()

    host = threading.Thread(target=first)
    host.start()
    try:
        with run_folder.opened(plan, []) as started:
            started.folder.require()
            assert not (folder / ".host-1").exists() and (folder / ".lock").exists()
            (folder / ".lock.json").write_text("{}")
            with pytest.raises(FatalRunError):
                started.folder.require()
    finally:
        done.set()
        host.join()
    given = {"coordinator_address": "a:1", "num_processes": 2, "process_id": 1, "initialization_timeout": 1}
    assert connected == [given]


def test_the_first_host_names_those_that_are_missing(tmp_path):
    (tmp_path / ".lock.json").write_text('{"token": "this"}')
    (tmp_path / ".host-1").write_text("this")
    (tmp_path / ".host-2").write_text("another")
    with pytest.raises(UserError, match="^host 2, 3 of 4 did not appear"):
        lock.meet(tmp_path, "", 0, 4, 0)


@pytest.mark.parametrize("recipe", ["train", "predict"])
def test_one_of_several_processes_with_independent_images_is_told_of_ray(tmp_path, monkeypatch, recipe):
    config = tiny_config(tmp_path, recipe=recipe)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="one of 2 processes .*, but images .* are divided by --cluster ray alone"):
        experiment.require_one_process(config)
    experiment.require_one_process(tiny_config(tmp_path, recipe="joint"))


def test_hosts_without_an_address_are_told_that_training_together_needs_one(monkeypatch):
    monkeypatch.setenv("JAX_PROCESS_ID", "1")
    monkeypatch.delenv("JAX_COORDINATOR_ADDRESS", raising=False)
    with pytest.raises(UserError, match="JAX_COORDINATOR_ADDRESS .host:port of host 0. beside JAX_PROCESS_ID and JAX"):
        devices.connect(1, 2, 1)


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
