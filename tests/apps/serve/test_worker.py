"""The worker's process: stages, errors, cancelling, crashes, replacement. The process is real, what it does is not."""

import asyncio
import contextlib
import multiprocessing
import pathlib
import sys
import zipfile

import pytest
from helpers import fake_worker
from helpers.placed import placed
from PIL import Image

from gan2shape_jax.apps.serve import worker as module
from gan2shape_jax.apps.serve.visits import Limits
from gan2shape_jax.apps.serve.worker import Worker
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.photos.find import NoDetectionError


@pytest.fixture
def forked(monkeypatch):
    """Workers come from a process that has imported what they need; as users have them, each imports it anew."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["gan2shape_jax.apps.serve.worker", "helpers.fake_worker"])
        monkeypatch.syspath_prepend(pathlib.Path(fake_worker.__file__).parents[1])
        monkeypatch.setattr(module, "_SPAWNED", context)


async def _run(worker, name, *, cancel=False):
    """Returns the messages of a job; `cancel` closes it at the first."""
    messages = []
    async with contextlib.aclosing(worker.run({"names": [name]})) as job:
        async for message in job:
            if message and "before" not in message:
                messages.append(message)
                if cancel:
                    break
    return messages


def _with_worker(check, load=fake_worker.load, **limits):
    async def main():
        worker = Worker(load, limits=Limits(**limits))
        try:
            await check(worker)
        finally:
            worker.close()

    asyncio.run(main())


async def _process(worker):
    (message,) = await _run(worker, "fine")
    return message["process"]


def test_stages_and_errors_come_through_and_a_crash_fails_one_job(capfd):
    async def check(worker):
        before = await _process(worker)
        (said, stage) = await _run(worker, "say")
        assert said == {"say": "a line"} and stage["stage"] == "framing"
        with pytest.raises(UserError, match="^the photo is refused$"):
            await _run(worker, "refused")
        with pytest.raises(UserError, match="failed unexpectedly; .* error [0-9a-f]{8}$") as raised:
            await _run(worker, "faulty")
        assert f"error {str(raised.value)[-8:]}: Traceback" in capfd.readouterr().err
        assert "ZeroDivision" not in str(raised.value)
        assert await _process(worker) == before
        with pytest.raises(UserError, match="no room on the server's disk") as raised:
            await _run(worker, "full")
        assert "/srv" not in str(raised.value)
        with pytest.raises(UserError, match="unexpectedly.*exit code 3"):
            await _run(worker, "crash")
        assert await _process(worker) != before

    _with_worker(check)


@pytest.mark.ci
@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits what a process may write")
def test_a_job_that_takes_too_much_memory_is_refused_and_the_next_one_runs_in_another_process():
    async def check(worker):
        before = await _process(worker)
        for name in ("large", "exhausted"):
            with pytest.raises(UserError, match="^this takes more memory than there is for one photo here: try again"):
                await _run(worker, name)
            assert (after := await _process(worker)) != before
            before = after

    _with_worker(check, memory_bytes=10**9)

    async def enough(worker):
        (stage,) = await _run(worker, "large")
        assert stage["bytes"] == 2 * 10**9

    _with_worker(enough)


@pytest.mark.usefixtures("forked")
def test_jobs_wait_for_their_turn_and_a_process_is_replaced_after_many(monkeypatch):
    async def check(worker):
        jobs = await asyncio.gather(*(_process(worker) for _ in range(3)))
        assert jobs[0] == jobs[1] != jobs[2]

    monkeypatch.setattr(module, "_MOST_JOBS", 2)
    _with_worker(check)


@pytest.mark.usefixtures("forked")
def test_one_visitor_has_a_share_of_the_line_and_the_line_an_end():
    async def check(worker):
        async def joined(visitor):
            job = worker.run({"names": ["slow"]}, visitor)
            return job, await anext(job)

        first, *others = [await joined(visitor) for visitor in "aabc"]
        assert [message for _, message in others] == [{"before": number} for number in (1, 2, 3)]
        with pytest.raises(UserError, match="of yours"):
            await joined("a")
        await joined("d")
        with pytest.raises(UserError, match="many photos are waiting"):
            await joined("e")
        await others[0][0].aclose()  # it leaves the line
        assert await anext(others[1][0]) == {"before": 1}
        await first[0].aclose()
        assert "stage" in [message async for message in _until_stage(others[1][0])][-1]

    _with_worker(check, waiting=4)


async def _until_stage(job):
    async for message in job:
        yield message
        if "stage" in message:
            return


@pytest.mark.usefixtures("forked")
def test_cancelling_ends_a_job_at_once_and_the_next_one_runs():
    async def check(worker):
        before = await _process(worker)
        await _run(worker, "slow", cancel=True)
        between = await _process(worker)
        job = asyncio.create_task(_run(worker, "slow"))  # a task that is cancelled, as Gradio does
        await asyncio.sleep(0.5)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert len({before, between, await _process(worker)}) == 3

    _with_worker(check)


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    ("load", "words"), [(fake_worker.ending, "exit code 0"), (fake_worker.broken, "no such model")]
)
def test_a_worker_that_cannot_start_is_an_error(load, words):
    async def refused(worker):
        with pytest.raises(UserError, match=words):
            await worker.start()

    _with_worker(refused, load)


@pytest.mark.usefixtures("forked")
def test_a_job_that_takes_too_long_is_stopped_and_a_worker_that_cannot_start_is_an_error():
    async def stopped(worker):
        with pytest.raises(UserError, match="more than"):
            await _run(worker, "slow")

    _with_worker(stopped, job_s=1.0)


def test_the_drawing_is_there_before_a_photo_is_made_or_refused(monkeypatch, tmp_path):
    absent = NoDetectionError("no face found")
    made = [lambda items: items.fail({"face": "not made"}) or {}, lambda items: {"face": absent}]
    monkeypatch.setattr(module.photo_folder.Work, "make", lambda work, _: made.pop(0)(work.items))
    task = {"photos": [str(asset("ictface/image/006.png"))], "names": ["face"], "shown": ["face.png"], "pixels": 10**6}
    task |= {"model": 0, "box": (32, 32, 64, 0), "refine": False, "anyway": False}
    perform, told = module.performer("ictface"), []
    for words in ("not made", "no face found; if there is one, move the square"):
        (folder := tmp_path / words[:4]).mkdir()

        def report(stage, facts, folder=folder):
            told.append((stage, sorted(path.name for path in folder.iterdir())))

        with pytest.raises(UserError, match=words):
            perform(task | {"folder": str(folder)}, report)
    assert told == [(module.MASK, [module.DRAWING])] * 2


@pytest.mark.heavy
def test_several_photos_give_one_result_or_one_each(tmp_path):
    photos = [tmp_path / f"photo-{number}" for number in range(3)]
    for path, x in zip(photos, (190, 110), strict=False):
        Image.fromarray(placed(x=x)).save(path, "PNG")
    photos[2].write_bytes(b"no picture")
    task = {"photos": [*map(str, photos)], "shown": ["a.png", "b.png", "c.png"], "names": ["a", "b", "c"]}
    perform, stages, told = module.performer("people"), [], {}
    for together in (True, False):
        folder = tmp_path / str(together)
        folder.mkdir()
        options = {"folder": str(folder), "pixels": 10**6, "model": 0, "together": together}
        perform(task | options, lambda stage, facts: told.update({stage: facts}) or stages.append(stage))
        results = sorted(path.name for path in (folder / "results").iterdir())
        assert results == (["a"] if together else ["a", "b"]) and (folder / module.DRAWING).is_file()
        page = (folder / "index.html").read_text()
        assert ("c.png" in page) and str(tmp_path) not in page
        with zipfile.ZipFile(folder / module.ARCHIVE) as archive:
            assert {f"{name}/mesh.glb" for name in results} <= set(archive.namelist())
            assert len([name for name in archive.namelist() if name.endswith("index.html")]) == 1
        assert told[module.SHAPE]["files"][-1] == module.ARCHIVE
    assert stages == [module.MASK, module.SHAPE] * 2
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"^none of these photographs can be used: .*c\.png"):
        perform(
            task | options | {"folder": str(tmp_path / "none"), "photos": [str(photos[2])] * 3, "together": True}, print
        )
