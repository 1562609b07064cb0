"""What a run shows: files and threads are given back, rows go, lines where there is no terminal, where it resumes."""

import gc
import io
import os
import re
import shlex
import threading
import time

import pytest
from rich.console import Console

from gan2shape_jax.method.schedule import make_schedule
from gan2shape_jax.run.monitor import Monitor
from gan2shape_jax.run.progress import Lines
from gan2shape_jax.run.run_folder import RunFolder
from gan2shape_jax.run.summaries import Summaries

SCHEDULE = make_schedule(((10, 10, 10),), flip1=(False,), flip3=(False,), prior_iterations=10)


class Stream(io.StringIO):
    """Text, and how much of it had been written out at each flush."""

    def __init__(self):
        super().__init__()
        self.flushed = 0

    def flush(self):
        self.flushed = len(self.getvalue())


def _console(stream, *, terminal):
    return Console(file=stream, force_terminal=terminal, width=100, color_system=None)


def _held() -> tuple[int, int]:
    """Descriptors (where the system lists them) and threads of this process."""
    descriptors = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    return len(descriptors), threading.active_count()


def _comes_back_to(before: tuple[int, int]) -> bool:
    """Whether no more is held than before; the writer's queue ends its thread a moment after it is closed."""
    deadline = time.monotonic() + 20
    while any(now > then for now, then in zip(_held(), before, strict=True)):
        gc.collect()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("together", [False, True])
def test_an_image_that_is_done_keeps_no_file_and_no_thread(tmp_path, together):
    before = _held()
    with Monitor(SCHEDULE, tmp_path, _console(Stream(), terminal=False)) as monitor:
        for number in range(12):
            watching = monitor.watch_group([f"{number}a", f"{number}b"]) if together else monitor.watch(str(number))
            with watching as watcher:
                row = {"phase": 0, "step": "prior", "iteration": 1, "loss": 0.5}
                watcher.on_record(row | {"images": {f"{number}a": {"loss": 0.5}, f"{number}b": {"loss": 0.5}}})
        assert _comes_back_to(before)
    assert len(list(tmp_path.rglob("events*"))) == (24 if together else 12)


def test_a_failing_image_gives_its_files_back_too(tmp_path):
    monitor = Monitor(SCHEDULE, tmp_path, _console(Stream(), terminal=True))
    before = _held()
    with pytest.raises(FloatingPointError), monitor.watch("001"):
        raise FloatingPointError
    assert _comes_back_to(before) and not monitor._display._progress.tasks


def test_a_terminal_shows_the_image_under_way_alone():
    with Monitor(SCHEDULE, None, _console(Stream(), terminal=True)) as monitor:
        for name in ("001", "005"):
            with monitor.watch(name) as watcher:
                watcher.on_progress(SCHEDULE[0], 5, 0.25)
                (task,) = monitor._display._progress.tasks
                assert task.fields["image"] == name and task.fields["loss"] == "0.2500"
        assert not monitor._display._progress.tasks


def test_without_a_terminal_each_logged_loss_is_a_line_written_at_once():
    stream = Stream()
    with Monitor(SCHEDULE, None, _console(stream, terminal=False)) as monitor, monitor.watch("001") as watcher:
        watcher.on_progress(SCHEDULE[0], 1, None)
        assert stream.getvalue() == ""
        watcher.on_progress(SCHEDULE[0], 10, 0.25)
        assert stream.flushed == len(stream.getvalue()) > 0
        watcher.on_progress(SCHEDULE[3], 5, 0.125)
    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d 001: prior, 10 of 10, loss 0\.2500, .* left", first)
    assert re.fullmatch(r"\d\d:\d\d:\d\d 001: stage 1 step3, 5 of 10, loss 0\.1250, .* left", second)


def test_time_left_is_by_cost_since_the_first_sign():
    stream, now = Stream(), iter([100.0, 110.0, 150.0])
    lines = Lines(SCHEDULE, _console(stream, terminal=False), clock=lambda: next(now))
    with lines.shown("001") as progress:
        progress(SCHEDULE[1], 10, 1.0)  # 20 of 150 are done: prior and step 1 cost 1, step 2 4, step 3 9
        progress(SCHEDULE[2], 5, 1.0)  # 20 more in 10 seconds, 110 to go
        progress(SCHEDULE[3], 10, 1.0)
    assert [line.split(", ")[-1] for line in stream.getvalue().splitlines()] == [
        "unknown time left",
        "0:00:55 left",
        "0:00:00 left",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_where_training_goes_on_from_is_told(terminal):
    stream = Stream()
    with Monitor(SCHEDULE, None, _console(stream, terminal=terminal)) as monitor, monitor.watch("001") as watcher:
        watcher.on_resume(SCHEDULE[3], 5)
    assert "001: goes on from stage 1 step3, iteration 5 of 10" in stream.getvalue()


def test_how_to_look_at_curves_is_told(tmp_path):
    stream = Stream()
    with Monitor(SCHEDULE, tmp_path / "tensorboard", _console(stream, terminal=False)):
        pass
    assert f"tensorboard --logdir {tmp_path / 'tensorboard'}" in stream.getvalue()


# --- names and messages by other hands --------------------------------------------------------------------

_NAME = "x[/red]:car:[link=a]\x1b]0;owned\x07\ny"
_SHOWN = r"x[/red]:car:[link=a]\x1b]0;owned\x07\ny"


@pytest.mark.hostile
@pytest.mark.parametrize("terminal", [False, True])
def test_what_names_and_messages_say_is_shown_and_not_obeyed(terminal, tmp_path):
    stream = Stream()
    console = Console(file=stream, force_terminal=terminal, width=200, color_system=None)
    with Monitor(SCHEDULE, None, console) as monitor:
        for watching in (monitor.watch(_NAME), monitor.watch_group([_NAME, "b"])):
            with watching as watcher:
                watcher.on_progress(SCHEDULE[0], 10, 0.25)
                if terminal:
                    monitor._display._progress.refresh()
        monitor.say("[bold]no[/bold] [/] " + _NAME.replace("\n", " "))
        Summaries(RunFolder(tmp_path), [], monitor.say).note({_NAME: "no [/] \x1b[2J"})
    told = stream.getvalue()
    assert "\x1b]" not in told and "\x1b[2J" not in told and "\x07" not in told
    assert _SHOWN + r": no [/] \x1b[2J" in told
    assert "[bold]no[/bold] [/] " + _SHOWN.replace(r"\n", " ") in told
    shown = _SHOWN[:30] if terminal else _SHOWN
    assert shown in told


@pytest.mark.hostile
def test_a_long_name_leaves_room_for_the_bar():
    stream = Stream()
    with Monitor(SCHEDULE, None, _console(stream, terminal=True)) as monitor, monitor.watch("x" * 200) as watcher:
        watcher.on_progress(SCHEDULE[0], 10, 0.25)
        monitor._display._progress.refresh()
    assert re.search(r"x{20,39}… +prior .*loss 0\.2500", stream.getvalue())


@pytest.mark.hostile
def test_curves_of_any_image_lie_in_its_own_folder_and_the_command_can_be_pasted(tmp_path):
    folder = tmp_path / "a b; $(touch c)"
    stream, names = Stream(), ["x[/red]", "my photo", "=1", "a%20b", "é/ü"]
    with Monitor(SCHEDULE, folder, _console(stream, terminal=False)) as monitor:
        for name in names:
            with monitor.watch(name) as watcher:
                watcher.on_record({"phase": 0, "step": "prior", "iteration": 1, "loss": 0.5})
    assert sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("events*")) == sorted(names)
    (command,) = re.findall(r"curves: (tensorboard .*?)(?: \(after|$)", stream.getvalue().replace("\n", ""))
    assert shlex.split(command) == ["tensorboard", "--logdir", str(folder)]
