"""Going through a run's images, and what is shown and summed up of them; names are shown and not obeyed."""

import gc
import io
import os
import re
import shlex
import threading
import time
from unittest import mock

import jax
import numpy as np
import pytest
from helpers.command_line import overrides
from helpers.plain_result import plain_result
from helpers.tiny import tiny_config, tiny_image
from rich.console import Console

from gan2shape_jax import main as program
from gan2shape_jax.errors import UserError
from gan2shape_jax.method import models
from gan2shape_jax.method.schedule import make_schedule
from gan2shape_jax.method.state import initial_state
from gan2shape_jax.photos import explain, judge
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.identity import identity_of
from gan2shape_jax.plan.recipe import resolve
from gan2shape_jax.results import save_result
from gan2shape_jax.run import images as run_images
from gan2shape_jax.run.folder import RunFolder
from gan2shape_jax.run.images import WorkItems
from gan2shape_jax.run.report import Monitor
from gan2shape_jax.training import loop, network_files
from gan2shape_jax.training.resume import Decision

SCHEDULE = make_schedule(((10, 10, 10),), flip1=(False,), flip3=(False,), prior_iterations=10)
_ROW = {"phase": 0, "step": "prior", "iteration": 1, "loss": 0.5}


class Stream(io.StringIO):
    """Text, and how much of it had been written out at each flush."""

    flushed = 0

    def flush(self):
        self.flushed = len(self.getvalue())


def _console(stream, *, terminal, width=100, **more):
    return Console(file=stream, force_terminal=terminal, width=width, color_system=None, **more)


def _in_use() -> np.ndarray:
    """How many descriptors (where the system lists them) and threads this process has."""
    gc.collect()
    descriptors = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    return np.array([len(descriptors), threading.active_count()])


def test_an_image_that_is_done_or_fails_leaves_no_file_open_and_no_thread(tmp_path):
    before = _in_use()
    with Monitor(SCHEDULE, tmp_path, _console(Stream(), terminal=True)) as monitor:
        for number in range(4):
            with pytest.raises(FloatingPointError), monitor.watch(str(number)) as watcher:
                watcher.on_record(_ROW)
                raise FloatingPointError
        assert not monitor._bars.tasks
    deadline = time.monotonic() + 20
    while (_in_use() > before).any():  # the writer's queue ends its thread a moment after it is closed
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(list(tmp_path.rglob("events*"))) == 4


def test_a_terminal_shows_one_bar_over_all_images():
    now = 0.0
    with Monitor(SCHEDULE, None, _console(Stream(), terminal=True, get_time=lambda: now)) as monitor:
        monitor.expect(3)
        for number, name in enumerate(("001", "005")):
            with monitor.watch(name) as watcher:
                watcher.on_progress(SCHEDULE[3], 1, None)
                now += 60.0
                watcher.on_progress(SCHEDULE[3], 5, 0.25)
                (task,) = monitor._bars.tasks
                assert task.description == name and task.fields["loss"] == "0.2500" and task.total == 3
                assert number < task.completed < number + 1
        # An image is 10 iterations of step 3, of 15 seconds, and 60 cheaper ones, which cost two thirds as much.
        assert task.fields["left"] == "2 of 3, about 5 minutes left"
        assert not monitor._bars.tasks


def test_without_a_terminal_each_logged_loss_is_a_line_written_at_once_with_the_time_left():
    stream, now = Stream(), 0.0
    with (
        Monitor(SCHEDULE, None, _console(stream, terminal=False, get_time=lambda: now)) as monitor,
        monitor.watch("001") as watcher,
    ):
        now = 50.0
        watcher.on_progress(SCHEDULE[0], 1, None)  # it was compiled until then
        now = 54.0
        watcher.on_progress(SCHEDULE[0], 2, None)  # too soon after the other for a line without a loss
        now = 55.0
        watcher.on_progress(SCHEDULE[0], 10, 0.25)  # 10 of 150 are done: prior and step 1 cost 1, step 2 4, step 3 9
        assert stream.flushed == len(stream.getvalue()) > 0
        now = 200.0
        watcher.on_progress(SCHEDULE[2], 1, None)
        now = 218.0
        watcher.on_progress(SCHEDULE[2], 10, 0.5)
        now = 300.0
        watcher.on_progress(SCHEDULE[3], 1, None)
        now = 318.0
        watcher.on_progress(SCHEDULE[3], 10, 0.125)
    lines = [re.sub(r"^\d\d:\d\d:\d\d 001: ", "", line) for line in stream.getvalue().splitlines()]
    assert lines == [
        "prior, 1 of 10",
        "prior, 10 of 10, loss 0.2500",
        "stage 1 step2, 1 of 10",
        "stage 1 step2, 10 of 10, loss 0.5000; about 46 seconds left",  # 23 s have done 45 of 135; 90 are left
        "stage 1 step3, 1 of 10; about 41 seconds left",
        "stage 1 step3, 10 of 10, loss 0.1250; a few seconds left",
    ]


@pytest.mark.parametrize("compiling", [0.0, 5.0, 300.0])
def test_the_time_left_is_told_after_a_tenth_of_an_image_and_never_twice_the_truth(compiling):
    """Two steps, whose costs are not quite what they are taken to be, and five seconds beside them for each image."""
    schedule = make_schedule(((30, 0, 150),), flip1=(True,), flip3=(True,), prior_iterations=0)
    names, takes, now = ["a", "b", "c", "d", "e", "f"], {"step1": 0.02, "step3": 0.12}, 0.0
    told: list[tuple[float, float, str]] = []  # when, how many images are done, what is said to be left
    with Monitor(schedule, None, _console(Stream(), terminal=True, get_time=lambda: now)) as monitor:
        monitor.expect(len(names))
        for name in names:
            with monitor.watch(name) as watcher:
                now += 2.0
                for phase in schedule:
                    now += compiling if name == names[0] else 0.0
                    for done in range(1, phase.iterations + 1):
                        now += takes.get(phase.step, 0.0)
                        watcher.on_progress(phase, done, None)
                        (task,) = monitor._bars.tasks
                        told.append((now, task.completed, task.fields["left"]))
            now += 3.0
    for then, done, text in told:
        truth, left = now - then, re.search(r"about (\d+) (minutes|seconds) left", text)
        if done < 0.1:
            assert "left" not in text
        elif left:
            seconds, unit = (
                int(left[1]) * {"minutes": 60, "seconds": 1}[left[2]],
                {"minutes": 30, "seconds": 1}[left[2]],
            )
            assert truth / 2 - unit <= seconds <= 2 * truth, (done, truth, text)
        else:
            assert done < 0.12 or (truth < 20 and "a few seconds left" in text), (done, truth, text)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_resumed_run_says_where_it_goes_on(terminal):
    stream = Stream()
    with Monitor(SCHEDULE, None, _console(stream, terminal=terminal)) as monitor, monitor.watch("001") as watcher:
        watcher.on_resume(SCHEDULE[3], 5)
    assert "001: continues from stage 1 step3, iteration 5 of 10" in stream.getvalue()


def test_where_training_goes_on_and_how_to_look_at_curves(tmp_path):
    folder = tmp_path / "a b; $(touch c)"
    stream, names = Stream(), ["x[/red]", "my photo", "=1", "a%20b", "é/ü"]
    with Monitor(SCHEDULE, folder, _console(stream, terminal=False)) as monitor:
        for name in names:
            with monitor.watch(name) as watcher:
                watcher.on_record(_ROW)
    assert sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("events*")) == sorted(names)
    (command,) = re.findall(r"curves: (tensorboard .*?)(?: \(after|$)", stream.getvalue().replace("\n", ""))
    assert shlex.split(command) == ["tensorboard", "--logdir", str(folder)]


@pytest.mark.parametrize("terminal", [False, True])
def test_what_names_and_messages_say_is_shown_and_not_obeyed(terminal, tmp_path):
    name, shown = "x[/red]:car:[link=a]\x1b]0;owned\x07\ny", r"x[/red]:car:[link=a]\x1b]0;owned\x07\ny"
    stream = Stream()
    with Monitor(SCHEDULE, None, _console(stream, terminal=terminal, width=200)) as monitor:
        with monitor.watch(name) as watcher:
            watcher.on_progress(SCHEDULE[0], 10, 0.25)
            if terminal:
                monitor._bars.refresh()
        monitor.log("[bold]no[/bold] [/] " + name.replace("\n", " "))
        WorkItems(RunFolder(tmp_path), [], monitor.log).fail({name: "no [/] \x1b[2J"})
    said = stream.getvalue()
    assert "\x1b]" not in said and "\x1b[2J" not in said and "\x07" not in said
    assert shown + r": no [/] \x1b[2J" in said
    assert "[bold]no[/bold] [/] " + shown.replace(r"\n", " ") in said
    assert (shown[:30] if terminal else shown) in said


def _save(folder: RunFolder, name: str, **metrics) -> None:
    save_result(plain_result(name, metrics={"side": 0.03, "prior": {"side": 0.04}} | metrics), folder.result(name))


def test_summaries_wait_longer_the_longer_they_take(tmp_path):
    folder = RunFolder(tmp_path)
    work_items = WorkItems(folder, ["a.png", "b.png"], print)
    _save(folder, "a")
    work_items.fail({})
    assert "\na," in (tmp_path / "results.csv").read_text()
    _save(folder, "b")
    work_items.fail({})  # too soon
    assert "\nb," not in (tmp_path / "results.csv").read_text()
    list(work_items.unfinished({}))
    assert "\nb," in (tmp_path / "results.csv").read_text()


def test_summaries_are_written_again_only_where_they_say_something_new(tmp_path, monkeypatch):
    folder, written = RunFolder(tmp_path), []
    monkeypatch.setattr(run_images, "write_page", lambda root, rows: written.append([row.status for row in rows]))
    monkeypatch.setattr(run_images, "_SPACING", 0)
    work_items = WorkItems(folder, ["a.png"], print)
    _save(folder, "a")
    work_items.fail({})
    work_items.fail({})
    work_items.summarize()
    assert written == [["done"]]
    _save(folder, "a", side=0.05, worse_than_prior=True)  # in its place
    work_items.note("a")
    assert written[1:] == [["done, worse than its prior"]]


def test_worse_shapes_and_damaged_results_are_named(tmp_path, capsys):
    folder = RunFolder(tmp_path)
    _save(folder, "good", worse_than_prior=False)
    _save(folder, "bad", side=0.05, worse_than_prior=True)
    _save(folder, "damaged")
    (tmp_path / "results" / "damaged" / "result.json").write_text("{")
    list(WorkItems(folder, ["good", "bad", "damaged"], print).unfinished({}))
    texts = {file: (tmp_path / file).read_text() for file in ("results.csv", "results.md", "index.html")}
    parts = ("done, worse than its prior", "unreadable")
    assert [(file, part) for file, text in texts.items() for part in parts if part not in text] == []
    assert "worse than" in " ".join(capsys.readouterr().out.split())
    rows = (tmp_path / "results.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows if row.startswith("good,")] == ["done"]


def test_a_broken_first_image_does_not_end_a_run(tmp_path, monkeypatch, capsys):
    config = tiny_config(tmp_path, names=("001.png", "005.png", "006.png"))
    train = mock.Mock(side_effect=UserError("not trained"))

    def load(config, name, *rest, original=inputs.load_image):
        if name == "001.png":
            raise UserError("001.png is damaged")
        return original(config, name, *rest)

    monkeypatch.setattr(loop, "run_schedule", train)
    monkeypatch.setattr(inputs, "load_image", load)
    assert program.main(["--config=ictface", *overrides(config)]) == 1
    assert train.call_count == 2
    said = capsys.readouterr().err
    assert said.count("001: 001.png is damaged") == 1 and "005: not trained" in said and "Traceback" not in said


def test_an_image_is_computed_while_the_one_before_is_written(tmp_path):
    folder, said = RunFolder(tmp_path), []
    second_is_under_way = threading.Event()

    def make(name):
        if name == "b.png":
            second_is_under_way.set()

        def write():
            assert second_is_under_way.wait(30)
            if name == "b.png":
                raise OSError("b cannot be written")
            if name == "c.png":
                raise UserError("c is unusable")
            stem = name.removesuffix(".png")
            save_result(plain_result(stem), folder.result(stem))

        return write

    names = ["a.png", "b.png", "c.png", "d.png"]
    with WorkItems(folder, names, lambda line: said.append(str(line))) as work_items:
        for (name,) in work_items.unfinished(dict.fromkeys(names, Decision.MAKE)):
            work_items.write({name: make(name)})
        assert work_items.status == 1
    assert [folder.is_finished(stem) for stem in "abcd"] == [True, False, False, True]
    assert sorted(said) == ["b: b cannot be written", "c: c is unusable"]


def test_a_finished_image_keeps_what_the_configuration_says(tmp_path, monkeypatch):
    prepared, frozen = tiny_image(tmp_path)
    params, like = (models.init_params(jax.random.key(seed), prepared.settings) for seed in (3, 4))
    monkeypatch.setattr(explain, "reconstruct", lambda *_, **__: plain_result("001"))

    def kept(**fields) -> bytes | None:
        files, plan = {}, resolve(tiny_config(tmp_path, **fields))
        monkeypatch.setattr(explain, "write", lambda *_, extra, **__: files.update(extra))
        run = (plan, identity_of(plan.config), RunFolder(tmp_path), {}, Decision.MAKE, {})
        trainer = run_images.Trainer(*run, None, frozen, None, names=(), grader=judge.Grader(plan))
        trainer.write(prepared, params, loop.Trained(initial_state(params, prepared.settings), []), {})
        return files.get("networks.safetensors")

    loaded = {}
    for form in ("small", "full"):
        path = tmp_path / f"{form}.safetensors"
        path.write_bytes(kept(outputs__networks=form))
        loaded[form] = network_files.load_networks(path, like, prepared.settings)
    assert kept(outputs__networks="none") is None
    assert (tmp_path / "small.safetensors").stat().st_size < (tmp_path / "full.safetensors").stat().st_size / 3
    for name in models.NAMES:
        trees = params[name], loaded["small"][name], loaded["full"][name]
        for before, small, full in zip(*map(jax.tree.leaves, trees), strict=True):
            np.testing.assert_array_equal(full, before)
            if name in network_files.SMALL:
                np.testing.assert_allclose(small, before, rtol=1e-3, atol=1e-6)
    # Where each image starts from the one before it, all networks are kept.
    assert kept(outputs__networks="none", schedule__reset_weight=False) == network_files.networks_bytes(params)
