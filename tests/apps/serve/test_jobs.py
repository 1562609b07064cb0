"""The queue: order, positions, limit, cancelling, failures."""

import threading

import pytest

from gan2shape_jax.apps.serve.device import Cancelled
from gan2shape_jax.apps.serve.jobs import Jobs, QueueFullError
from gan2shape_jax.errors import UserError


class _Held:
    """A device whose jobs end when the test says so."""

    def __init__(self):
        self.go, self.order = threading.Semaphore(0), []
        self.begun = threading.Semaphore(0)

    def run(self, task, tell, cancelled, *, seconds):
        self.order.append(task["name"])
        tell({"job": 1, "stage": "begun", "fact": 7})
        self.begun.release()
        while not self.go.acquire(timeout=0.01):
            if cancelled.is_set():
                raise Cancelled
        if task["name"] == "bad":
            raise UserError("bad photo")
        if task["name"] == "fault":
            raise KeyError("inner")


@pytest.fixture
def held():
    return _Held()


@pytest.fixture
def jobs(held):
    queue = Jobs(held, waiting=2, seconds=10)
    yield queue
    queue.close()


def test_jobs_run_in_order_and_say_how_many_are_ahead(jobs, held):
    first, second, third = (jobs.submit({"name": name}) for name in ("a", "b", "c"))
    held.begun.acquire()
    assert [jobs.seen(job).ahead for job in (first, second, third)] == [0, 1, 2]
    assert jobs.seen(first).state == "running" and jobs.seen(first).stages == {"begun": {"fact": 7}}
    for _ in range(3):
        held.go.release()
    assert third.finished.wait(5)
    assert held.order == ["a", "b", "c"] and jobs.seen(third).state == "done"


def test_no_more_wait_than_may(jobs, held):
    jobs.submit({"name": "a"})
    held.begun.acquire()
    jobs.submit({"name": "b"})
    last = jobs.submit({"name": "c"})
    with pytest.raises(QueueFullError, match="2 photos wait already"):
        jobs.submit({"name": "d"})
    jobs.cancel(last)
    assert jobs.submit({"name": "d"})


def test_cancelled_jobs_leave_the_queue_or_stop(jobs, held):
    running, waiting = jobs.submit({"name": "a"}), jobs.submit({"name": "b"})
    held.begun.acquire()
    jobs.cancel(waiting)
    jobs.cancel(running)
    assert jobs.seen(waiting).over and waiting.finished.is_set()
    assert running.finished.wait(5) and jobs.seen(running).state == "cancelled" and held.order == ["a"]


def test_failures_are_told_and_end_nothing(jobs, held):
    bad, fault = jobs.submit({"name": "bad"}), jobs.submit({"name": "fault"})
    held.go.release(2)
    assert bad.finished.wait(5) and fault.finished.wait(5)
    assert jobs.seen(bad).error == "bad photo" and "inner" not in jobs.seen(fault).error
    held.go.release()
    good = jobs.submit({"name": "good"})
    assert good.finished.wait(5) and jobs.seen(good).state == "done"


def test_closing_stops_what_runs(held):
    jobs = Jobs(held, waiting=2, seconds=10)
    job = jobs.submit({"name": "a"})
    held.begun.acquire()
    jobs.close()
    assert jobs.seen(job).state == "cancelled"
