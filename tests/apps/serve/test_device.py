"""The worker's process: stages, errors, cancelling, crashes, replacement. The worker is real, what it does is not."""

import pathlib
import sys
import threading
import time

import pytest

from gan2shape_jax.apps.serve.device import Cancelled, Device
from gan2shape_jax.errors import UserError

_COMMAND = [sys.executable, str(pathlib.Path(__file__).parents[2] / "helpers" / "fake_worker.py")]


@pytest.fixture
def device(request):
    one = Device(_COMMAND, grace_s=getattr(request, "param", 1.0), most_jobs=3)
    yield one
    one.close()


def _run(device, name, *, seconds=30.0, cancelled=None, on_message=lambda message: None):
    told = []

    def tell(message):
        told.append(message)
        on_message(message)

    device.run({"name": name}, tell, cancelled or threading.Event(), seconds=seconds)
    return told


def test_stages_are_told_and_what_is_printed_is_not_taken_for_them(device):
    (message,) = _run(device, "print")
    assert message["stage"] == "framing"


def test_errors_for_users_are_passed_on_and_faults_are_not_shown(device):
    with pytest.raises(UserError, match="^the photo is refused$"):
        _run(device, "refused")
    with pytest.raises(UserError, match="fault") as raised:
        _run(device, "faulty")
    assert "ZeroDivision" not in str(raised.value)
    assert _run(device, "fine")


def test_a_crash_fails_one_job_and_the_next_has_another_process(device):
    (before,) = _run(device, "fine")
    with pytest.raises(UserError, match="unexpectedly.*exit code 3"):
        _run(device, "crash")
    (after,) = _run(device, "fine")
    assert before["process"] != after["process"]


def test_a_job_is_cancelled_where_the_server_was_started_with_ctrl_c_ignored():
    ignoring = "import os, signal as s, sys; s.signal(s.SIGINT, s.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    device = Device([sys.executable, "-c", ignoring, *_COMMAND], grace_s=30.0, most_jobs=3)
    try:
        (before,) = _run(device, "fine")
        cancelled = threading.Event()
        with pytest.raises(Cancelled):
            _run(device, "slow", cancelled=cancelled, on_message=lambda message: cancelled.set())
        (after,) = _run(device, "fine")
        assert before["process"] == after["process"]
    finally:
        device.close()


# A busy machine may need more than a second to let a process heed; the jobs last a minute.
@pytest.mark.parametrize(
    ("device", "name", "stays"), [(15.0, "slow", True), (1.0, "stubborn", False)], indirect=["device"]
)
def test_cancelling_stops_soon_and_kills_only_what_does_not_heed(device, name, stays):
    (before,) = _run(device, "fine")
    cancelled, began = threading.Event(), time.monotonic()
    with pytest.raises(Cancelled):
        _run(device, name, cancelled=cancelled, on_message=lambda message: cancelled.set())
    assert time.monotonic() - began < 15
    (after,) = _run(device, "fine")
    assert (before["process"] == after["process"]) is stays


def test_a_job_that_takes_too_long_is_stopped(device):
    with pytest.raises(UserError, match="more than"):
        _run(device, "stubborn", seconds=0.5)
    assert _run(device, "fine")


def test_the_process_is_replaced_after_many_jobs(device):
    processes = [_run(device, "fine")[0]["process"] for _ in range(4)]
    assert len(set(processes[:3])) == 1 and processes[3] != processes[0]


def test_a_worker_that_cannot_start_is_an_error(tmp_path):
    with pytest.raises(UserError, match="cannot be started"):
        Device([sys.executable, "-c", "pass"]).start()
