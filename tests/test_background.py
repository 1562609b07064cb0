"""The background's promises: order, errors at the right place, nothing left undone."""

import threading

import pytest

from gan2shape_jax.background import Background


def _fail(error: BaseException):
    raise error


def test_jobs_run_in_order_in_another_thread():
    seen = []
    with Background(waiting=8) as background:
        jobs = [
            background.submit(str(i), lambda i=i: seen.append((i, threading.current_thread())) or i) for i in range(8)]
        assert [job.result() for job in jobs] == list(range(8))
    assert [i for i, _ in seen] == list(range(8))
    assert {thread for _, thread in seen} != {threading.current_thread()}


def test_leaving_waits_for_all_jobs():
    gate, seen = threading.Event(), []
    with Background(waiting=2) as background:
        background.submit("slow", gate.wait)
        background.submit("last", lambda: seen.append("last"))
        gate.set()
    assert seen == ["last"]


def test_an_error_belongs_to_its_own_job_and_stops_no_other():
    with Background(waiting=3) as background:
        first = background.submit("a", lambda: 1)
        second = background.submit("b", lambda: _fail(OSError("disk full")))
        third = background.submit("c", lambda: 3)
        with pytest.raises(OSError, match="disk full"):
            second.result()
        assert (first.result(), third.result()) == (1, 3)
        found = list(background.finished(wait=True))
        assert [name for name, _ in found] == ["a", "b", "c"]
        assert [type(error) for _, error in found] == [type(None), OSError, type(None)]
        assert list(background.finished(wait=True)) == []  # each outcome is told once


def test_finished_tells_only_what_is_done_unless_it_shall_wait():
    gate = threading.Event()
    with Background() as background:
        background.submit("slow", gate.wait)
        assert list(background.finished()) == []
        gate.set()
        assert [name for name, _ in background.finished(wait=True)] == ["slow"]


def test_an_error_that_nobody_asked_about_is_raised_at_the_end():
    with pytest.raises(OSError, match="lost"), Background() as background:
        background.submit("a", lambda: _fail(OSError("lost")))


def test_several_unheeded_errors_are_raised_together():
    with pytest.raises(BaseExceptionGroup) as caught, Background(waiting=2) as background:
        background.submit("a", lambda: _fail(OSError("one")))
        background.submit("b", lambda: _fail(ValueError("two")))
    assert [str(error) for error in caught.value.exceptions] == ["one", "two"]


def test_an_interrupt_drains_the_jobs_and_is_not_replaced_by_their_errors():
    seen = []
    with pytest.raises(KeyboardInterrupt), Background(waiting=2) as background:
        background.submit("a", lambda: _fail(OSError("lost")))
        background.submit("b", lambda: seen.append("b"))
        raise KeyboardInterrupt
    assert seen == ["b"]


def test_submitting_blocks_while_too_many_wait():
    gate, started, handed_over = threading.Event(), threading.Event(), threading.Event()

    def hand_over(background: Background) -> None:
        background.submit("third", lambda: None)
        handed_over.set()

    with Background(waiting=1) as background:
        background.submit("first", lambda: (started.set(), gate.wait()))
        started.wait()
        background.submit("second", lambda: None)
        other = threading.Thread(target=hand_over, args=(background,))
        other.start()
        assert not handed_over.wait(0.1)
        gate.set()
        assert handed_over.wait(5)
        other.join()


def test_a_closed_background_takes_no_jobs():
    with Background() as background:
        pass
    with pytest.raises(RuntimeError, match="a cannot be done in the background"):
        background.submit("a", lambda: None)
    with pytest.raises(ValueError, match="waiting is 0"):
        Background(waiting=0)


def test_a_finished_job_lets_go_of_what_its_action_held():
    import weakref

    class Large:
        pass

    large = Large()
    reference = weakref.ref(large)
    with Background() as background:
        job = background.submit("a", lambda held=large: None)
        del large
        job.result()
        assert reference() is None
