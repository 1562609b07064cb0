"""The page that visitors see, in Gradio, and what happens on their actions.

Nothing here computes for long: that is a job of the worker, in Gradio's queue. All of it runs in the server's event
loop. Names and messages from elsewhere are escaped before they are shown.
"""

import asyncio
import contextlib
import dataclasses
import functools
import html
import math
import pathlib
import re
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, cast

import gradio as gr
import numpy as np
from PIL import Image

from gan2shape_jax.apps.photo.folder import framing_picture
from gan2shape_jax.apps.serve import worker as jobs
from gan2shape_jax.apps.serve.visits import Limits, Visit, Visits, visitor_of
from gan2shape_jax.errors import UserError, message_line
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop, scaled_box
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.image_files import ENDINGS
from gan2shape_jax.photos.frames import is_video
from gan2shape_jax.results.page import offers

_INTRODUCTION = """\
<h1>From a photo to 3D</h1>
<p>Drop a photo. Its subject is detected and framed by a square; move the square where it is wrong, and press
<b>Make it 3D</b>. Several photos of one person, from the front and turned to both sides, give a shape of their own.
{kinds} are known here: of anything else the shape is made up. Photos and results are removed
{minutes} after you last used them.</p>"""
_PAGES = 500  # of which Gradio remembers what it has shown, some 70 kB each
_TURN = 180.0  # degrees
_FAR = 1e9  # no place or size of the page's is so large, and JSON has whole numbers larger than any float
_LEAST_SIDE = 16.0  # pixels of a crop
_LARGEST_SIDE = 1.5  # as a multiple of the photo's longer side
_CROP_SIDE = 256  # pixels of the preview
_NO_MASK = np.zeros((2, 2), np.float32)
_REMEMBERED = 1000  # pages whose latest job is known to have been cancelled, and jobs in Gradio's queue
# What the bundled models know, for those who choose; the last of all are for trying things out.
_KNOWN = {"people": "People", "cat": "Cats", "car": "Rendered cars, a benchmark", "ictface": "Computer-made test faces"}
# What else messages say, in the page's terms.
_WORDS = {"name another --mask or --box": "move the square", "--which chooses another": "choose another below"}
_LAST = ("car", "ictface")  # of the choices, and not among what the introduction says that photos may show
_WHOLE = {jobs.ARCHIVE: "Everything (ZIP, with OBJ)", "index.html": "Page (HTML)"}  # downloads of all files
CSS = pathlib.Path(asset("serve/page.css")).read_text(encoding="utf-8")
HEAD = f"<script>{pathlib.Path(asset('serve/page.js')).read_text(encoding='utf-8')}</script>"


Updates = dict[Any, Any]  # new values of components


def _reported(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Has a handler report an unexpected exception; Gradio would only say that there was one."""

    @functools.wraps(handler)
    async def reported(self: "Page", *args: Any) -> Updates:
        try:
            return await handler(self, *args)
        except Exception as error:
            return {self.status: self._failure(error)}

    return reported


class Page:
    """The page: its components, and the handlers of their events, each of which returns or yields `Updates`."""

    def __init__(self, visits: Visits, worker: jobs.Worker, limits: Limits, *, kinds: dict[str, str]):
        """Builds the page, `blocks`; `kinds` are what the models, by name, know, in one word; the first is chosen."""
        self._visits, self._worker, self._limits, self._kinds = visits, worker, limits, kinds
        self._cancelled: dict[str, None] = {}  # the pages whose latest job was cancelled, in that order
        self._labels = {name: _KNOWN.get(name, f"{kind.capitalize()} ({name})") for name, kind in kinds.items()}
        minutes, keep_s = max(round(limits.keep_s / 60), 1), max(int(limits.keep_s), 60)
        with gr.Blocks(title="From a photo to 3D", analytics_enabled=False, delete_cache=(60, keep_s)) as self.blocks:
            after = f"{minutes} minute{'s' if minutes > 1 else ''}"
            known = [name for name in kinds if name not in _LAST] or kinds
            *most, last = dict.fromkeys(html.escape(_KNOWN.get(name, f"{kinds[name]}s")) for name in known)
            words = " and ".join([", ".join(most), last] if most else [last]).capitalize()
            gr.HTML(_INTRODUCTION.format(kinds=words, minutes=after))
            self._add_components()
            self._connect()
        self.blocks.state_session_capacity = _PAGES
        # The worker has the line of those who wait: Gradio's own lets one visitor take all of it.
        self.blocks.queue(api_open=False, max_size=_REMEMBERED, default_concurrency_limit=None)

    def _add_components(self) -> None:
        names = ("status", "result", "files", "stages")
        self.status, self.frame, self.files, self.stages = (gr.HTML(elem_id=name) for name in names)
        models = sorted(((label, name) for name, label in self._labels.items()), key=lambda pair: pair[1] in _LAST)
        first, label, several = next(iter(self._kinds)), "What the photo shows", len(models) > 1
        self.model = gr.Radio(models, value=first, label=label, visible=several, elem_id="model")
        kinds = ["image", "video", *ENDINGS]  # browsers do not know all of these as pictures
        how: dict[str, Any] = {"file_count": "multiple", "type": "filepath", "height": 120, "elem_id": "photo"}
        self.photo = gr.File(label="Photos, or a video", file_types=kinds, **how)
        with gr.Row(visible=False) as self.chooser:
            with gr.Column(scale=5):
                self.drawing = _picture("drawing", "Your photo; click in it to move the square")
            with gr.Column(scale=4):
                self.which = gr.Radio([], label="Which one", visible=False, elem_id="which")
                self.crop = _picture("crop", "What is made 3D")
        self.refine = gr.Checkbox(visible=False, elem_id="refine")
        label = "These photos show one person, or one thing: one result of all"
        self.together = gr.Checkbox(label=label, visible=False, elem_id="together")
        with gr.Row():
            self.go = gr.Button("Make it 3D", variant="primary", interactive=False, elem_id="go")
            self.stop = gr.Button("Cancel", interactive=False, elem_id="stop")
        with gr.Accordion("Move the square by numbers", open=False, visible=False, elem_id="numbers") as self.numbers:
            with gr.Row():
                x, y = _slider("x", 0, 1, "From the left"), _slider("y", 0, 1, "From the top")
                side, roll = _slider("side", 16, 17, "Size"), _slider("roll", -180, 180, "Rotation (degrees)")
        self.box = [x, y, side, roll]

    def _connect(self) -> None:
        state, results = [self.status, self.go, self.stop], [self.stages, self.files, self.frame]
        pictures = [self.drawing, self.crop]
        everything = [*state, *results, self.chooser, self.refine, self.together, self.numbers]
        everything += [self.which, *self.box, *pictures]
        # Of values that no page sends, Gradio's own preprocessing would write a traceback for each.
        every: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "preprocess": False}
        at_once: dict[str, Any] = every | {"queue": False}
        queued: dict[str, Any] = every | {"concurrency_limit": None}
        begun = [self.photo.upload, self.model.input]
        framing = gr.on(begun, self.waits, None, state, **at_once)
        running = self.go.click(self.waits, None, state, **at_once)
        framing = framing.then(self.photo_framed, [self.photo, self.model], everything, **queued)
        running = running.then(
            self.reconstructed, [*self.box, self.refine, self.together], [*state, *results], **queued
        )
        both = [framing, running]
        for job in both:
            job.failure(self.refused, None, state, **at_once)
        self.stop.click(self.cancelled, None, state, cancels=both, **at_once)
        self.photo.clear(self.photo_removed, None, everything, cancels=both, **at_once)
        moved = [*pictures, self.status]
        self.which.input(self.object_chosen, self.which, [*self.box, *moved], **at_once)
        self.drawing.select(self.photo_clicked, [self.which, *self.box[2:]], [*self.box[:2], *moved], **at_once)
        gr.on(  # only changes by the visitor: values set by this program come one by one, and with their pictures
            [slider.input for slider in self.box],
            self.crop_changed,
            [self.which, *self.box],
            moved,
            trigger_mode="always_last",
            **at_once,
        )

    async def waits(self, request: gr.Request) -> Updates:
        """A job is put into the queue."""
        self._cancelled.pop(str(request.session_hash), None)
        return self._busy(note("Waiting for its turn."))

    async def photo_framed(
        self, uploads: list[dict[str, Any]] | None, model: str, request: gr.Request
    ) -> AsyncGenerator[Updates]:
        """Frames a photo, of which `uploads` has the path, as a model needs it; where Gradio closes this, it stops.

        Of several, or a video, nothing is framed before they are reconstructed.
        """
        if not uploads or model not in self._kinds:
            yield self._idle("", go=False) | self._nothing()
            return
        visit = None
        try:
            visitor = visitor_of(getattr(request, "client", None))
            sent = [pathlib.Path(upload["path"]) for upload in uploads]
            visit = self._visits.new(str(request.session_hash), sent, visitor)
            videos = any(map(is_video, visit.photos))
            if len(sent) > 1 or videos:
                visit.facts = {"model": model, "videos": videos}
                words = "A video shows one person, or one thing: it becomes one result."
                ready = note(words if videos else f"{len(sent)} photos. If they show one person, say so below.")
                yield self._idle(ready) | self._nothing() | {self.together: gr.update(visible=not videos)}
                return
            done: dict[str, Any] = {}
            job = self._followed(visit, "Searching the photo", done, visit.new_folder("frame"), model=model)
            async with contextlib.aclosing(job):
                async for status in job:
                    yield self._busy(status) | self._nothing()
            visit.facts = done[jobs.FRAMING] | {"model": model}
            yield self._idle(note(self._found(visit))) | self._choice(visit.facts) | self._pictures(visit, "1")
        except Exception as error:
            yield self._idle(self._failure(error, visit), go=False) | self._nothing()

    def _found(self, visit: Visit) -> str:
        """Returns what a photo's framing has found, and what can be done about it."""
        if absent := visit.facts["absent"]:
            return f"{self._in_page_terms(absent, visit)}. If there is one, put the square around it."
        count = len(visit.facts["boxes"])
        kind = self._kinds[visit.facts["model"]]
        message = f"{count} {kind}s found: choose one." if count > 1 else "Found. Move the square if it is wrong."
        if said := self._in_page_terms(visit.facts["note"], visit):
            message += f" {said[0].upper()}{said[1:]}."
        return message

    @_reported
    async def photo_removed(self, request: gr.Request) -> Updates:
        """Removes everything that a visitor has sent."""
        self._visits.forget(str(request.session_hash))
        return self._idle("", go=False) | self._nothing()

    @_reported
    async def object_chosen(self, which: str, request: gr.Request) -> Updates:
        """Moves the crop to another of the objects found."""
        if (visit := self._framed(request)) is None:
            return {self.drawing: gr.skip()}
        box = _rounded(_boxes(visit)[_chosen(visit, which)])
        return dict(zip(self.box, box, strict=True)) | self._pictures(visit, which)

    @_reported
    async def photo_clicked(
        self, which: str, side: float, roll: float, event: gr.SelectData, request: gr.Request
    ) -> Updates:
        """Moves the crop's centre to where the photo was clicked."""
        if (visit := self._framed(request)) is None:
            return {self.drawing: gr.skip()}
        factor = visit.facts["width"] / self._pictures(visit, "1")[self.drawing].width
        x, y = (round((place + 0.5) * factor) for place in _numbers(event.index, 2))
        return {self.box[0]: x, self.box[1]: y} | self._pictures(visit, which, _entered(visit, x, y, side, roll))

    @_reported
    async def crop_changed(
        self, which: str, x: float, y: float, side: float, roll: float, request: gr.Request
    ) -> Updates:
        """Draws a crop that was changed."""
        visit = self._framed(request)
        if visit is None:
            return {self.drawing: gr.skip()}
        return self._pictures(visit, which, _entered(visit, x, y, side, roll))

    async def reconstructed(
        self, x: float, y: float, side: float, roll: float, refine: bool, together: bool, request: gr.Request
    ) -> AsyncGenerator[Updates]:
        """Reconstructs a crop, or several photos; where Gradio closes this, the job stops."""
        visit = self._visits.find(str(request.session_hash))
        if visit is None or not visit.facts:
            yield self._idle(failure("the photo has been deleted: drop it again"), go=False)
            return
        try:
            chosen: dict[str, Any] = {"model": visit.facts["model"]}
            if "boxes" not in visit.facts:
                chosen["together"] = bool(together) or visit.facts["videos"]
            else:
                entered = _entered(visit, x, y, side, roll)
                found = next((box for box in _boxes(visit) if _rounded(box) == _rounded(entered)), None)  # not rounded
                chosen |= {"box": dataclasses.astuple(found or entered), "refine": bool(refine)}
                chosen["anyway"] = found is None or bool(visit.facts["absent"])  # which the visitor has read
            folder = visit.new_folder("result")
            base, done, shown = f"results/{visit.folder.name}/{folder.name}", dict[str, Any](), 0
            yield {self.files: "", self.frame: ""}
            job = self._followed(visit, "Making it 3D", done, folder, **chosen)
            async with contextlib.aclosing(job):
                async for status in job:
                    new = self._results(base, done) if len(done) > shown else {}  # once: the frame would restart
                    shown = len(done)
                    yield self._busy(status) | {self.stages: _drawing(done, base)} | new
            yield self._idle(note("Done."))
        except Exception as error:
            yield self._idle(self._failure(error, visit))

    async def cancelled(self, request: gr.Request) -> Updates:
        """Gradio cancels a job."""
        self._cancelled[str(request.session_hash)] = None
        if len(self._cancelled) > _REMEMBERED:
            self._cancelled.pop(next(iter(self._cancelled)))
        return self._idle(note("Cancelled."), go=self._is_ready(request))

    async def refused(self, request: gr.Request) -> Updates:
        """Gradio has given up a job: it was cancelled, or the queue is full, or there is a fault in Gradio itself."""
        if str(request.session_hash) in self._cancelled:
            return await self.cancelled(request)
        full = len(self.blocks._queue) >= _REMEMBERED
        text = "too many photos are waiting: try again in a few minutes" if full else jobs.fault()
        return self._idle(failure(text), go=self._is_ready(request))

    async def _followed(
        self, visit: Visit, doing: str, done: dict[str, Any], folder: pathlib.Path, **options: Any
    ) -> AsyncGenerator[str]:
        """Runs a job; yields its status at least once a second, and collects the completed stages in `done`."""
        task: dict[str, Any] = {"photos": [*map(str, visit.photos)], "shown": visit.shown, "names": visit.names}
        task |= {"folder": str(folder), "pixels": self._limits.pixels}
        options["model"] = list(self._kinds).index(options["model"])
        started, line, visit.used = time.monotonic(), "", math.inf
        try:
            async with contextlib.aclosing(self._worker.run(task | options, visit.visitor)) as messages:
                async for message in messages:
                    if before := message.get("before"):
                        started = time.monotonic()
                        photos = "photo is" if before == 1 else "photos are"
                        yield note(f"Waiting: {before} {photos} ahead of this one.")
                        continue
                    if "stage" in message:
                        done[message.pop("stage")], line = message, ""
                    line = message.get("say", line)
                    # Of the log only lines about the photo are shown, since others name the server's files.
                    about = line.partition(f"{visit.name}: ")[2].strip()
                    yield note(f"{doing} ({time.monotonic() - started:.0f} s){f': {about}' if about else '.'}")
        finally:
            visit.used = time.monotonic()
        await asyncio.to_thread(visit.measure)

    def _failure(self, error: Exception, visit: Visit | None = None) -> str:
        """Returns the sentence for the error that is being handled; the log has the unexpected ones."""
        return failure(self._in_page_terms(str(error), visit) if isinstance(error, UserError) else jobs.fault())

    def _in_page_terms(self, text: str, visit: Visit | None) -> str:
        """Returns a message without the server's paths and the command line's options."""
        if visit is not None:
            text = re.sub(re.escape(str(visit.folder)) + r"[^\s:,;]*", lambda found: visit.shown_of(found[0]), text)
        models = {f"use --model {name}": f'choose "{label}" above' for name, label in self._labels.items()}
        for hidden, words in (_WORDS | models).items():
            text = text.replace(hidden, words)
        return text

    def _is_ready(self, request: gr.Request) -> bool:
        """Whether a page has photos that can be reconstructed."""
        visit = self._visits.find(str(request.session_hash))
        return visit is not None and bool(visit.facts)

    def _framed(self, request: gr.Request) -> Visit | None:
        """Returns the visit of a page whose photo was framed, or None."""
        visit = self._visits.find(str(request.session_hash))
        return visit if visit is not None and "boxes" in visit.facts else None

    def _busy(self, status: str) -> Updates:
        return {self.status: status, self.go: gr.update(interactive=False), self.stop: gr.update(interactive=True)}

    def _idle(self, status: str, *, go: bool = True) -> Updates:
        return {self.status: status, self.go: gr.update(interactive=go), self.stop: gr.update(interactive=False)}

    def _nothing(self) -> Updates:
        """No photo, no results."""
        updates = {part: gr.update(visible=False) for part in (self.chooser, self.refine, self.together, self.numbers)}
        updates[self.which] = gr.update(choices=[], value=None, visible=False)
        return updates | {self.stages: "", self.files: "", self.frame: "", self.drawing: None, self.crop: None}

    def _choice(self, facts: dict[str, Any]) -> Updates:
        """The objects, and the sliders with their limits."""
        numbers = [str(number + 1) for number in range(len(facts["boxes"]))]
        values = zip(_bounds(facts), _rounded(CropBox(**facts["boxes"][0])), strict=True)
        sliders = [gr.update(minimum=low, maximum=high, value=value) for (low, high), value in values]
        shown = {part: gr.update(visible=True) for part in (self.chooser, self.numbers)}
        label = f"Take a few more minutes and fit {facts['refines']} to the photo"
        shown[self.refine] = gr.update(label=label, visible=True)
        objects = {self.which: gr.update(choices=numbers, value="1", visible=len(numbers) > 1)}
        return shown | objects | dict(zip(self.box, sliders, strict=True))

    def _pictures(self, visit: Visit, which: str, box: CropBox | None = None) -> Updates:
        """Drawing and crop of an object, or of a box in place of it."""
        assert visit.frame is not None
        with Image.open(visit.frame / jobs.PREVIEW) as picture:  # which the worker has written
            preview = np.asarray(picture.convert("RGB"))
        boxes, chosen, factor = _boxes(visit), _chosen(visit, which), preview.shape[1] / visit.facts["width"]
        boxes[chosen] = box or boxes[chosen]
        scaled = [scaled_box(box, factor) for box in boxes]
        crop = Image.fromarray(sample_crop(preview, scaled[chosen], _CROP_SIDE))
        return {self.drawing: framing_picture(preview, scaled, chosen, _NO_MASK), self.crop: crop}

    def _results(self, base: str, done: dict[str, Any]) -> Updates:
        """The result's page in a frame, and links to the files at `base`, as far as they are there."""
        if jobs.SHAPE not in done:
            return {}
        downloads = {offer.files[0]: offer.offer for offer in offers() if not offer.archive} | _WHOLE
        links = "".join(
            f'<a href="{base}/{name}?download" download>{title}</a>'
            for name, title in downloads.items()
            if name in done[jobs.SHAPE]["files"]
        )
        files = f'<nav class="g2s-files" aria-label="Files">{links}</nav>'
        frame = (
            f'<iframe src="{base}/index.html" sandbox="allow-scripts allow-downloads" class="g2s-page" '
            'title="The shape, to turn and relight"></iframe>'
        )
        return {self.files: files, self.frame: frame}


def _picture(name: str, label: str) -> gr.Image:
    return gr.Image(label=label, alt_text=label, interactive=False, buttons=[], elem_id=name)


def _slider(name: str, low: float, high: float, label: str) -> gr.Slider:
    value = 0 if low < 0 else None
    return gr.Slider(low, high, value, label=label, step=1, elem_id=name, min_width=140, buttons=[])


def _boxes(visit: Visit) -> list[CropBox]:
    return [CropBox(**box) for box in visit.facts["boxes"]]


def _rounded(box: CropBox) -> list[Any]:
    return [round(box.x), round(box.y), round(box.side), round((box.roll_deg + _TURN) % (2 * _TURN) - _TURN)]


def _bounds(facts: dict[str, Any]) -> list[tuple[float, float]]:
    """Returns the least and the largest value of each slider, for a photo and the objects found in it."""
    x, y, side, _ = zip(*(_rounded(CropBox(**box)) for box in facts["boxes"]), strict=True)
    width, height = facts["width"], facts["height"]
    largest = round(_LARGEST_SIDE * max(width, height))
    sides = (min(_LEAST_SIDE, *side), max(largest, *side))
    return [(min(0, *x), max(width, *x)), (min(0, *y), max(height, *y)), sides, (-_TURN, _TURN)]


def _entered(visit: Visit, *values: Any) -> CropBox:
    """Returns the square of the sliders' values; raises `UserError` if these are not within their bounds."""
    within = zip(_numbers(values, 4), _bounds(visit.facts), strict=True)
    if not all(low <= value <= high for value, (low, high) in within):
        raise UserError("this square is not in the photo, or too small or too large: move it again")
    return CropBox(*values)


def _chosen(visit: Visit, which: Any) -> int:
    """Returns the index of the object that is chosen; raises `UserError` if there is none of that number."""
    numbers = [str(number + 1) for number in range(len(visit.facts["boxes"]))]
    if (which or "1") not in numbers:
        raise UserError("there is no such object in this photo: choose one of those found")
    return numbers.index(which or "1")


def _numbers(values: Any, count: int) -> list[float]:
    """Returns so many numbers; raises `UserError` if they are something else."""
    right = isinstance(values, list | tuple) and len(values) == count
    if not right or not all(isinstance(value, int | float) and abs(value) < _FAR for value in values):
        raise UserError("a square is given by finite numbers: move it again")
    return [*values]


def takes(handler: Any, data: Any, event: Any) -> bool:
    """Returns whether Gradio can call a handler of the page, of `Blocks.fns`, with such data and event.

    Of anything else it would write a traceback. Only files are structures; what single values mean, handlers check.
    """
    if not isinstance(data, list) or len(data) != len(handler.inputs):
        return False
    for component, value in zip(handler.inputs, data, strict=True):
        if isinstance(component, gr.File):
            try:
                cast(Any, component.data_model).model_validate([] if value is None else value)
            except ValueError:
                return False
        elif isinstance(value, dict | list):
            return False
    return not handler.collects_event_data or (isinstance(event, dict) and {"index", "value"} <= event.keys())


def note(text: str) -> str:
    """Returns a sentence for the status line, HTML."""
    return f'<p class="g2s-note" role="status">{html.escape(message_line(text))}</p>'


def failure(text: str) -> str:
    """Returns an error for the status line, HTML."""
    return f'<p class="g2s-error" role="alert">{html.escape(message_line(text))}</p>'


def _drawing(done: dict[str, Any], base: str) -> str:
    """Returns the photo with its crop and the object's outline, of the files at `base`, once it is there, HTML."""
    if jobs.MASK not in done:
        return ""
    picture = f'<img src="{base}/{jobs.DRAWING}" alt="The photo with the square and the outline in it">'
    return f'<div class="g2s-run">{picture}</div>'
