"""Responses to a visitor's actions. Nothing here computes for long: long work is a job, whose state is followed."""

from __future__ import annotations

import asyncio
import os
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from gan2shape_jax.apps.serve import crops, tasks, wording
from gan2shape_jax.apps.serve.jobs import Job, Jobs, Seen
from gan2shape_jax.apps.serve.limits import Limits
from gan2shape_jax.apps.serve.visits import Photo, Visit, Visits
from gan2shape_jax.errors import ArgumentError, UserError
from gan2shape_jax.geometry.crop_box import CropBox

__all__ = ["Handlers"]

_LOOK_S = 0.2  # between checks of a job
_TURN = 180.0  # degrees
_LEAST_SIDE = 16.0  # pixels of a crop
_LARGEST_SIDE = 1.5  # as a multiple of the photo's longer side


class Handlers:
    """The page's callbacks; each method returns or yields values for the components that `page` connects to it."""

    def __init__(self, visits: Visits, jobs: Jobs, limits: Limits, *, kind: str):
        """Responds for a server.

        Args:
          visits: of the server.
          jobs: the queue.
          limits: on photos.
          kind: of object that the model knows, in one word.
        """
        self._visits, self._jobs, self._limits, self._kind = visits, jobs, limits, kind

    async def photo_sent(self, upload: str, request: gr.Request) -> AsyncIterator[list[Any]]:
        """Frames a photo: status, buttons, results, choice, pictures."""
        session, hidden = _session(request), [*_no_results(), *_no_choice()]
        try:
            photo = self._visits.take_photo(session, pathlib.Path(upload))
            job = self._jobs_of(session, None, refine=False)
        except UserError as error:
            yield [wording.failure(str(error)), *_idle(go=False), *hidden]
            return
        async for seen in self._followed(job):
            if not seen.over:
                status = wording.status(seen, "Looking for the object", photo.name)
                yield [status, *_busy(), *hidden]
            elif seen.state == "done":
                facts = seen.stages[tasks.FRAMING]
                self._visits.framed(session, facts)
                yield [self._found(facts), *_idle(), *_no_results(), *_choice(facts), *self._pictures(session, "1")]
            else:
                yield [wording.ended(seen, _hidden(photo)), *_idle(go=False), *hidden]

    def photo_removed(self, request: gr.Request) -> list[Any]:
        """Removes everything that a visitor has sent."""
        self._visits.forget(_session(request))
        return ["", *_idle(go=False), *_no_results(), *_no_choice()]

    def object_chosen(self, which: str, request: gr.Request) -> list[Any]:
        """Moves the crop to another of the objects found: x, y, side, roll, drawing, crop."""
        session = _session(request)
        visit = self._visits.find(session)
        if visit is None or not visit.facts:
            return 6 * [gr.skip()]
        return [*_rounded(_boxes(visit)[_index(visit, which)]), *self._pictures(session, which)]

    def photo_clicked(
        self, which: str, side: float, roll: float, event: gr.SelectData, request: gr.Request
    ) -> list[Any]:
        """Moves the crop's centre to where the photo was clicked: x, y, drawing, crop."""
        session = _session(request)
        visit = self._visits.find(session)
        if visit is None or not visit.facts or visit.preview is None:
            return 4 * [gr.skip()]
        drawing = crops.drawn(visit.preview / tasks.PREVIEW, _boxes(visit), 0, visit.facts["width"])
        x, y = crops.place_of_click(event.index, drawing.width, visit.facts["width"])
        return [round(x), round(y), *self._pictures(session, which, _box(round(x), round(y), side, roll))]

    def crop_changed(self, which: str, x: float, y: float, side: float, roll: float, request: gr.Request) -> list[Any]:
        """Draws a crop that was changed: drawing, crop, status."""
        try:
            return [*self._pictures(_session(request), which, _box(x, y, side, roll)), gr.skip()]
        except ArgumentError as error:
            return [gr.skip(), gr.skip(), wording.failure(str(error))]

    async def reconstruct(
        self, x: float, y: float, side: float, roll: float, refine: bool, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        """Reconstructs a crop: status, buttons, results."""
        session = _session(request)
        visit = self._visits.find(session)
        try:
            job = self._jobs_of(session, self._meant(visit, _box(x, y, side, roll)), refine=bool(refine))
        except UserError as error:
            yield [wording.failure(str(error)), *_idle(go=visit is not None), *_no_results()]
            return
        assert visit is not None and visit.photo is not None and visit.result is not None
        base = f"results/{visit.token}/{visit.result.name}"
        hidden = _hidden(visit.photo)
        shown: set[str] = set()
        async for seen in self._followed(job):
            results = self._results(seen, base, shown)
            if not seen.over:
                yield [wording.status(seen, "Reconstructing", visit.photo.name), *_busy(), *results]
            elif seen.state == "done":
                yield [wording.note("Done."), *_idle(), *results]
            else:
                yield [wording.ended(seen, hidden), *_idle(), *results]

    def cancel(self, request: gr.Request) -> None:
        """Stops what a visitor is waiting for."""
        self._visits.cancel(_session(request))

    def left(self, request: gr.Request) -> None:
        """Stops what a visitor was waiting for on closing the page; results stay for the announced time."""
        self._visits.cancel(_session(request))

    def _jobs_of(self, session: str, box: tuple[float, float, float, float] | None, *, refine: bool) -> Job:
        return self._visits.submit(session, box, refine=refine, pixels=self._limits.pixels)

    async def _followed(self, job: Job) -> AsyncIterator[Seen]:
        """Yields a job's state whenever it changes, and once a second, until the job is over."""
        last: tuple[Any, ...] = ()
        count = 0
        while True:
            seen = self._jobs.seen(job)
            sign = (seen.state, seen.ahead, tuple(seen.stages), seen.said, count // 5)
            if sign != last or seen.over:
                yield seen
                last = sign
            if seen.over:
                return
            await asyncio.sleep(_LOOK_S)
            count += 1

    def _results(self, seen: Seen, base: str, shown: set[str]) -> list[Any]:
        """Returns stages, files and page; the page is sent only once, since it would restart."""
        stages = wording.stages(seen, base)
        if tasks.SHAPE not in seen.stages:
            return [stages, "", ""]
        known, complete = bool(seen.stages[tasks.MASK]["known"]), tasks.TEXTURES in seen.stages
        verdict = str(seen.stages[tasks.SHAPE]["verdict"])
        frame, files = wording.result(base, verdict, self._kind, known=known, complete=complete)
        first = "frame" not in shown
        shown.add("frame")
        return [stages, files, frame if first else gr.skip()]

    def _found(self, facts: dict[str, Any]) -> str:
        count = len(facts["boxes"])
        if not facts["known"]:
            return wording.note(
                f"Nothing here looks like a {self._kind} to this GAN; this is the best there is. Move the square."
            )
        return wording.note(
            f"{count} objects found: choose one." if count > 1 else "Found. Move the square if need be."
        )

    def _pictures(self, session: str, which: str, box: CropBox | None = None) -> list[Any]:
        """Returns drawing and crop of an object, or of a box in place of it."""
        visit = self._visits.find(session)
        if visit is None or not visit.facts or visit.preview is None:
            return [gr.skip(), gr.skip()]
        preview, width, boxes = visit.preview / tasks.PREVIEW, visit.facts["width"], _boxes(visit)
        chosen = _index(visit, which)
        if box is not None:
            boxes[chosen] = box
        return [crops.drawn(preview, boxes, chosen, width), crops.crop_picture(preview, boxes[chosen], width)]

    def _meant(self, visit: Visit | None, box: CropBox) -> tuple[float, float, float, float]:
        """Returns a box, or the detected box whose rounded values it has."""
        found = [] if visit is None or not visit.facts else _boxes(visit)
        meant = next((one for one in found if _rounded(one) == _rounded(box)), box)
        return meant.x, meant.y, meant.side, meant.roll_deg


def _session(request: gr.Request) -> str:
    return str(request.session_hash)


def _boxes(visit: Visit) -> list[CropBox]:
    return [CropBox(**box) for box in visit.facts["boxes"]]


def _index(visit: Visit, which: str) -> int:
    number = int(which) if str(which).isdecimal() else 1
    return min(max(number, 1), len(visit.facts["boxes"])) - 1


def _box(x: float, y: float, side: float, roll: float) -> CropBox:
    return CropBox(x=x, y=y, side=side, roll_deg=roll)


def _rounded(box: CropBox) -> list[Any]:
    return [round(box.x), round(box.y), round(box.side), round((box.roll_deg + _TURN) % (2 * _TURN) - _TURN)]


def _hidden(photo: Photo) -> dict[str, str]:
    """Returns what is hidden from visitors in messages (server paths), with replacements."""
    return {str(photo.path): photo.shown, f"{photo.path.parents[1]}{os.sep}": ""}


def _busy() -> list[Any]:
    return [gr.update(interactive=False), gr.update(interactive=True)]


def _idle(*, go: bool = True) -> list[Any]:
    return [gr.update(interactive=go), gr.update(interactive=False)]


def _no_results() -> list[Any]:
    return ["", "", ""]


def _no_choice() -> list[Any]:
    return [
        *(2 * [gr.update(visible=False)]),
        gr.update(choices=[], value=None, visible=False),
        *(4 * [gr.skip()]),
        None,
        None,
    ]


def _choice(facts: dict[str, Any]) -> list[Any]:
    """Returns the chooser, the objects, and the sliders with their limits."""
    boxes = [CropBox(**box) for box in facts["boxes"]]
    x, y, side, roll = _rounded(boxes[0])
    width, height = facts["width"], facts["height"]
    longest = max(width, height)
    numbers = [str(number + 1) for number in range(len(boxes))]
    return [
        gr.update(visible=True),
        gr.update(visible=True),
        gr.update(choices=numbers, value="1", visible=len(numbers) > 1),
        gr.update(maximum=width, value=x),
        gr.update(maximum=height, value=y),
        gr.update(minimum=min(_LEAST_SIDE, side), maximum=max(round(_LARGEST_SIDE * longest), side), value=side),
        gr.update(value=roll),
    ]
