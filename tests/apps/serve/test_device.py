"""The worker's process: stages, errors, cancelling, crashes, replacement. The process is real, what it does is not."""

import asyncio
import contextlib
import time

import pytest
from helpers import fake_worker

from gan2shape_jax.apps.serve.device import Device
from gan2shape_jax.errors import UserError


async def _run(device, name, *, cancel=False):
    """Returns the messages of a job; `cancel` closes it at the first."""
    messages = []
    async with contextlib.aclosing(device.run({"name": name})) as job:
        async for message in job:
            if message:
                messages.append(message)
                if cancel:
                    break
    return messages


def _with_device(check, load=fake_worker.load, **options):
    async def main():
        device = Device(load, **({"seconds": 60.0} | options))
        try:
            await check(device)
        finally:
            device.close()

    asyncio.run(main())


async def _process(device):
    (message,) = await _run(device, "fine")
    return message["process"]


def test_stages_and_errors_come_through_and_a_crash_fails_one_job():
    async def check(device):
        before = await _process(device)
        (message,) = await _run(device, "print")
        assert message["stage"] == "framing"
        with pytest.raises(UserError, match="^the photo is refused$"):
            await _run(device, "refused")
        with pytest.raises(UserError, match="fault") as raised:
            await _run(device, "faulty")
        assert "ZeroDivision" not in str(raised.value)
        assert await _process(device) == before
        with pytest.raises(UserError, match="unexpectedly.*exit code 3"):
            await _run(device, "crash")
        assert await _process(device) != before

    _with_device(check)


def test_cancelling_stops_soon_and_kills_only_what_does_not_stop():
    async def check(device):
        before = await _process(device)
        started = time.monotonic()
        await _run(device, "slow", cancel=True)
        assert await _process(device) == before
        await _run(device, "stubborn", cancel=True)
        assert time.monotonic() - started < 40
        assert await _process(device) != before
        job = asyncio.create_task(_run(device, "slow"))  # a task that is cancelled, as Gradio does
        await asyncio.sleep(1)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert await _process(device)

    _with_device(check, grace_s=4.0)


def test_jobs_wait_for_their_turn_and_the_process_is_replaced_after_many():
    async def check(device):
        jobs = await asyncio.gather(*(_process(device) for _ in range(4)))
        assert len(set(jobs[:3])) == 1 and jobs[3] != jobs[0]

    _with_device(check, most_jobs=3)


def test_a_job_that_takes_too_long_is_stopped():
    async def check(device):
        with pytest.raises(UserError, match="more than"):
            await _run(device, "stubborn")
        assert await _process(device)

    _with_device(check, seconds=1.0)


@pytest.mark.parametrize(
    ("load", "words"), [(fake_worker.ending, "exit code 0"), (fake_worker.broken, "no such model")]
)
def test_a_worker_that_cannot_start_is_an_error(load, words):
    async def check(device):
        with pytest.raises(UserError, match=words):
            await device.start()

    _with_device(check, load)
