"""The worker, a process that computes, and the server's side of it.

It loads the GAN once, keeps its compiled programs, and runs one job after another. A crash, or the end of a job that is
cancelled, costs only this process: the next job starts another. Through a pipe come tasks and messages, as JSON:
{"ready": true} or {"broken": TEXT} once; then, of each job, {"stage": NAME, ...facts} when a stage is done,
{"say": TEXT} for each line of its log, and {"end": ERROR}, "" after success. A job finds the objects in a photo, or
reconstructs one of them (`performer`).
"""

import asyncio
import contextlib
import dataclasses
import errno
import functools
import io
import json
import multiprocessing
import os
import pathlib
import secrets
import signal
import sys
import time
import traceback
import zipfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from gan2shape_jax.apps.photo import folder as photo_folder
from gan2shape_jax.apps.serve.visits import Limits
from gan2shape_jax.errors import FatalRunError, UserError
from gan2shape_jax.geometry.crop_box import CropBox, centred_box
from gan2shape_jax.io.image_files import Picture, open_upright
from gan2shape_jax.photos import together
from gan2shape_jax.photos.explain import load_kind
from gan2shape_jax.photos.find import LEAST_SIDE, Request, absence, find, is_found, person_note
from gan2shape_jax.photos.pipeline import PhotoModel, load_photo_model, load_refiner

# Performs a task: takes its fields, and a function that reports a stage with facts about it.
Report = Callable[[str, dict[str, Any]], None]
Perform = Callable[[dict[str, Any], Report], None]

_START_S = 900.0  # a GAN that does not come with the package is learned from first
# Compiled programs use memory maps, of which a process may have 65,530; starting a new worker takes seconds.
_MOST_JOBS = 200
_FAULT = "the program failed unexpectedly; the server's log has the details of error {number}"
_FULL = "there is no room on the server's disk now: try again later"
_MEMORY = "this takes more memory than there is for one photo here: try again with a smaller one"
# In what libraries raise in place of a MemoryError: XLA, OpenCV.
_MEMORY_WORDS = ("RESOURCE_EXHAUSTED", "nsufficient memory", "bad_alloc")
_SPAWNED = multiprocessing.get_context("spawn")


class _Place(NamedTuple):
    """A place in the line for the worker."""

    visitor: str
    reached: asyncio.Event  # set when it is the first


class Worker:
    """Runs jobs one at a time, in the order in which they come; used by one event loop."""

    def __init__(self, load: Callable[..., Perform], *args: str, limits: Limits) -> None:
        """Starts nothing yet. `load` is a module's function, called in the worker with `args`: loads what jobs need."""
        self._load, self._args, self._limits = load, args, limits
        self._process: multiprocessing.process.BaseProcess | None = None
        self._jobs, self._line = 0, list[_Place]()  # the first of the line is being served

    async def start(self) -> None:
        """Makes sure that the process is running and has loaded the GAN; raises `UserError` if it cannot."""
        if self._process is not None and self._process.is_alive() and self._jobs < _MOST_JOBS:
            return
        self.close()
        self._pipe, theirs = _SPAWNED.Pipe()
        os.environ["PYTHONSAFEPATH"] = "1"  # without it, a json.py in the current folder would be imported and run
        self._process = _SPAWNED.Process(
            target=_work, args=(theirs, self._limits.memory_bytes, self._load, *self._args), daemon=True
        )
        self._process.start()
        theirs.close()
        self._jobs = 0
        message = await self._next(_START_S)
        if "ready" not in message:
            self.close()
            why = message.get("broken", "it takes too long; the server's log says more")
            raise UserError(f"the worker process cannot be started: {why}")

    async def run(self, task: dict[str, Any], visitor: str = "") -> AsyncGenerator[dict[str, Any]]:
        """Runs a job, see `performer`, when it is its turn.

        Yields messages about its stages and log, and {} at least once a second; until its turn, how many are "before".
        Closing the iterator, or cancelling the task that waits for it, ends the job with its process.

        Raises:
          UserError: too many wait, it failed, took too long, or the process ended.
        """
        waiting = self._limits.waiting
        if len(self._line) > waiting:
            raise UserError("many photos are waiting already: try again in some minutes")
        if [place.visitor for place in self._line].count(visitor) > self._limits.share(waiting):
            raise UserError(
                "several photos of yours, or from your network, are waiting already: try again when they are done"
            )
        place = _Place(visitor, asyncio.Event())
        self._line.append(place)
        try:
            while place is not self._line[0]:
                yield {"before": self._line.index(place)}
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(place.reached.wait(), 1.0)
            async with contextlib.aclosing(self._run(task)) as messages:
                async for message in messages:
                    yield message
        finally:
            self._line.remove(place)
            if self._line:
                self._line[0].reached.set()

    async def _run(self, task: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        over = False
        try:
            await self.start()
            self._jobs += 1
            until = time.monotonic() + self._limits.job_s
            self._pipe.send_bytes(json.dumps(task).encode())
            while not over:
                message = await self._next(1.0)
                over = "end" in message
                if message.get("end") == _MEMORY:
                    self.close()  # what is left may lie all over its memory: the next job gets another process
                if message.get("end"):
                    raise UserError(message["end"])
                if not over and time.monotonic() >= until:
                    raise UserError(f"this took more than {self._limits.job_s / 60:.0f} minutes, and was stopped")
                if not over:
                    yield message
        finally:
            if not over:
                self.close()

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    async def _next(self, seconds: float) -> dict[str, Any]:
        """Returns the next message, or {} if there is none in time; raises `UserError` if the process has ended."""
        try:
            there = await asyncio.to_thread(self._pipe.poll, seconds)
            return dict(json.loads(self._pipe.recv_bytes())) if there else {}
        except (EOFError, OSError):
            process, self._process = self._process, None
        if process is None:
            raise UserError("the server is shutting down")
        process.join()
        code = process.exitcode or 0
        cause = f"signal {-code}; 6 and 9 are most often a lack of memory" if code < 0 else f"exit code {code}"
        raise UserError(
            f"the worker process ended unexpectedly ({cause}); a new one is started for the next photo: try again, "
            "perhaps with a smaller photo"
        )


def _work(pipe: Connection, memory: int, load: Callable[..., Perform], *args: str) -> None:
    """Runs in the worker: loads what jobs need, and performs tasks in so many bytes of memory until the server ends."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        # What may be written. The whole address space (RLIMIT_AS) also has what libraries only reserve.
        resource.setrlimit(resource.RLIMIT_DATA, 2 * (memory,))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server
    os.dup2(2, 1)  # what is printed goes to the log

    def send(**message: Any) -> None:
        pipe.send_bytes(json.dumps(message).encode())

    with contextlib.suppress(EOFError, OSError):  # the server has ended
        try:
            perform = load(*args)
        except UserError as error:
            send(broken=str(error))
            return
        send(ready=True)
        while True:
            task, end = json.loads(pipe.recv_bytes()), ""
            try:
                with contextlib.redirect_stderr(_Reported(lambda line: send(say=line))):
                    perform(task, lambda stage, facts: send(stage=stage, **facts))
            except KeyboardInterrupt:  # by runs, which respond to Ctrl-C between iterations
                end = "cancelled"
            except (UserError, OSError) as error:
                full = isinstance(error, FatalRunError) or getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT)
                end = str(error) if isinstance(error, UserError) and not full else fault(_FULL if full else _FAULT)
            except Exception as error:
                lacks = isinstance(error, MemoryError) or any(word in str(error) for word in _MEMORY_WORDS)
                end = fault(_MEMORY if lacks else _FAULT)
            send(end=end)


def fault(words: str = _FAULT) -> str:
    """Gives the exception that is being handled a number in the log; returns `words`, where `_FAULT` has the number."""
    number, details = secrets.token_hex(4), traceback.format_exc() if sys.exception() else "see above, by Gradio\n"
    print(f"error {number}: {details}", end="", file=sys.stderr)
    return words.format(number=number)


class _Reported(io.TextIOBase):
    """Standard error, of which each line is reported."""

    def __init__(self, report: Callable[[str], None]):
        self._stream, self._report, self._rest = sys.stderr, report, ""

    def write(self, text: str) -> int:
        """Writes text; reports the lines that it completes."""
        self._stream.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(str.strip, lines):
            self._report(line[-500:])
        return len(text)


# Stages, in order; the first is a separate job.
FRAMING, MASK, SHAPE = "framing", "mask", "shape"
PREVIEW = "preview.jpg"  # of a photo that was framed
DRAWING = "framing.jpg"  # the photo with the square and the outline in it, there before the stage `MASK` is told
ARCHIVE = "all.zip"
_PREVIEW_SIDE = 1024  # pixels, at most
_SAID = 3  # photos that an error tells of
_LONGEST = 10  # times the shorter side: in a strip of a few pixels there are thousands of places to look at


def performer(*models: str) -> Perform:
    """Returns what performs jobs, in the worker; what those of the first of these models need is loaded at once.

    A task has these fields: `photos`, paths of the files; `shown` and `names`, what messages call them and under which
    results are filed; `folder` of the job, empty; `pixels`, maximum number of pixels of a photo; `model`, a number in
    `models`, see `explain.load_kind`. With `together`, the result of several photos is made, one of all if it is true;
    with `box` (x, y, side, roll_deg of the crop in the photo's pixels), `refine` (whether the model is refined on the
    photo) and `anyway` (also if nothing is found in it), that of a crop of the first. Without either, the objects in
    that are found.
    """

    @functools.cache
    def loaded(number: int) -> tuple[ConfigDict, PhotoModel]:
        kind = load_kind(models[number])
        return kind, load_photo_model(kind, log=lambda line: print(line, file=sys.stderr))

    def perform(task: dict[str, Any], report: Report) -> None:
        kind, model = loaded(task["model"])
        (_reconstruct if "together" in task or "box" in task else _frame)(task, kind, model, report)

    loaded(0)
    return perform


def _require_modest(path: str, photo: Picture, pixels: int) -> tuple[int, int]:
    """Returns width and height of a photo's file; raises `UserError` if it has too many pixels, or is a strip."""
    width, height = (side * photo.reduction for side in photo.picture.size)
    if width * height > pixels:
        raise UserError(
            f"{path} has {width} x {height} pixels, {width * height / 1e6:.0f} million: at most {pixels / 1e6:g} "
            "million are accepted here, make it smaller first"
        )
    if max(width, height) > _LONGEST * min(width, height):
        raise UserError(
            f"{path} has {width} x {height} pixels: the longer side may be at most {_LONGEST} times as long as the "
            "shorter one, crop the part that you want"
        )
    return width, height


def _frame(task: dict[str, Any], kind: ConfigDict, model: PhotoModel, report: Report) -> None:
    photo, finder = open_upright(pathlib.Path(task["photos"][0]), least=LEAST_SIDE, foreign=True), model.finder
    width, height = _require_modest(task["photos"][0], photo, task["pixels"])
    detections, absent = find(photo, finder), ""
    boxes = [detection.box for detection in detections]
    note = finder.limit_words(len(boxes)).removeprefix("; ")
    if not is_found(detections):
        absent = absence(task["photos"][0], photo, detections, finder)
    elif len(boxes) == 1:
        note = note or person_note(photo, detections[0], finder)
    photo.picture.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    photo.picture.save(pathlib.Path(task["folder"], PREVIEW), quality=92)
    squares = [dataclasses.asdict(box) for box in boxes or [centred_box(width, height)]]
    facts = {"width": width, "height": height, "boxes": squares, "absent": absent, "note": note}
    report(FRAMING, facts | {"refines": photo_folder.refined_words(kind)})


def _reconstruct(task: dict[str, Any], kind: ConfigDict, model: PhotoModel, report: Report) -> None:
    """Makes one result of all photos, or one of each."""
    out, name, refine = pathlib.Path(task["folder"]), task["names"][0], task.get("refine", False)
    folder = photo_folder.PhotoFolder(photo_folder.config_of(kind, out, refine=refine))
    if task.get("together"):
        sources = together.sources_of([*map(pathlib.Path, task["photos"])], names=task["shown"], foreign=True)
        checked = [source._replace(open=functools.partial(_opened, source, task["pixels"])) for source in sources]
        gathered = together.gather(checked, model, log=lambda line: print(f"{name}: {line}", file=sys.stderr))
        with folder.work(model) as work:
            parts = photo_folder.make_together(work, gathered, name, out, "")
        _tell_drawing(parts, name, out, report)
        return _archive(out, [name], report)
    prepared, unmade = _prepared(task, folder, model)
    if prepared:
        _tell_drawing(prepared[0].files, prepared[0].name, out, report)
        with folder.work(dataclasses.replace(model, refiner=load_refiner(kind) if refine else None)) as work:
            work.refuse(unmade)
            then = "; if there is one, move the square" if "box" in task else ""
            unmade |= {name: f"{absent}{then}" for name, absent in work.make(prepared).items()}
        unmade |= work.items.failures
    if not (names := [photo.name for photo in prepared if photo.name not in unmade]):
        raise UserError("; ".join([*unmade.values()][:_SAID]))
    _archive(out, names, report)


def _tell_drawing(files: Mapping[str, bytes], name: str, out: pathlib.Path, report: Report) -> None:
    """Writes the drawing of what is kept of a photo, and tells that it is there."""
    (out / DRAWING).write_bytes(files[f"framing/{name}.jpg"])
    report(MASK, {})


def _opened(source: together.Source, pixels: int) -> Picture:
    photo = source.open()
    _require_modest(source.name, photo, pixels)
    return photo


def _prepared(
    task: dict[str, Any], folder: photo_folder.PhotoFolder, model: PhotoModel
) -> tuple[list[photo_folder.Prepared], dict[str, str]]:
    """Returns the objects in the photos, and why others cannot be used, by their names."""
    prepared, refused = list[photo_folder.Prepared](), dict[str, str]()
    box = CropBox(*task["box"]) if "box" in task else None  # of the only photo
    for path, shown, name in zip(task["photos"], task["shown"], task["names"], strict=True):
        request = Request(pathlib.Path(path), name, box, anyway=task.get("anyway", False), foreign=True)
        try:
            _require_modest(path, request.opened(), task["pixels"])
            prepared += photo_folder.prepare(request, folder, model.finder)
        except FatalRunError:
            raise
        except UserError as error:
            refused[name] = str(error).replace(path, shown).replace(pathlib.Path(path).name, shown)
    return prepared, refused


def _archive(out: pathlib.Path, names: Sequence[str], report: Report) -> None:
    """Puts all that visitors may download of these results into one file, and tells what there is of the first."""
    files = result_files(out, names[0])
    with zipfile.ZipFile(out / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            for place, file in result_files(out, name).items():
                if name == names[0] or place != "index.html":
                    archive.write(file, place if place == "index.html" and len(names) > 1 else f"{name}/{place}")
    report(SHAPE, {"files": [*(files if len(names) == 1 else ["index.html"]), ARCHIVE]})


def result_files(out: pathlib.Path, name: str) -> dict[str, pathlib.Path]:
    """Returns the files of a result that visitors may download, by their names in the archive; none reveals a path."""
    files = {"index.html": out / "index.html"}
    files |= {file.name: file for file in sorted((out / "results" / name).glob("[!.]*")) if file.name != "config.json"}
    return {place: file for place, file in files.items() if file.is_file()}
