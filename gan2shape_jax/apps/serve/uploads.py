"""Takes in uploads, in place of Gradio.

Gradio writes what comes in to files that stay if the upload breaks off, takes a thousand files at once, and answers a
full disk with an error of its own. Here what is not complete has no name on the disk, so nothing can stay of it.
"""

import collections

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gan2shape_jax.apps.serve.visits import Limits, Visits, no_room, visitor_of


class Uploads:
    """The uploads that come in."""

    def __init__(self, visits: Visits, limits: Limits):
        """Takes photos for `visits`."""
        self._visits, self._limits = visits, limits
        self._coming: collections.Counter[str] = collections.Counter()  # by visitor

    async def take(self, request: Request) -> Response:
        """Takes in one photo; returns its path in a list, as Gradio's page expects, or a sentence that says why not."""
        visitor, size = visitor_of(request.client), int(request.headers["content-length"])
        most = self._limits.uploads
        if self._coming[visitor] >= self._limits.share(most) or self._coming.total() >= most:
            return PlainTextResponse("Many photos come in just now: try again in a minute.", 503)
        if not self._visits.has_room(visitor, size):
            return PlainTextResponse("There is no room for more photos just now: try again later.", 507)
        self._coming[visitor] += 1
        token, kept = self._visits.expect(visitor, size), False
        try:
            async with request.form(max_files=1, max_fields=0) as form:
                sent = form.get("files")
                if not isinstance(sent, UploadFile):
                    return PlainTextResponse("There is no file in this.", 400)
                if (sent.size or 0) > self._limits.file_bytes:
                    return PlainTextResponse(f"Files of at most {self._limits.file_bytes / 1e6:g} MB are taken.", 413)
                path = await run_in_threadpool(self._visits.keep, token, sent.filename or "", sent.file)
            kept = True
            return JSONResponse([str(path)])
        except OSError as error:
            return PlainTextResponse(str(no_room(error, "The photo")), 507)
        finally:
            self._coming[visitor] -= 1
            self._coming += collections.Counter()  # without those of whom nothing comes
            if not kept:
                self._visits.drop(token)
