"""Responses to a visitor's actions. Nothing here computes for long: that is a job of the worker, in Gradio's queue."""

from __future__ import annotations

import contextlib
import os
import pathlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from gan2shape_jax.apps.photo.framing import framing_picture
from gan2shape_jax.apps.serve import tasks, wording
from gan2shape_jax.apps.serve.device import Device
from gan2shape_jax.apps.serve.visits import Limits, Visit, Visits
from gan2shape_jax.errors import ArgumentError, UserError
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop, scaled_box

__all__ = ["Handlers", "drawn"]

_TURN = 180.0  # degrees
_LEAST_SIDE = 16.0  # pixels of a crop
_LARGEST_SIDE = 1.5  # as a multiple of the photo's longer side
_CROP_SIDE = 256  # pixels of the preview
_NO_RESULTS = ["", "", ""]
_NO_MASK = np.zeros((2, 2), np.float32)


class Handlers:
    """The page's callbacks; each method returns or yields values for the components that `page` connects to it.

    All run in the server's event loop. Where Gradio closes `photo_framed` or `reconstructed`, their job stops.
    """

    def __init__(self, visits: Visits, device: Device, limits: Limits, *, kind: str):
        """Responds for a server.

        Args:
          visits: of the server.
          device: computes.
          limits: on photos.
          kind: of object that the model knows, in one word.
        """
        self._visits, self._device, self._limits, self._kind = visits, device, limits, kind
        self._cancelled: set[str] = set()  # pages whose latest job was cancelled

    async def waits(self, request: gr.Request) -> list[Any]:
        """A job is put into the queue: status, buttons."""
        self._cancelled.discard(str(request.session_hash))
        return [wording.note("Waiting for its turn."), *_busy()]

    async def photo_framed(self, upload: str, request: gr.Request) -> AsyncIterator[list[Any]]:
        """Frames a photo: status, buttons, results, choice, pictures."""
        hidden = [*_NO_RESULTS, *_no_choice()]
        visit = None
        try:
            visit = self._visits.new(str(request.session_hash), pathlib.Path(upload))
            done: dict[str, Any] = {}
            job = self._followed(visit, "Looking for the object", done, visit.new_folder("frame"))
            async with contextlib.aclosing(job):
                async for status in job:
                    yield [status, *_busy(), *hidden]
        except UserError as error:
            yield [wording.failure(str(error), _hidden(visit)), *_idle(go=False), *hidden]
            return
        visit.facts = done[tasks.FRAMING]
        yield [self._found(visit.facts), *_idle(), *_NO_RESULTS, *_choice(visit.facts), *_pictures(visit, "1")]

    async def photo_removed(self, request: gr.Request) -> list[Any]:
        """Removes everything that a visitor has sent: as `photo_framed`."""
        self._visits.forget(str(request.session_hash))
        return ["", *_idle(go=False), *_NO_RESULTS, *_no_choice()]

    async def object_chosen(self, which: str, request: gr.Request) -> list[Any]:
        """Moves the crop to another of the objects found: x, y, side, roll, drawing, crop."""
        visit = self._framed(request)
        return [*_rounded(_boxes(visit)[_index(visit, which)]), *_pictures(visit, which)] if visit else 6 * [gr.skip()]

    async def photo_clicked(
        self, which: str, side: float, roll: float, event: gr.SelectData, request: gr.Request
    ) -> list[Any]:
        """Moves the crop's centre to where the photo was clicked: x, y, drawing, crop."""
        visit = self._framed(request)
        if visit is None:
            return 4 * [gr.skip()]
        factor = visit.facts["width"] / drawn(_preview(visit), _boxes(visit), 0, visit.facts["width"]).width
        x, y = (round((place + 0.5) * factor) for place in event.index)
        return [x, y, *_pictures(visit, which, _box(x, y, side, roll))]

    async def crop_changed(
        self, which: str, x: float, y: float, side: float, roll: float, request: gr.Request
    ) -> list[Any]:
        """Draws a crop that was changed: drawing, crop, status."""
        visit = self._framed(request)
        try:
            pictures = _pictures(visit, which, _box(x, y, side, roll)) if visit else 2 * [gr.skip()]
        except ArgumentError as error:
            return [gr.skip(), gr.skip(), wording.failure(str(error))]
        return [*pictures, gr.skip()]

    async def reconstructed(
        self, x: float, y: float, side: float, roll: float, refine: bool, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        """Reconstructs a crop: status, buttons, results."""
        visit = self._framed(request)
        done: dict[str, Any] = {}
        base = ""
        sent = False  # the page, which would restart if it were sent again

        def results(running: bool) -> list[Any]:
            nonlocal sent
            progress = wording.stages(done, base, running=running) if base else ""
            if tasks.SHAPE not in done:
                return [progress, "", ""]
            known, verdict = bool(done[tasks.MASK]["known"]), str(done[tasks.SHAPE]["verdict"])
            frame, files = wording.result(base, verdict, self._kind, known=known, complete=tasks.TEXTURES in done)
            before, sent = sent, True
            return [progress, files, gr.skip() if before else frame]

        try:
            if visit is None:
                raise UserError("the photo is no longer kept here: drop it again")
            box, folder = _meant(visit, _box(x, y, side, roll)), visit.new_folder("result")
            base = f"results/{visit.folder.name}/{folder.name}"
            job = self._followed(visit, "Reconstructing", done, folder, box=box, refine=bool(refine))
            async with contextlib.aclosing(job):
                async for status in job:
                    yield [status, *_busy(), *results(True)]
        except UserError as error:
            yield [wording.failure(str(error), _hidden(visit)), *_idle(go=visit is not None), *results(False)]
            return
        yield [wording.note("Done."), *_idle(), *results(False)]

    async def cancelled(self, request: gr.Request) -> list[Any]:
        """Gradio cancels a job: status, buttons."""
        self._cancelled.add(str(request.session_hash))
        return [wording.note("Cancelled."), *_idle(go=self._framed(request) is not None)]

    async def refused(self, request: gr.Request) -> list[Any]:
        """Gradio has given up a job, since the queue was full or it was cancelled: status, buttons."""
        if str(request.session_hash) in self._cancelled:
            return await self.cancelled(request)
        text = "This was not computed: perhaps too many photos wait already. Try again in some minutes."
        return [wording.failure(text), *_idle(go=self._framed(request) is not None)]

    async def _followed(
        self, visit: Visit, doing: str, done: dict[str, Any], folder: pathlib.Path, **options: Any
    ) -> AsyncIterator[str]:
        """Runs a job; yields its status at least once a second, and collects the completed stages in `done`."""
        task = {"photo": str(visit.photo), "folder": str(folder), "name": visit.name, "pixels": self._limits.pixels}
        started, line = time.monotonic(), ""
        async with contextlib.aclosing(self._device.run(task | options)) as messages:
            async for message in messages:
                if "stage" in message:
                    done[message.pop("stage")], line = message, ""
                line = message.get("say", line)
                visit.used = time.monotonic()
                yield wording.status(doing, time.monotonic() - started, line, visit.name)

    def _framed(self, request: gr.Request) -> Visit | None:
        """Returns the visit of a page whose photo was framed, or None."""
        visit = self._visits.find(str(request.session_hash))
        return visit if visit is not None and visit.facts else None

    def _found(self, facts: dict[str, Any]) -> str:
        if not facts["known"]:
            return wording.note(
                f"Nothing here looks like a {self._kind} to this GAN; this is the best there is. Move the square."
            )
        count = len(facts["boxes"])
        return wording.note(
            f"{count} objects found: choose one." if count > 1 else "Found. Move the square if need be."
        )


def drawn(preview: np.ndarray, boxes: Sequence[CropBox], chosen: int, width: int) -> Image.Image:
    """Returns a photo with its crops drawn on it.

    Args:
      preview: the reduced photo.
      boxes: in the photo's pixels.
      chosen: index of the selected one.
      width: of the photo, pixels.
    """
    factor = preview.shape[1] / width
    return framing_picture(preview, [scaled_box(box, factor) for box in boxes], chosen, _NO_MASK)


def _pictures(visit: Visit, which: str, box: CropBox | None = None) -> list[Any]:
    """Returns drawing and crop of an object, or of a box in place of it."""
    preview, width, boxes, chosen = _preview(visit), visit.facts["width"], _boxes(visit), _index(visit, which)
    if box is not None:
        boxes[chosen] = box
    crop = sample_crop(preview, scaled_box(boxes[chosen], preview.shape[1] / width), _CROP_SIDE)
    return [drawn(preview, boxes, chosen, width), Image.fromarray(crop)]


def _preview(visit: Visit) -> np.ndarray:
    assert visit.frame is not None
    with Image.open(visit.frame / tasks.PREVIEW) as picture:  # which the worker has written
        return np.asarray(picture.convert("RGB"))


def _meant(visit: Visit, box: CropBox) -> tuple[float, float, float, float]:
    """Returns a box, or the detected box whose rounded values it has."""
    meant = next((one for one in _boxes(visit) if _rounded(one) == _rounded(box)), box)
    return meant.x, meant.y, meant.side, meant.roll_deg


def _boxes(visit: Visit) -> list[CropBox]:
    return [CropBox(**box) for box in visit.facts["boxes"]]


def _index(visit: Visit, which: str) -> int:
    number = int(which) if str(which).isdecimal() else 1
    return min(max(number, 1), len(visit.facts["boxes"])) - 1


def _box(x: float, y: float, side: float, roll: float) -> CropBox:
    return CropBox(x=x, y=y, side=side, roll_deg=roll)


def _rounded(box: CropBox) -> list[Any]:
    return [round(box.x), round(box.y), round(box.side), round((box.roll_deg + _TURN) % (2 * _TURN) - _TURN)]


def _hidden(visit: Visit | None) -> dict[str, str]:
    """Returns what is hidden from visitors in messages (server paths), with replacements."""
    return {str(visit.photo): visit.shown, f"{visit.folder}{os.sep}": ""} if visit else {}


def _busy() -> list[Any]:
    return [gr.update(interactive=False), gr.update(interactive=True)]


def _idle(*, go: bool = True) -> list[Any]:
    return [gr.update(interactive=go), gr.update(interactive=False)]


def _no_choice() -> list[Any]:
    chooser = [*(2 * [gr.update(visible=False)]), gr.update(choices=[], value=None, visible=False)]
    return [*chooser, *(4 * [gr.skip()]), None, None]


def _choice(facts: dict[str, Any]) -> list[Any]:
    """Returns the chooser, the objects, and the sliders with their limits."""
    x, y, side, roll = _rounded(CropBox(**facts["boxes"][0]))
    width, height = facts["width"], facts["height"]
    numbers = [str(number + 1) for number in range(len(facts["boxes"]))]
    largest = max(round(_LARGEST_SIDE * max(width, height)), side)
    return [
        gr.update(visible=True),
        gr.update(visible=True),
        gr.update(choices=numbers, value="1", visible=len(numbers) > 1),
        gr.update(maximum=width, value=x),
        gr.update(maximum=height, value=y),
        gr.update(minimum=min(_LEAST_SIDE, side), maximum=largest, value=side),
        gr.update(value=roll),
    ]
